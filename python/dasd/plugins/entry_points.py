"""Entry points of installed plugins, by package metadata alone: nothing of theirs is imported."""

from __future__ import annotations

from importlib import metadata

__all__ = ["GROUP", "installed_points"]

GROUP = "dasd.plugins"
"""Entry-point group in which plugins are found."""


def installed_points() -> list[metadata.EntryPoint]:
    """Every entry point of the group. A distribution whose own metadata can't be read is left out.

    One that an interrupted installation left half there, or that isn't dasd's concern at all, is no reason to fail.
    """
    try:
        return list(metadata.entry_points(group=GROUP))
    except Exception:  # noqa: BLE001 (whatever its parser makes of a damaged file)
        found: dict[tuple[str, str], metadata.EntryPoint] = {}
        for distribution in metadata.distributions():
            try:
                points = [point for point in distribution.entry_points if point.group == GROUP]
            except Exception:  # noqa: BLE001, S112 (the damaged one)
                continue
            for point in points:
                found.setdefault((point.name, point.value), point)
        return list(found.values())

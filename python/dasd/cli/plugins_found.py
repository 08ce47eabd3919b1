"""Looks a plugin up by its name, its distribution's, or the name of one of its components."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dasd.plugins.host import PluginHost, PluginRecord

__all__ = ["find_records"]


def find_records(host: PluginHost, name: str) -> list[PluginRecord]:
    """The plugin of that name or distribution, else those that bring a component of that name.

    PluginError with a suggestion where there is none.
    """
    wanted = name.lower().replace("_", "-").removeprefix("dasd-")
    found = [
        r for r in host.plugins if wanted in (r.name.lower(), r.distribution.lower().removeprefix("dasd-"))
    ]
    found = found or [r for r in host.plugins if name in (c.name for c in r.components)]
    if not found:
        from dasd.base.suggest import did_you_mean
        from dasd.errors import PluginError

        known = sorted({r.name for r in host.plugins} | {c.name for c in host.registry.components()})
        raise PluginError(
            f"there is no plugin or component {name!r}"
            + did_you_mean(name, known, f". Known: {', '.join(known)}.")
        )
    return found

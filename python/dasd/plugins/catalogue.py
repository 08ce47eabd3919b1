"""Components by role and name, and who registered what."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, JsonValue

from dasd.base.suggest import did_you_mean
from dasd.errors import PluginError
from dasd.plugins.code import code_digest
from dasd.plugins.components import Component, Owner, Role

__all__ = ["Catalogue", "first_line", "plugins_of_executors"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Names stand in recipes, lists (``a,b``), ``NAME:VALUE`` and paths."""


class Catalogue:
    """Every component that ``owner`` and those merged in have registered; no name of a role twice."""

    def __init__(self, owner: Owner | None = None) -> None:
        self._owner = owner or Owner("dasd", "dasd", "")
        self._components: dict[tuple[Role, str], Component] = {}
        self._contested: dict[tuple[Role, str], str] = {}
        self._code: dict[Owner, str | None] = {}

    def _add(
        self,
        role: Role,
        name: str,
        factory: Callable[..., Any],
        options: type[BaseModel] | None,
        doc: str,
        **declared: Any,
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise PluginError(
                f"{self._owner} registers a {role} as {_short(name)}; wanted a name of at most 100 letters, digits, "
                f"hyphens, dots and underscores, e.g. 'my-{role}'"
            )
        registers = f"{self._owner} registers {role} {name!r} with"
        if not callable(factory):
            raise PluginError(f"{registers} {_short(factory)}; wanted a factory")
        if options is not None and not (isinstance(options, type) and issubclass(options, BaseModel)):
            raise PluginError(
                f"{registers} options={_short(options)}; wanted a class of pydantic's BaseModel, or None"
            )
        if not isinstance(doc, str):
            raise PluginError(f"{registers} doc={_short(doc)}; wanted a text")
        doc = doc or first_line(factory)
        component = Component(role, name, factory, self._owner, doc, options, **declared)
        known = self._components.get((role, name))
        if known is not None:
            raise PluginError(_clash(known, component))
        self._components[role, name] = component

    def merge(self, other: Catalogue) -> None:
        """Take over all components of ``other``, or none: PluginError names both owners of a name."""
        for key, component in other._components.items():
            if key in self._components:
                raise PluginError(_clash(self._components[key], component))
        self._components.update(other._components)

    def contest(self, other: Catalogue) -> None:
        """Mark the names that ``other`` shares with a plugin here: whoever asks for one is told of both."""
        for key, component in other._components.items():
            known = self._components.get(key)
            if known is not None and known.owner.distribution != "dasd":
                self._contested[key] = _clash(known, component)

    def components(self, role: Role | None = None) -> list[Component]:
        """All components, or those of a role, in the order in which they were registered."""
        return [c for c in self._components.values() if role is None or c.role == role]

    @property
    def whole(self) -> bool:
        """Whether it is as its methods left it: a plugin can reach its attributes."""
        held: object = getattr(self, "_components", None)
        return isinstance(held, dict) and all(
            isinstance(each, Component) and key == (each.role, each.name) for key, each in held.items()
        )

    def names(self, role: Role) -> list[str]:
        """Registered names of a role, sorted."""
        return sorted(c.name for c in self.components(role))

    def component(self, role: Role, name: str) -> Component:
        """The component of that role and name; PluginError lists the known names and a suggestion."""
        if (role, name) in self._contested:
            raise PluginError(self._contested[role, name] + "; load one of them with --plugins")
        found = self._components.get((role, name))
        if found is None:
            known = self.names(role)
            raise PluginError(
                f"there is no {role} {name!r}"
                + did_you_mean(name, known)
                + f" Known: {', '.join(known) or 'none'}. A plugin's has to be installed, and loaded with "
                "--plugins NAME (see `dasd plugins list`)."
            )
        return found

    def versions(self, role: Role, name: str) -> dict[str, JsonValue]:
        """``{"plugin": distribution, "version": version, "code": hash}`` of a component, for fingerprints.

        ``code`` is that of the plugin's modules, read once; dasd's own components have none.
        """
        owner = self.component(role, name).owner
        if owner not in self._code:
            self._code[owner] = code_digest(owner)
        code = self._code[owner]
        known: dict[str, JsonValue] = {"plugin": owner.distribution, "version": owner.version}
        return known if code is None else {**known, "code": code}


def plugins_of_executors(catalogue: Catalogue) -> frozenset[str]:
    """Names of the plugins that bring executors and nothing else: what a run gives is the same without them."""
    found = {component.owner.plugin for component in catalogue.components("executor")}
    return frozenset(found - {c.owner.plugin for c in catalogue.components() if c.role != "executor"})


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def first_line(documented: object) -> str:
    """Of a docstring; "" without one."""
    return (getattr(documented, "__doc__", None) or "").strip().split("\n", 1)[0]


def _clash(known: Component, new: Component) -> str:
    return f"two plugins register {new.role} {new.name!r}: {known.owner} and {new.owner}"

"""The plugin host: finds plugins, loads each in isolation, and calls their hooks one by one."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import click
import pluggy

from dasd.base.suggest import did_you_mean
from dasd.errors import PluginError
from dasd.plugins import hooks
from dasd.plugins.blame import words_of
from dasd.plugins.catalogue import first_line
from dasd.plugins.components import Component, Owner
from dasd.plugins.entry_points import installed_points
from dasd.plugins.load_guard import loading
from dasd.plugins.registry import Registry
from dasd.plugins.state import restored, tell

BUILTIN = {
    "dasd.backends": "dasd.models.transformers.builtin",
    "dasd.trainers": "dasd.training.torch.builtin",
    "dasd.evaluators": "dasd.evaluation.builtin",
    "dasd.selectors": "dasd.curation.selectors",
    "dasd.filters": "dasd.curation.filters",
    "dasd.sources": "dasd.curation.sources",
    "dasd.verifiers": "dasd.evaluation.verifiers",
    "dasd.executors": "dasd.models.executors",
    "dasd.exporters": "dasd.results.export.formats",
}
"""What dasd's own components are listed under, and the modules that register them, by the same hook as any plugin."""

HOOKS = tuple(name for name in vars(hooks) if name.startswith("dasd_"))

_DEFAULTS: dict[str, tuple[tuple[str, str], ...]] = {
    "teacher": (("teacher", "backend"), ("student", "backend")),
    "trainer": (("trainer", "trainer"),),
    "evaluator": (("evaluation", "evaluator"),),
    "selector": (("select", "selector"),),
}
"""Role -> the recipe keys that a requested plugin's component becomes the default of."""


@dataclass(frozen=True, slots=True)
class PluginRecord:
    """One plugin: a built-in module, an installed one that was loaded, or a broken one."""

    name: str
    distribution: str
    version: str
    builtin: bool
    requested: bool
    summary: str
    components: tuple[Component, ...] = ()
    hooks: tuple[str, ...] = ()
    error: str | None = None
    """Why it isn't loaded; ``None`` for a loaded one."""


class PluginHost:
    """Loaded plugins, their merged registry, and their hooks."""

    def __init__(
        self, warn: Callable[[str], None] | None = None, requested: Sequence[str] | None = None
    ) -> None:
        """The built-ins alone; ``load`` adds plugins."""
        self.registry = Registry()
        self.plugins: list[PluginRecord] = []
        self.requested = tuple(dict.fromkeys(name.strip() for name in requested or () if name.strip()))
        """Names of the plugins that were asked for; none where all installed ones are loaded."""
        self.warn = warn or tell
        """Told of plugins that are broken and of hooks that fail."""
        self._managers: list[tuple[PluginRecord, pluggy.PluginManager]] = []
        for name, module in BUILTIN.items():
            self._load_builtin(name, module)

    @classmethod
    def load(
        cls,
        requested: Sequence[str] | None = None,
        warn: Callable[[str], None] | None = None,
        seconds: float | None = None,
    ) -> PluginHost:
        """Built-ins, and exactly the ``requested`` plugins; all installed ones when none are requested.

        A name is an entry point's or a distribution's, with or without ``dasd-``. A requested plugin that is
        not installed or doesn't load raises PluginError with the cause and the install command; one that
        nobody requested is listed with its error, reported through ``warn`` and otherwise ignored. ``seconds``:
        what each may take; None: no limit. A command loads its plugins once and hands the host on (``Recipe.host``).
        """
        host = cls(warn, requested)
        found = _found()
        wanted = bool(host.requested)
        for point in _chosen(host.requested, found) if wanted else found:
            host._load_entry_point(point, wanted, seconds)
        return host

    @classmethod
    def load_working(
        cls, requested: Sequence[str], warn: Callable[[str], None]
    ) -> tuple[PluginHost, list[PluginError]]:
        """As ``load`` with those of the ``requested`` plugins that do load, and why the others don't.

        Where none does, the other installed ones are loaded as if nobody had requested any.
        """
        host = cls(warn, requested)
        found, working, tried, problems = _found(), [], [], []
        for name in host.requested:
            try:
                for point in _chosen([name], found):
                    if point not in tried:
                        tried.append(point)
                        host._load_entry_point(point, True, None)
                working.append(name)
            except PluginError as error:
                problems.append(error)
        host.requested = tuple(working)
        for point in found if not working else ():
            if point not in tried:
                host._load_entry_point(point, False, None)
        return host, problems

    # -- loading -----------------------------------------------------------------------------------

    def _load_builtin(self, name: str, module: str) -> None:
        from dasd.version import __version__

        plugin = importlib.import_module(module)
        manager, scratch = _register(plugin, Owner(name, "dasd", __version__))
        self.registry.merge(scratch)
        record = PluginRecord(name, "dasd", __version__, True, False, first_line(plugin))
        self._accept(record, manager, scratch)

    def _load_entry_point(self, point: metadata.EntryPoint, requested: bool, seconds: float | None) -> None:
        distribution = _distribution(point)
        version = (point.dist.version if point.dist else "") or "unknown"
        summary = str(point.dist.metadata.json.get("summary", "")) if point.dist else ""
        record = PluginRecord(point.name, distribution, version, False, requested, summary)
        scratch: Registry | None = None
        try:
            with loading(point.name, seconds):
                plugin = point.load()
                manager, scratch = _register(
                    plugin, Owner(point.name, distribution, version, (_root(point),))
                )
            self.registry.merge(scratch)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            cause = _cause(error)
            if requested:
                raise PluginError(
                    f"plugin {point.name} ({distribution} {version}) doesn't load: {cause}. "
                    f"Mend or reinstall it: pip install --force-reinstall {distribution}"
                ) from error
            if scratch is not None:
                self.registry.contest(scratch)
            self.plugins.append(replace(record, error=cause))
            self.warn(f"plugin {point.name} ({distribution} {version}) is broken and ignored: {cause}")
            return
        self._accept(record, manager, scratch)

    def _accept(self, record: PluginRecord, manager: pluggy.PluginManager, scratch: Registry) -> None:
        called = tuple(name for name in HOOKS if getattr(manager.hook, name).get_hookimpls())
        record = replace(record, components=tuple(scratch.components()), hooks=called)
        self.plugins.append(record)
        self._managers.append((record, manager))

    # -- using -------------------------------------------------------------------------------------

    def defaults(self) -> dict[tuple[str, str], str | list[str]]:
        """What requested plugins make the recipe's defaults: (section, key) -> value.

        A teacher that can't run a student changes ``teacher.backend`` alone. A plugin's first component of
        a role counts; filters all apply. An evaluator that a source of questions of the plugin needs is for
        that source and no default. PluginError when two requested plugins want the same key.
        """
        chosen: dict[tuple[str, str], Component] = {}
        filters: list[str] = []
        for record in self.plugins:
            if not record.requested:
                continue
            filters += [c.name for c in record.components if c.role == "filter"]
            for role, keys in _DEFAULTS.items():
                bound = {c.evaluator for c in record.components if role == "evaluator"}
                first = next((c for c in record.components if c.role == role and c.name not in bound), None)
                if first is None:
                    continue
                for key in keys:
                    if key == ("student", "backend") and not first.runs_student:
                        continue
                    if key in chosen:
                        other = chosen[key]
                        raise PluginError(
                            f"{other.label} and {first.label} were both requested and both want to be "
                            f"{'.'.join(key)}; request one of them, and name the other in the recipe"
                        )
                    chosen[key] = first
        values: dict[tuple[str, str], str | list[str]] = {key: c.name for key, c in chosen.items()}
        if filters:
            values["filters", "extra"] = filters
        return values

    def observe(self, hook: str, **arguments: Any) -> None:
        """Call an observing hook of every plugin, one by one; an exception is reported and ignored."""
        for record, _ in self._managers:
            self.observe_one(record, hook, **arguments)

    def observe_one(self, record: PluginRecord, hook: str, **arguments: Any) -> None:
        """Call a hook of one loaded plugin; an exception is reported and ignored."""
        for known, manager in self._managers:
            if known is record:
                aside = loading if hook == "dasd_commands" else restored
                try:
                    with aside(record.name):
                        getattr(manager.hook, hook)(**arguments)
                except KeyboardInterrupt:
                    raise
                except BaseException as error:  # noqa: BLE001 (an observer must not end a run)
                    self.warn(f"plugin {record.name}: {hook} failed and is ignored: {_cause(error)}")

    def commands(self, cli: click.Group) -> None:
        """Add every plugin's commands to the group ``cli``; failures are reported and ignored."""
        for record, _ in self._managers:
            for name, command in self.commands_of(record).items():
                try:
                    cli.add_command(command, name)
                except PluginError as error:
                    self.warn(f"plugin {record.name}: {error}")

    def commands_of(self, record: PluginRecord) -> dict[str, click.Command]:
        """What a plugin's ``dasd_commands`` adds to a group of its own; what is no command is told and left out."""
        group = click.Group()
        self.observe_one(record, "dasd_commands", cli=group)
        given = dict(group.commands) if isinstance(group.commands, dict) else {None: group}
        good = {k: c for k, c in given.items() if isinstance(k, str) and isinstance(c, click.Command)}
        if len(good) < len(given):
            self.warn(
                f"plugin {record.name}: its dasd_commands adds what is no command with a text as its name"
            )
        return good


def _register(plugin: object, owner: Owner) -> tuple[pluggy.PluginManager, Registry]:
    """A manager with this plugin alone, so that its failure can't touch others, and what it registered."""
    manager = pluggy.PluginManager("dasd")
    manager.add_hookspecs(hooks)
    manager.register(plugin, name=owner.plugin)
    _refuse_unknown_hooks(manager, plugin)
    scratch = Registry(owner)
    for returned in manager.hook.dasd_register(registry=scratch):
        if inspect.isgenerator(returned) or inspect.iscoroutine(returned):
            returned.close()
            raise PluginError(
                "its dasd_register is a generator or async, so it registered nothing; wanted a function"
            )
    if not scratch.whole:
        raise PluginError("it changed the registry in other ways than by its methods")
    return manager, scratch


def _refuse_unknown_hooks(manager: pluggy.PluginManager, plugin: object) -> None:
    """pluggy takes a misspelt or unmarked hook without a word; such a plugin would silently do nothing."""
    callers = manager.get_hookcallers(plugin) or []
    marked = {caller.name for caller in callers}
    unknown = sorted(caller.name for caller in callers if not caller.has_spec())
    unmarked = sorted(
        name
        for name in dir(plugin)
        if name.startswith("dasd_") and name not in marked and inspect.isroutine(getattr(plugin, name))
    )
    for name in unknown:
        hint = did_you_mean(name, HOOKS, f"; hooks are {', '.join(HOOKS)}")
        raise PluginError(f"there is no hook {name!r}{hint}")
    for name in unmarked:
        raise PluginError(f"{name!r} isn't marked with dasd.api.hookimpl, so it would never be called")
    if not marked:
        raise PluginError(f"it implements no hook; wanted at least one of {', '.join(HOOKS)}")


def _found() -> list[metadata.EntryPoint]:
    """Installed plugins, in the order in which they are loaded."""
    return sorted(installed_points(), key=lambda point: (_distribution(point), point.name))


def _chosen(names: Sequence[str], found: Sequence[metadata.EntryPoint]) -> Iterable[metadata.EntryPoint]:
    chosen: list[metadata.EntryPoint] = []
    for name in names:
        wanted = _normal(name)
        matches = [p for p in found if wanted in (_normal(p.name), _normal(_distribution(p)))]
        if not matches:
            known = sorted({point.name for point in found})
            raise PluginError(
                f"plugin {name!r} is not installed"
                + did_you_mean(name, known)
                + f" Installed: {', '.join(known) or 'none'}. To install it: pip install dasd-{wanted}"
            )
        chosen += [point for point in matches if point not in chosen]
    return chosen


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").removeprefix("dasd-")


def _distribution(point: metadata.EntryPoint) -> str:
    return (point.dist.name if point.dist else "") or _root(point)  # nameless: its METADATA is missing


def _root(point: metadata.EntryPoint) -> str:
    """Top-level module of the entry point."""
    return point.value.split(":")[0].split(".")[0].strip()


def _cause(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else words_of(error)

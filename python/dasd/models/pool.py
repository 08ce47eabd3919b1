"""From the settings of a model to its engine, in this environment or that of its ``python``, here or where the executor
has it run; one open at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dasd.base.records import ModelInfo
from dasd.models.executors import LocalExecutor
from dasd.models.remote.backend import Backend, describe
from dasd.plugins.blame import Origin
from dasd.plugins.checked_executor import CheckedExecutor
from dasd.plugins.checked_teacher import CheckedTeacher
from dasd.plugins.hosts import Hosts, HostsWanted
from dasd.plugins.registry import Registry
from dasd.plugins.roles import OpenedTeacher
from dasd.recipe.executor_settings import LOCAL, ExecutorSettings
from dasd.recipe.model_settings import ModelSettings

__all__ = ["ModelPool", "Start", "backend_of", "open_teacher"]


def backend_of(registry: Registry, settings: ModelSettings, section: str = "teacher") -> Backend:
    """The backend that runs ``settings``, here or in the environment of its ``python``.

    ``section`` stands before the keys in messages. Raises PluginError for a name that nobody registered and for
    another environment that can't be used, InputError for a ``python`` that isn't there, and RecipeError for options
    that the other environment refuses.
    """
    if settings.python is not None:
        return describe(settings, section)
    return Backend.of(registry, settings.backend)


def open_teacher(registry: Registry, settings: ModelSettings) -> OpenedTeacher:
    """Start the backend of ``settings`` where it runs; every frame that it yields is checked."""
    if settings.python is not None:
        from dasd.models.remote.teacher import RemoteTeacher

        label = f"teacher {settings.backend!r} (in {settings.python})"
        return CheckedTeacher(RemoteTeacher(settings), Origin(label))
    return registry.make_teacher(settings)


class Start:
    """Starts the backend of settings where it is called; pickled, it loads the same plugins there first."""

    def __init__(self, registry: Registry | None, plugins: Sequence[str]) -> None:
        """``plugins``: those that were requested of ``registry``; none: it has all that are installed."""
        self._registry = registry
        self._plugins = tuple(plugins)

    def __call__(self, settings: ModelSettings) -> OpenedTeacher:
        """Start it. Raises what the backend does, and PluginError for a plugin that doesn't load here."""
        if self._registry is None:
            from dasd.plugins.host import PluginHost

            self._registry = PluginHost.load(self._plugins).registry
        return open_teacher(self._registry, settings)

    def __reduce__(self) -> tuple[type[Start], tuple[None, tuple[str, ...]]]:
        return Start, (None, self._plugins)


class ModelPool:
    """Keeps one engine open at a time: two models rarely fit in memory together."""

    def __init__(
        self,
        registry: Registry,
        on_open: Callable[[ModelInfo], None] | None = None,
        executor: ExecutorSettings | None = None,
        plugins: Sequence[str] = (),
    ) -> None:
        """``on_open`` is told of every engine that is opened; ``executor``: what opens it, by default this machine;
        ``plugins``: those that were requested of ``registry``, for engines in other processes."""
        self._registry = registry
        self._on_open = on_open
        self._start = Start(registry, plugins)
        self._elsewhere = executor if executor is not None and executor.executor != LOCAL else None
        self._executor: CheckedExecutor | None = None
        self._settings: ModelSettings | None = None
        self._teacher: OpenedTeacher | None = None

    def open(self, settings: ModelSettings) -> OpenedTeacher:
        """The engine for ``settings``: the one that is open if it is the same, else it is closed first."""
        if self._teacher is not None and self._settings == settings:
            return self._teacher
        self._close_teacher()
        executor = LocalExecutor() if self._elsewhere is None else self._made(self._elsewhere)
        self._teacher = executor.open(settings, self._start)
        self._settings = settings
        if self._on_open is not None:
            self._on_open(self._teacher.info)
        return self._teacher

    @property
    def hosts(self) -> Callable[[HostsWanted], Hosts] | None:
        """Holds hosts of the executor for a training, which closes them; None where it starts no trainer."""
        elsewhere = self._elsewhere
        if elsewhere is None or not self._registry.component("executor", elsewhere.executor).launches:
            return None

        def hold(wanted: HostsWanted) -> Hosts:
            self._close_teacher()
            return self._made(elsewhere).hosts(wanted)

        return hold

    def close(self) -> None:
        """Close the engine that is open, if one is, and what the executor holds for engines."""
        try:
            self._close_teacher()
        finally:
            executor, self._executor = self._executor, None
            if executor is not None:
                executor.close()

    def _made(self, settings: ExecutorSettings) -> CheckedExecutor:
        if self._executor is None:
            self._executor = self._registry.make_executor(settings)
        return self._executor

    def _close_teacher(self) -> None:
        teacher, self._teacher, self._settings = self._teacher, None, None
        if teacher is not None:
            teacher.close()

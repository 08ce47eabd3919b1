"""From the settings of a model to its engine, in this environment or that of its ``python``; one open at a time."""

from __future__ import annotations

from collections.abc import Callable

from dasd.base.records import ModelInfo
from dasd.models.remote.backend import Backend, describe
from dasd.plugins.blame import Origin
from dasd.plugins.checked_teacher import CheckedTeacher
from dasd.plugins.registry import Registry
from dasd.plugins.roles import OpenedTeacher
from dasd.recipe.model_settings import ModelSettings

__all__ = ["ModelPool", "backend_of", "open_teacher"]


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


class ModelPool:
    """Keeps one engine open at a time: two models rarely fit in memory together."""

    def __init__(self, registry: Registry, on_open: Callable[[ModelInfo], None] | None = None) -> None:
        """``on_open`` is told of every engine that is opened."""
        self._registry = registry
        self._on_open = on_open
        self._settings: ModelSettings | None = None
        self._teacher: OpenedTeacher | None = None

    def open(self, settings: ModelSettings) -> OpenedTeacher:
        """The engine for ``settings``: the one that is open if it is the same, else it is closed first."""
        if self._teacher is not None and self._settings == settings:
            return self._teacher
        self.close()
        self._teacher = open_teacher(self._registry, settings)
        self._settings = settings
        if self._on_open is not None:
            self._on_open(self._teacher.info)
        return self._teacher

    def close(self) -> None:
        """Close the engine that is open, if one is."""
        teacher, self._teacher, self._settings = self._teacher, None, None
        if teacher is not None:
            teacher.close()

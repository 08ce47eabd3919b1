"""The one inference engine that is open."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dasd.api import Teacher
from dasd.records import ModelInfo
from dasd.settings import ModelSettings

if TYPE_CHECKING:
    from dasd.registry import Registry


class ModelPool:
    """Keeps one engine open at a time: two models rarely fit in memory together."""

    def __init__(self, registry: Registry, on_open: Callable[[ModelInfo], None] | None = None) -> None:
        """``on_open`` is told of every engine that is opened."""
        self._registry = registry
        self._on_open = on_open
        self._settings: ModelSettings | None = None
        self._teacher: Teacher | None = None

    def open(self, settings: ModelSettings) -> Teacher:
        """The engine for ``settings``: the one that is open if it is the same, else it is closed first."""
        if self._teacher is not None and self._settings == settings:
            return self._teacher
        self.close()
        self._teacher = self._registry.make_teacher(settings)
        self._settings = settings
        if self._on_open is not None:
            self._on_open(self._teacher.info)
        return self._teacher

    def close(self) -> None:
        """Close the engine that is open, if one is."""
        teacher, self._teacher, self._settings = self._teacher, None, None
        if teacher is not None:
            teacher.close()

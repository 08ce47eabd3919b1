"""The built-in executor ``local``: engines run on this machine, each as its backend starts it."""

from __future__ import annotations

from collections.abc import Callable

from dasd.plugins.registering import Registry
from dasd.plugins.roles import OpenedTeacher, hookimpl
from dasd.recipe.executor_settings import LOCAL
from dasd.recipe.model_settings import ModelSettings

__all__ = ["LocalExecutor", "dasd_register"]


class LocalExecutor:
    """Opens engines here."""

    def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> OpenedTeacher:
        """As ``Executor.open``."""
        return start(settings)

    def close(self) -> None:
        """Nothing is held open."""


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the executor ``local``."""
    registry.executor(LOCAL, LocalExecutor, doc="This machine: one engine at a time.")

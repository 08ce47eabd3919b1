"""The wrapper around an executor."""

from __future__ import annotations

from collections.abc import Callable

from dasd.errors import PluginError
from dasd.plugins.checked import Checked
from dasd.plugins.checked_teacher import CheckedTeacher
from dasd.plugins.hosts import Hosts, HostsWanted
from dasd.plugins.roles import Executor, LaunchingExecutor, OpenedTeacher
from dasd.recipe.model_settings import ModelSettings

__all__ = ["CheckedExecutor"]


class CheckedExecutor(Checked[Executor]):
    """An executor whose engines are checked as any teacher is."""

    methods = ("open", "close")

    def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> OpenedTeacher:
        """As ``Executor.open``."""
        with self._origin.blamed():
            teacher = self._inner.open(settings, start)
        # What ``start`` gave is checked already.
        return teacher if isinstance(teacher, CheckedTeacher) else CheckedTeacher(teacher, self._origin)

    def hosts(self, wanted: HostsWanted) -> Hosts:
        """As ``LaunchingExecutor.hosts``."""
        if not isinstance(self._inner, LaunchingExecutor):
            raise PluginError(
                f"{self._origin}: it is registered as launching and its factory returned a "
                f"{type(self._inner).__name__} without hosts"
            )
        with self._origin.blamed():
            return self._inner.hosts(wanted)

    def close(self) -> None:
        """Close the wrapped executor."""
        with self._origin.blamed():
            self._inner.close()

"""Exceptions: one root, each also the standard exception that a caller would expect.

``exit_code`` is what the command line ends with: 2 for wrong use (recipe, plugin, arguments, input
files), 1 for a run that failed. Every message says what was wanted, what came and what to do.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "BackendError",
    "ComponentError",
    "DasdError",
    "DiskFullError",
    "HubError",
    "InputError",
    "LockError",
    "NotHereError",
    "PluginError",
    "RecipeError",
    "SchemaError",
    "StoreError",
    "TrainingError",
]


class DasdError(Exception):
    """Root of every error that dasd raises on purpose."""

    exit_code = 1


class RecipeError(DasdError, ValueError):
    """A recipe is wrong: the message names file, key path, what was wanted and what came."""

    exit_code = 2


class InputError(DasdError, ValueError):
    """An input (questions, a model directory, an argument) can't be used; names file, row or key."""

    exit_code = 2


class NotHereError(InputError):
    """An input isn't on this machine and can't be fetched; says how to bring it. A plan counts without it."""


class PluginError(DasdError, RuntimeError):
    """A requested plugin can't be loaded, or a component's name is unknown or has two owners."""

    exit_code = 2


class ComponentError(PluginError):
    """A plugin's code raised what is no error of dasd's: names component, plugin, place and what to do."""

    exit_code = 1


class SchemaError(DasdError, TypeError):
    """A frame breaks its schema: names who returned it, the column, the type wanted and the one that came."""


class StoreError(DasdError, RuntimeError):
    """A run directory is damaged or altered: names the file and what is wrong with it."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class LockError(StoreError):
    """Another process is writing to this run directory."""

    exit_code = 2


class DiskFullError(StoreError, OSError):
    """The disk is full: says how much is free, where, and that the run continues once there is room."""


class BackendError(DasdError, RuntimeError):
    """An inference engine failed in a way that it can't mend itself."""


class HubError(DasdError, ConnectionError):
    """A hub refuses what it is sent, or can't be reached; says how to go on."""


class TrainingError(DasdError, ArithmeticError):
    """Training can't go on (a loss or gradient that is not finite, labels that are wrong)."""

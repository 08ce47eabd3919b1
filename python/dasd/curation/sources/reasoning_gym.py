"""The package reasoning-gym, imported quietly: its question sets and their scorers."""

from __future__ import annotations

import warnings
from types import ModuleType

from dasd.errors import PluginError

__all__ = ["reasoning_gym_package"]


def reasoning_gym_package(who: str) -> ModuleType:
    """The module ``reasoning_gym``. Raises PluginError, naming who needs it, where it isn't installed."""
    try:
        with warnings.catch_warnings():
            # One of its dependencies compares strings by identity, which Python tells when it compiles it.
            warnings.simplefilter("ignore", SyntaxWarning)
            import reasoning_gym
    except ImportError as error:
        raise PluginError(f"{who} needs the package reasoning-gym: pip install 'dasd[gym]'") from error
    module: ModuleType = reasoning_gym
    return module

"""What the host has to know of a backend before it starts one; another environment is asked for it."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pydantic import JsonValue

from dasd.errors import PluginError
from dasd.models.remote.messages import Describe, Failure, decode, encode
from dasd.models.remote.process import WorkerProcess
from dasd.recipe.model_settings import ModelSettings

if TYPE_CHECKING:
    from dasd.plugins.registry import Registry

__all__ = ["Backend", "describe"]


@dataclass(frozen=True, slots=True)
class Backend:
    """A teacher component of this environment, or of the one that a model's ``python`` names."""

    label: str
    """How messages call it, e.g. ``teacher 'vllm' (plugin dasd-vllm)``."""
    versions: dict[str, JsonValue]
    """Distribution that registers it, its version and code, for fingerprints; where it runs is not in it."""
    runs_student: bool
    continues: bool
    gives_logprobs: bool
    speed_options: tuple[str, ...] = ()
    """Options that change how fast or how patiently it works and never what it gives."""
    loads_model: bool = False
    """Whether the model's weights are loaded onto this run's own devices."""
    engines: str = ""
    """The option that says how many engines work side by side, a number or a list; "": one."""
    concurrency: str = ""
    """The option that says how many requests it works on at a time; "": it takes lists."""
    gives_top: bool = False
    """Whether it gives the likeliest tokens of each position that it scores."""

    @classmethod
    def of(cls, registry: Registry, name: str) -> Backend:
        """What a registered teacher says of itself. PluginError for a name that nobody registered."""
        component = registry.component("teacher", name)
        return cls(
            component.label,
            registry.versions("teacher", name),
            component.runs_student,
            component.continues,
            component.gives_logprobs,
            component.speed_options,
            component.loads_model,
            component.engines,
            component.concurrency,
            component.gives_top,
        )


_KNOWN: dict[tuple[str, str, str], Backend] = {}
"""What other environments said; each is asked once a process."""


def describe(settings: ModelSettings, section: str) -> Backend:
    """The backend of a model with ``python`` set, with its options checked there.

    ``section`` (``teacher``, ``student``) stands before the keys in messages. Raises InputError and
    PluginError for an environment that can't be used, PluginError for a backend that isn't there,
    RecipeError for wrong options.
    """
    assert settings.python is not None
    key = (settings.python, settings.backend, json.dumps(settings.options, sort_keys=True))
    known = _KNOWN.get(key)
    if known is None:
        known = _KNOWN[key] = _ask(settings, settings.python, section)
    return known


def _ask(settings: ModelSettings, python: str, section: str) -> Backend:
    with closing(WorkerProcess(python, f"{section}.python")) as worker:
        asked = Describe(settings.backend, dict(settings.options), section)
        worker.send("describe", body=encode(asked))
        answer = worker.receive()
        if answer.kind != "error":
            return worker.read(answer, partial(decode, Backend), "description")
        failure = worker.read(answer, partial(decode, Failure), "error")
        raise failure.exception() or PluginError(
            f"{section}.backend: {settings.backend!r} can't be asked for in the environment of {worker.path}: "
            f"{failure.text}. {worker.last_lines()}"
        )

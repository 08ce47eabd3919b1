"""What another environment says of a backend that is installed there; asked once a process."""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial

from dasd.errors import PluginError
from dasd.models.remote.backend import Backend
from dasd.models.remote.messages import Describe, Failure, decode, encode
from dasd.models.remote.process import WorkerProcess
from dasd.recipe.model_settings import ModelSettings

__all__ = ["describe"]

_KNOWN: dict[tuple[str, str, str], Backend] = {}


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

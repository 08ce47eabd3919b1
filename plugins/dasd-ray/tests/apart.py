"""A plugin with the built-in engine as one that is kept full.

A request's row then doesn't depend on its neighbours, so that any number of replicas gives the same rows.
"""

from __future__ import annotations

from dasd.api import ModelSettings, Registry, Teacher, hookimpl


def _made(settings: ModelSettings) -> Teacher:
    from dasd.models.transformers.engine import TransformersTeacher
    from dasd.testing.one_by_one import OneByOne

    return OneByOne(TransformersTeacher(settings))


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the teacher ``apart``."""
    registry.teacher("apart", _made)

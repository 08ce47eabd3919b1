"""Plugin ``ray``: an executor that opens a backend on many machines of a Ray cluster, as if it were one engine."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from dasd.api import Executor, Registry, hookimpl
from dasd_ray.options import RayOptions

__all__ = ["RayOptions", "dasd_register"]


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the executor ``ray``."""
    registry.executor(
        "ray",
        _ray,
        options=RayOptions,
        engines="replicas",
        launches=True,
        doc="Replicas of an engine on the nodes of a Ray cluster; those that die are replaced.",
    )


def _ray(options: Mapping[str, JsonValue]) -> Executor:
    from dasd_ray.executor import RayExecutor

    return RayExecutor(RayOptions.model_validate(dict(options)))

"""Options of the executor ``ray``: light, so that a recipe is checked without loading Ray."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RayOptions", "ReplicaResources"]


class ReplicaResources(BaseModel):
    """What a replica takes of its node."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: float = Field(
        1.0,
        ge=0,
        description="Processors of a replica, or of a process of a training; on the CPU it gets as many threads.",
    )
    gpus: float | None = Field(
        None,
        ge=0,
        description="GPUs of one node; null: `tensor_parallel_size` times `pipeline_parallel_size` of the backend's "
        "options (1 where it has none), and 0 with `device: cpu` or in a cluster without GPUs.",
    )
    others: dict[str, float] = Field(
        default_factory=dict,
        description="Ray's custom resources by name, e.g. `accelerator_type:H200: 0.001`.",
    )


class RayOptions(BaseModel):
    """Options of the executor ``ray``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str | None = Field(
        None,
        description="Address of a running cluster's head, `HOST:PORT`, or `auto` on one of its nodes; null: a Ray of "
        "this run's own on this machine.",
    )
    replicas: int | Literal["auto"] = Field(
        "auto",
        description="Engines side by side; `auto`: as many as the GPUs of the cluster hold, without GPUs one a node. "
        "Nodes that join later count.",
    )
    resources: ReplicaResources = Field(
        default_factory=ReplicaResources, description="What a replica takes of its node."
    )
    retries: int = Field(
        3,
        ge=0,
        description="How often a list or request is asked again whose replica died, before the run stops.",
    )
    start_seconds: float = Field(
        1800.0,
        gt=0,
        description="How long a run waits while it has no replica at all, or no room for a training, before it stops.",
    )

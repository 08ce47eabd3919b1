"""How many replicas a cluster holds, and what each of them needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dasd.api import ModelSettings
from dasd_ray.options import RayOptions

__all__ = ["Need", "alive", "described", "device_kind", "need_of", "wanted"]


@dataclass(frozen=True, slots=True)
class Need:
    """What one replica takes of its node."""

    cpus: float
    gpus: float
    others: Mapping[str, float]

    def fits(self, resources: Mapping[str, float]) -> int:
        """How many a node with these resources holds, by its GPUs; one of a node for engines without."""
        each = {"CPU": self.cpus, "GPU": self.gpus, **self.others}
        rooms = [int(resources.get(name, 0.0) / amount + 1e-9) for name, amount in each.items() if amount]
        return min(rooms, default=1) if self.gpus else min([1, *rooms])

    def __str__(self) -> str:
        each = {"CPU": self.cpus, "GPU": self.gpus, **self.others}
        return ", ".join(f"{amount:g} {name}" for name, amount in each.items() if amount) or "nothing"


def alive(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of ``ray.nodes()`` that are there."""
    return [node for node in nodes if node["Alive"]]


def need_of(options: RayOptions, settings: ModelSettings, nodes: Sequence[Mapping[str, Any]]) -> Need:
    """What a replica of this model's engine needs, in a cluster of these nodes."""
    given = options.resources
    gpus = given.gpus
    if gpus is None:
        there = any(node["Resources"].get("GPU") for node in alive(nodes))
        gpus = float(_parallel(settings)) if there and settings.device != "cpu" else 0.0
    return Need(given.cpus, gpus, given.others)


def wanted(options: RayOptions, need: Need, nodes: Sequence[Mapping[str, Any]]) -> int:
    """How many replicas to have now; at least one, which a cluster that grows has to make room for."""
    if options.replicas != "auto":
        return options.replicas
    return max(1, sum(need.fits(node["Resources"]) for node in alive(nodes)))


def described(nodes: Sequence[Mapping[str, Any]]) -> str:
    """The nodes and what they have, in words."""
    there = alive(nodes)
    each = []
    for node in there:
        cpus, gpus = (node["Resources"].get(name, 0) for name in ("CPU", "GPU"))
        each.append(f"{node['NodeManagerAddress']}: {cpus:g} CPU, {gpus:g} GPU")
    return f"{len(there)} nodes ({'; '.join(each[:8])}{'; ...' if len(each) > 8 else ''})"


def device_kind(need: Need, node: Mapping[str, Any]) -> str:
    """What an engine computes on there: the kind of GPU, as Ray names it, or the processor."""
    kinds = sorted(name for name in node["Resources"] if name.startswith("accelerator_type:"))
    return ", ".join(kind.partition(":")[2] for kind in kinds) if need.gpus and kinds else "CPU"


def _parallel(settings: ModelSettings) -> int:
    """GPUs that the backend spreads one engine over, as its options say."""
    sizes = (settings.options.get(f"{way}_parallel_size", 1) for way in ("tensor", "pipeline"))
    product = 1
    for size in sizes:
        product *= size if isinstance(size, int) else 1
    return product

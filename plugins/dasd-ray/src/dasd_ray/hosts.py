"""Hosts for a training: held by a placement group, an actor on each, as ``api.Hosts``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from dasd.api import BackendError, HostsWanted, InputError
from dasd_ray.capacity import alive, described
from dasd_ray.head import Head
from dasd_ray.host import Host, identity
from dasd_ray.member import LostError, fetch
from dasd_ray.options import RayOptions

__all__ = ["RayHosts", "gpus_of_hosts"]

WAIT_SECONDS = 0.5
END_SECONDS = 10.0
"""What hosts may take to end their processes."""
SOME = 0.001
"""Of a processor: a bundle can't be of nothing."""


class RayHosts:
    """Nodes of a cluster, each another one, with the processors and GPUs of the training's processes."""

    def __init__(self, wanted: HostsWanted, options: RayOptions, head: Head) -> None:
        """Wait until the nodes have room. Raises as ``LaunchingExecutor.hosts``."""
        self._options, self._head = options, head
        gpus = gpus_of_hosts(wanted, ray.nodes())
        self.device = "cuda" if gpus else "cpu"
        self.processes = gpus or [wanted.processes or 1] * wanted.count
        cpus = options.resources.cpus
        bundles = [
            {
                "CPU": cpus * count or SOME,
                **({"GPU": float(count)} if gpus else {}),
                **options.resources.others,
            }
            for count in self.processes
        ]
        self._group = placement_group(bundles, strategy="STRICT_SPREAD")
        self._hosts: list[Any] = []
        try:
            self._wait(bundles)
            for place, bundle in enumerate(bundles):
                self._hosts.append(self._host(place, bundle))
            files = {path: identity(path) for path in wanted.shared}
            self.addresses = [str(_asked(host.address.remote())) for host in self._hosts]
            for address, host in zip(self.addresses, self._hosts, strict=True):
                unseen = _asked(host.unseen.remote(files))
                if unseen is not None:
                    raise InputError(
                        f"executor 'ray': host {address} doesn't see {unseen} as it is here; wanted the run directory "
                        "and the model on a file system that all hosts share, at the same path (docs/clusters.md)"
                    )
        except BaseException:
            self.close()
            raise

    def free_port(self) -> int:
        """As ``Hosts.free_port``."""
        return int(_asked(self._hosts[0].free_port.remote()))

    def start(
        self, host: int, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> RayProcess:
        """As ``Hosts.start``; each process gets as many threads as ``resources.cpus``."""
        threads = {"OMP_NUM_THREADS": str(max(1, int(self._options.resources.cpus)))}
        code = self._hosts[host].run.remote(list(arguments), {**threads, **environment}, log)
        return RayProcess(code, self.addresses[host], self._head)

    def close(self) -> None:
        """End the processes and give the nodes back."""
        with suppress(RayError):  # direct calls, which need no head
            ends = [host.end.remote() for host in self._hosts]
            if ends:
                ray.wait(ends, num_returns=len(ends), timeout=END_SECONDS)
        if self._head.lost:
            return
        for host in self._hosts:
            with suppress(RayError, ValueError):
                ray.kill(host, no_restart=True)
        with suppress(RayError):
            remove_placement_group(self._group)

    def _wait(self, bundles: Sequence[Mapping[str, float]]) -> None:
        until = time.monotonic() + self._options.start_seconds
        ready = self._group.ready()
        while not ray.wait([ready], timeout=WAIT_SECONDS)[0]:
            self._head.check()
            if time.monotonic() > until:
                each = "; ".join(", ".join(f"{n:g} {name}" for name, n in b.items()) for b in bundles)
                raise BackendError(
                    f"no room for the training's processes in {self._options.start_seconds:g} s: wanted hosts with "
                    f"{each}, and the cluster has {described(ray.nodes())}; change the trainer's hosts or "
                    "processes, or bring nodes. What is finished is kept: give the same command again"
                )

    def _host(self, place: int, bundle: Mapping[str, float]) -> Any:
        others = {name: n for name, n in bundle.items() if name not in ("CPU", "GPU")}
        actor = ray.remote(Host).options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle.get("GPU", 0),
            resources=others,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=self.processes[place] + 1,  # a thread that waits for each, and one that asks
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                self._group, placement_group_bundle_index=place
            ),
        )
        return actor.remote()


class RayProcess:
    """A process on a host, as ``api.Launched``."""

    def __init__(self, code: Any, address: str, head: Head) -> None:
        self._code, self._address, self._head = code, address, head

    def poll(self) -> int | None:
        """As ``Launched.poll``."""
        if not ray.wait([self._code], timeout=0)[0]:
            self._head.check()
            return None
        return int(_asked(self._code, f"host {self._address}"))


def gpus_of_hosts(wanted: HostsWanted, nodes: Sequence[Mapping[str, Any]]) -> list[int]:
    """GPUs that the training takes of each host; empty: it trains on the CPU.

    Without ``wanted.processes`` the hosts with most GPUs are taken whole. Raises InputError where fewer hosts than
    wanted have enough GPUs, unless the CPU will do: ``auto`` in a cluster without GPUs.
    """
    if wanted.device == "cpu":
        return []
    counts = sorted((int(node["Resources"].get("GPU", 0)) for node in alive(nodes)), reverse=True)
    there = [count for count in counts if count >= (wanted.processes or 1)][: wanted.count]
    if len(there) == wanted.count:
        return [wanted.processes or count for count in there]
    if wanted.device == "cuda" or any(counts):
        raise InputError(
            f"wanted {wanted.count} hosts with {wanted.processes or 1} GPUs or more for the training, and the cluster "
            f"has {described(nodes)}; change the trainer's hosts or processes, or trainer.device"
        )
    return []


def _asked(reference: Any, host: str = "a host") -> Any:
    """What a host answers. BackendError where it is lost."""
    try:
        return fetch(reference)
    except LostError as error:
        raise BackendError(f"{host} of the training is lost: {error}") from None

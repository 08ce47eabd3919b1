"""A Ray cluster of several nodes on this machine, shared by the tests, and what they run in it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode doesn't

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
os.environ.setdefault("RAY_worker_niceness", "0")  # on a busy machine they would starve
# On the CPU the number of threads changes the last bits of log-probabilities: as many here as a replica has.
os.environ["OMP_NUM_THREADS"] = "1"
# A node that is killed is given up after about two seconds instead of half a minute.
QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 4,
}
PATIENCE = 120.0


def within(seconds: float, found: Callable[[], Any], what: str) -> Any:
    """What ``found`` gives as soon as it gives something."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, f"{what} didn't come in {seconds:g} s"
        time.sleep(0.02)
    return value


class Nodes:
    """A cluster; its head has no room for replicas, every other node for one."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK},
        )

    @property
    def address(self) -> str:
        """For ``executor.options.address``."""
        return str(self._cluster.address)

    def have(self, count: int) -> list[Any]:
        """Start or end nodes until there are so many besides the head; them."""
        while len(self.all) < count:
            self.add()
        for node in self.all[count:]:
            self._cluster.remove_node(node)
        return self.all

    @property
    def all(self) -> list[Any]:
        """Those besides the head."""
        return sorted(self._cluster.worker_nodes, key=lambda node: raylet(node))

    def add(self) -> Any:
        """One more."""
        return self._cluster.add_node(num_cpus=1)

    def kill(self, node: Any) -> None:
        """End it as a machine ends that loses its power."""
        actors = workers(node, b"ray::")
        self._cluster.remove_node(node, allow_graceful=False)
        for pid in actors:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_head(self) -> None:
        """End the head's processes as its machine ends that loses its power."""
        for started in self._cluster.head_node.all_processes.values():
            for each in started:
                each.process.kill()

    def shutdown(self) -> None:
        """End all."""
        self._cluster.shutdown()


def raylet(node: Any) -> int:
    """Process id of the node's own process."""
    return int(node.all_processes["raylet"][0].process.pid)


def children(parent: int) -> list[int]:
    """Process ids of the children of a process that run."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with suppress(OSError):
                state, of = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(of) == parent and state != "Z":
                    found.append(int(path.name))
    return found


def descendants(pid: int) -> list[int]:
    """Process ids of all that a process started, and what these started."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def processes(node: Any, doing: str = "") -> list[int]:
    """Process ids of the replicas on a node; ``doing``: the method that they are in."""
    return workers(node, f"ray::Replica.{doing}".encode() if doing else b"ray::Replica")


def workers(node: Any, title: bytes) -> list[int]:
    """Process ids of Ray's workers on a node whose title begins so."""
    found = []
    for pid in children(raylet(node)):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title):
                found.append(pid)
    return found


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """The cluster; each test says how many nodes it wants to ``have``."""
    site = tmp_path_factory.mktemp("site")
    dist = site / "dasd_apart-0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: dasd-apart\nVersion: 0\n")
    (dist / "entry_points.txt").write_text("[dasd.plugins]\napart = apart\n")
    # Nodes and commands find the backend of these tests as an installed plugin.
    paths = [str(site), str(Path(__file__).parent)]
    former = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, former])
    sys.path[:0] = paths
    cluster = Nodes()
    yield cluster
    cluster.shutdown()
    os.environ["PYTHONPATH"] = former


def recipe(address: str | None, options: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A small recipe; with an address it runs on that cluster."""
    model = {"precision": "fp32", "device": "cpu", "batch_size": 8}
    made: dict[str, Any] = {
        "name": "clustered",
        "seed": 5,
        "plugins": ["apart"],
        "teacher": {"model": "dasd:mini-teacher", "backend": "transformers", **model},
        "student": {"model": "dasd:mini-student", "backend": "transformers", **model},
        "questions": {
            "train": [{"source": "miniature", "count": 24}],
            "eval": [{"source": "miniature", "count": 8}],
        },
        "sampling": {"candidates": 2, "max_tokens": 60, "chunk": 8},
        "stages": [{"name": "low", "temperature": 0.6}],
        "trainer": {"max_length": 256, "max_steps": 1},
        "evaluation": {"heldout": 0, "attempts": 2},
        **changes,
    }
    if address is not None:
        made["plugins"].append("ray")
        made["executor"] = {"executor": "ray", "options": {"address": address, **(options or {})}}
    return made

"""The executor: a connection to a cluster, or a Ray of this run's own, and one teacher at a time in it."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from dasd.api import (
    BackendError,
    Hosts,
    HostsWanted,
    InputError,
    ModelSettings,
    OpenedTeacher,
    PluginError,
    Teacher,
)
from dasd_ray.options import RayOptions

if TYPE_CHECKING:
    from dasd_ray.head import Head

__all__ = ["RayExecutor"]

_DEFAULTS = {
    # A thread that still asks when Ray is shut down must not start another one.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Of a Ray that is started here: its processes are the run's own, and give way to nobody.
    "RAY_worker_niceness": "0",
}


class RayExecutor:
    """Opens engines and starts trainings on a Ray cluster."""

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._head: Head | None = None

    def open(self, settings: ModelSettings, start: Callable[[ModelSettings], OpenedTeacher]) -> Teacher:
        """One teacher over the replicas of this engine.

        Raises PluginError without Ray, BackendError for a cluster that can't be reached, InputError for a ``device``
        that names one GPU, and as ``Fleet``.
        """
        if settings.device.startswith("cuda:"):
            raise InputError(
                f"device: {settings.device} names a GPU of one machine; with executor ray wanted auto, cuda or cpu"
            )
        head = self._connect()
        from dasd_ray.teacher import RayTeacher

        return RayTeacher(settings, start, self._options, head)

    def hosts(self, wanted: HostsWanted) -> Hosts:
        """Nodes for a training. Raises as ``open`` and ``LaunchingExecutor.hosts``."""
        head = self._connect()
        from dasd_ray.hosts import RayHosts

        return RayHosts(wanted, self._options, head)

    def close(self) -> None:
        """Leave the cluster; a Ray of this run's own is ended."""
        head, self._head = self._head, None
        if head is not None:
            head.leave()

    def _connect(self) -> Head:
        for name, value in _DEFAULTS.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise PluginError(f"the executor 'ray' needs Ray ({error}): pip install 'ray>=2.60'") from error
        from dasd_ray.head import Head

        if self._head is not None:
            return self._head
        if ray.is_initialized():  # by whoever calls dasd, and leaves it
            self._head = Head(own=False)
            return self._head
        address = self._options.address
        debug = os.environ.get("DASD_DEBUG", "") not in ("", "0")
        handler = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=address or "local",
                log_to_driver=debug,
                logging_level=logging.INFO if debug else logging.ERROR,
                **({} if address else {"include_dashboard": False}),
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"no Ray cluster answers at {address}" if address else "Ray doesn't start on this machine"
            hint = (
                "start one with `ray start --head`, see docs/clusters.md" if address else "look into /tmp/ray"
            )
            raise BackendError(f"executor.options.address: {where}: {error}; {hint}") from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, handler)
        self._head = Head(own=True)
        return self._head

"""Whether the cluster's head still answers: without it calls of Ray's wait, and after a minute it ends the process."""

from __future__ import annotations

import atexit
import socket
import threading
import time

import ray

from dasd.api import BackendError

__all__ = ["Head"]

LOST_SECONDS = 30.0
"""How long it may be silent: one that is started again with its state is waited for, and a run ends before Ray does."""
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 2.0
LEAVE_SECONDS = 5.0
"""What leaving a cluster without a head may take."""


class Head:
    """The head of the cluster that this process is connected to, looked at in a thread of its own."""

    def __init__(self, own: bool) -> None:
        """``own``: the connection is this executor's, which ends it."""
        self._own = own
        self._address: str = ray.get_runtime_context().gcs_address
        self._ended = threading.Event()
        self.lost = False
        """Whether it has been silent for ``LOST_SECONDS``."""
        threading.Thread(target=self._look, daemon=True).start()

    def check(self) -> None:
        """Raise BackendError once it is lost."""
        if self.lost:
            raise BackendError(
                f"the head of the Ray cluster, {self._address}, hasn't answered for {LOST_SECONDS:g} s. What is "
                "finished is kept: start a cluster again and give the same command, with its address"
            )

    def leave(self) -> None:
        """Disconnect from the cluster, whether the head is there or not."""
        self._ended.set()
        if not self._own:
            return
        if not self.lost:
            ray.shutdown()
            return
        leaving = threading.Thread(target=ray.shutdown, daemon=True)
        leaving.start()
        leaving.join(LEAVE_SECONDS)
        if leaving.is_alive():
            atexit.unregister(ray.shutdown)

    def _look(self) -> None:
        host, _, port = self._address.rpartition(":")
        seen = time.monotonic()
        while not self._ended.wait(LOOK_SECONDS):
            try:
                socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
                seen = time.monotonic()
            except OSError:
                if time.monotonic() - seen > LOST_SECONDS:
                    self.lost = True
                    return

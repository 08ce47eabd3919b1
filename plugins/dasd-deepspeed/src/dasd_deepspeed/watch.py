"""What ties a process of a training to the host that started it: its answers, and its death."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from queue import SimpleQueue

from dasd.api import read_small
from dasd_deepspeed.job import Files

GO_ON, STOP = b".", b"!"
"""The host's answer to a step: it has been told of, or the training is to save and end."""
BEAT_SECONDS = 2.0
"""Time between two beats of the host."""
_MISSED_SECONDS = 60.0
"""Without a beat for so long, the host is taken for dead: shared file systems may show it late."""


class Host:
    """The host, as one of its processes sees it. When it dies, however, this process's group is killed."""

    def __init__(self, how: str, files: Files) -> None:
        """``how``: a ``Job``'s ``watch``."""
        self._files = files
        self._answers: SimpleQueue[bytes] | None = SimpleQueue() if how == "answers" else None
        target = self._listen if how == "heartbeat" else self._read
        threading.Thread(target=target, daemon=True).start()

    def wants_stop(self) -> bool:
        """To be asked once after each step that was told of; it waits for the host's answer where there is one."""
        if self._answers is None:
            return self._files.stop.exists()
        return self._answers.get() == STOP

    def _read(self) -> None:
        while answer := os.read(sys.stdin.fileno(), 1):
            if self._answers is not None:
                self._answers.put(answer)
        _end()

    def _listen(self) -> None:
        seen, since = b"", time.monotonic()
        while time.monotonic() - since < _MISSED_SECONDS:
            time.sleep(BEAT_SECONDS)
            beat = read_small(self._files.heartbeat, 1000) if self._files.heartbeat.exists() else b""
            if beat != seen:
                seen, since = beat, time.monotonic()
        _end()


def _end() -> None:
    # The group: compilers that DeepSpeed may have started go too.
    os.killpg(os.getpgrp(), signal.SIGKILL)

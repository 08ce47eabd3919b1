"""A real vLLM server in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import httpx

from dasd.api import resolve_model

KEY = "test-only-3f1c9a7be2"
SECONDS_TO_START = 240
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
    "OMP_NUM_THREADS": "1",  # the model is tiny: more threads only wait for one another
    "VLLM_API_KEY": KEY,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class VllmServer:
    """Serves a miniature model under the name ``mini``, to those who know ``KEY``."""

    def __init__(self, log: Path, model: str = "dasd:mini-teacher") -> None:
        self.port = free_port()
        self.log = log
        self._model = resolve_model(model)
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Start it without waiting for it."""
        self._output = self.log.open("ab")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
                *("--model", self._model, "--served-model-name", "mini", "--dtype", "float32"),
                *("--host", "127.0.0.1", "--port", str(self.port), "--max-num-seqs", "16"),
                *("--kv-cache-memory-bytes", str(128 * 2**20), "--enforce-eager"),
            ],
            env={**os.environ, **_ENVIRONMENT},
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Until it is ready."""
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=1).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        tail = self.log.read_text(errors="replace")[-4000:]
        self.kill()
        raise AssertionError(f"the server didn't start within {SECONDS_TO_START} s:\n{tail}")

    def kill(self) -> None:
        """End it and its engine, without a chance to say goodbye."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None

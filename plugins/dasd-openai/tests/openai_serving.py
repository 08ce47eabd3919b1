"""Real servers in processes of their own."""

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
    # The engine's own process runs the model: one in between starts for ten seconds more, and spins between steps.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_API_KEY": KEY,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Server:
    """Serves a model to those who know ``KEY``."""

    def __init__(self, log: Path) -> None:
        self.port = free_port()
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        """Start it without waiting for it."""
        self._output = self.log.open("ab")
        self._process = subprocess.Popen(
            self._command(),
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


class VllmServer(_Server):
    """vLLM with a miniature model under the name ``mini``."""

    def __init__(self, log: Path, model: str = "dasd:mini-teacher") -> None:
        super().__init__(log)
        self._model = resolve_model(model)

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
            *("--model", self._model, "--served-model-name", "mini", "--dtype", "float32"),
            *("--host", "127.0.0.1", "--port", str(self.port), "--max-num-seqs", "16"),
            *("--kv-cache-memory-bytes", str(128 * 2**20), "--enforce-eager"),
        ]


_LLAMA = """
import sys, signal, xllamacpp as llama
p = llama.CommonParams()
p.model.path, p.port, p.api_keys, p.model_alias = sys.argv[1], int(sys.argv[2]), [sys.argv[3]], {"mini"}
p.n_parallel, p.n_ctx, p.cpuparams.n_threads, p.n_threads_http = 4, 4 * 512, 1, 16
p.cache_type_k = p.cache_type_v = llama.ggml_type.GGML_TYPE_F32
# What a server may have been started with: none of it may reach a draw.
p.sampling.penalty_repeat, p.sampling.dynatemp_range, p.sampling.mirostat = 1.5, 0.5, 2
server = llama.Server(p)
signal.pause()
"""


class LlamaServer(_Server):
    """llama.cpp, from the package xllamacpp, with the model of a GGUF file under the name ``mini``."""

    def __init__(self, log: Path, gguf: Path) -> None:
        super().__init__(log)
        self._gguf = gguf

    def _command(self) -> list[str]:
        return [sys.executable, "-c", _LLAMA, str(self._gguf), str(self.port), KEY]

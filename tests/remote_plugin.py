"""A teacher for the tests of workers, in environments of its own.

What it does with a request is the request's ``question_id``.
"""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path

import dasd

CODE = r"""
import ctypes, os, signal, sys
import polars as pl
from pydantic import BaseModel, ConfigDict
from dasd.api import SAMPLES, SCORES, InputError, ModelInfo, hookimpl

print("printed at import")
os.write(1, b"written at import, no newline")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 3
    fail: bool = False
    together: int | None = None


class Own(InputError):
    pass


class Speaker:
    def __init__(self, settings):
        if settings.options["fail"]:
            raise InputError("size: wanted another")
        assert settings.python is None
        fed = settings.options["together"]
        self.info = ModelInfo(settings.model, "r", "t", "speaker", "9", "raw", 99, concurrency=fed)
        self.made = 0
        self.ends = 0

    def row(self, request, spec, text):
        values = {
            "sample_id": request.sample_id, "question_id": request.question_id, "stage": spec.stage,
            "candidate": request.candidate, "text": text, "token_ids": [1], "token_ends": [len(text.encode())],
            "logprobs": [-0.5], "logprobs_mode": "raw", "temperature": spec.temperature, "top_p": spec.top_p,
            "seed": request.seed, "finish_reason": "length", "prefix_end": 0, "model": "m",
            "model_revision": "r", "tokenizer_hash": "t", "engine": "speaker", "engine_version": "9",
        }
        return pl.DataFrame([values], schema=dict(SAMPLES.columns))

    def sample(self, requests, spec):
        try:
            for request in requests:
                if request.question_id == "skip":
                    spec.on_refused(request.sample_id, "a prompt that I don't like")
                    continue
                text = self.act(request.question_id)
                self.made += 1
                yield self.row(request, spec, text)
        finally:
            self.ends += 1

    def act(self, what):
        print("printed while sampling")
        os.write(1, b"\x00dasd worker\x00 written while sampling")
        ctypes.CDLL(None).puts(b"written by a C library")
        if what == "wait":
            with open(os.environ["SPEAKER_FIFO"]) as fifo:
                fifo.read()
        if what == "boom":
            raise KeyError("weights")
        if what == "end of file":
            raise EOFError("a file of mine ends early")
        if what == "refuse":
            raise Own("wanted a shorter prompt")
        if what == "exit":
            os._exit(7)
        if what == "fork":
            child = os.fork()
            if child == 0:
                signal.pause()
            return str(child)
        if what == "read":
            return sys.stdin.read()
        return f"{self.made} {self.ends}"

    def continue_(self, requests, spec):
        for request in requests:
            yield self.row(request, spec, request.prefix + "!")

    def score(self, requests, spec):
        for request in requests:
            values = {"sample_id": request.sample_id, "model": "m", "token_ids": [2], "token_ends": [1], "logprobs": [-1.5]}
            yield pl.DataFrame([values], schema=dict(SCORES.columns))

    def close(self):
        pass


@hookimpl
def dasd_register(registry):
    registry.teacher("speaker", Speaker, options=Options, gives_top=True)
    registry.teacher("mute", Speaker, runs_student=False, continues=False, gives_logprobs=False)
"""
"""Source of the plugin ``speaker``."""


def environment(path: Path, *sites: Path, ours: bool = True) -> Path:
    """A virtual environment that sees ``sites`` and, with ``ours``, what is installed here; its Python."""
    venv.create(path, symlinks=True)
    seen = [*([sysconfig.get_path("purelib")] if ours else []), *sites]
    packages = next((path / "lib").glob("python3*/site-packages"))
    lines = [f"import site; site.addsitedir({str(site)!r})\n" for site in seen]
    if ours:  # the very dasd under test, whatever is installed
        lines.append(f"import sys; sys.path.insert(0, {str(Path(dasd.__file__).parents[1])!r})\n")
    (packages / "seen.pth").write_text("".join(lines))
    return path / "bin" / "python"

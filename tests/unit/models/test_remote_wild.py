"""Workers that send what is no message, or not the one that was asked for: one error with the worker's path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dasd import __version__
from dasd.base.records import Message, SampleRequest, SamplingSpec
from dasd.errors import BackendError, PluginError
from dasd.models.remote.backend import describe
from dasd.models.remote.channel import MAGIC, PROTOCOL
from dasd.models.remote.process import WorkerProcess
from dasd.models.remote.teacher import RemoteTeacher
from dasd.recipe.model_settings import ModelSettings

PROGRAM = f"""#!{sys.executable}
import json, os, struct
KINDS = (
    "describe open sample continue score more cancel "
    "hello description ready frame refused hungry end error"
).split()

def send(kind, number=0, body=b"", length=None):
    head = struct.pack(">BIQ", KINDS.index(kind), number, len(body) if length is None else length)
    os.write(1, head + body)

def take():
    kind, number, length = struct.unpack(">BIQ", os.read(0, 13))
    os.read(0, length)
    return number

def hello():
    os.write(1, {MAGIC!r})
    send("hello", 0, json.dumps(dict(protocol={PROTOCOL}, dasd={__version__!r}, python="3")).encode())
    take()

def failed(name):
    return json.dumps(dict(error=name, text="too bad")).encode()

INFO = json.dumps(dict(model="m", model_revision="r", tokenizer_hash="h", engine="e", engine_version="1",
                       logprobs_mode="raw", context_length=9)).encode()
hello()
"""
OPENED = "send('ready', 0, INFO); n = take()\n"
NO_MESSAGE = "where a message should begin"
OPENING = {
    "an open that answers with a frame": ("send('frame', 0, INFO)", "'frame' where 'ready' was wanted"),
    "a model that is none": ("send('ready', 0, b'[]')", "Input should be an object"),
    "a greeting twice": (f"os.write(1, {MAGIC!r})", NO_MESSAGE),
}
STREAM = {
    "lines of a program": ("os.write(1, b'Loading the model: 10 %\\n')", f"Loading the model.*{NO_MESSAGE}"),
    "an unknown kind": ("os.write(1, b'\\xc8' + bytes(12))", NO_MESSAGE),
    "2^64 bytes": ("send('frame', n, b'x', 2**64 - 1)", NO_MESSAGE),
    "a frame that is none": ("send('frame', n, b'frame')", "5 bytes that are no frame"),
    "an empty frame": ("send('frame', n)", "0 bytes that are no frame"),
    "a refusal that is none": ("send('refused', n, b'{}')", "sample_id"),
    "an error that is none": ("send('error', n, b'no')", "Invalid JSON"),
    "another answer than an end": ("send('ready', n)", "'ready' where 'end' was wanted"),
}


@pytest.fixture
def worker(tmp_path: Path) -> Callable[[str], ModelSettings]:
    def written(code: str) -> ModelSettings:
        program = tmp_path / "worker"
        program.write_text(f"{PROGRAM}{code}\nos.read(0, 1)\n")
        program.chmod(0o755)
        return ModelSettings(model="m", backend="b", python=str(program))

    return written


def ask(settings: ModelSettings) -> None:
    teacher = RemoteTeacher(settings)
    try:
        asked = [SampleRequest("s", "q", (Message("user", "x"),), 0, 1)]
        assert not list(teacher.sample(asked, SamplingSpec("low", 1.0, 1.0, 8)))
    finally:
        teacher.close()


def test_a_worker_that_answers_is_understood(worker: Callable[[str], ModelSettings]) -> None:
    ask(worker(OPENED + "send('end', n)"))


@pytest.mark.parametrize("fault", [*OPENING, *STREAM])
def test_what_is_no_answer_is_one_error_with_the_workers_path(
    fault: str, worker: Callable[[str], ModelSettings]
) -> None:
    code, reason = OPENING[fault] if fault in OPENING else STREAM[fault]
    settings = worker(code if fault in OPENING else OPENED + code)
    with pytest.raises(
        BackendError, match=rf"^python: the worker in {settings.python} sent what is .*{reason}"
    ):
        ask(settings)


@pytest.mark.parametrize("name", ["annotations", "__doc__", "NoSuchError"])
def test_an_error_that_dasd_has_not_is_told_with_its_text(
    name: str, worker: Callable[[str], ModelSettings]
) -> None:
    with pytest.raises(BackendError, match="failed: too bad"):
        ask(worker(OPENED + f"send('error', n, failed({name!r}))"))


def test_a_description_that_is_none_is_told(worker: Callable[[str], ModelSettings]) -> None:
    with pytest.raises(BackendError, match="label: Input should be a valid string"):
        describe(worker("""send('description', 0, b'{"label": 5}')"""), "teacher")


def test_a_worker_that_leaves_in_order_before_it_is_done_is_told(
    worker: Callable[[str], ModelSettings],
) -> None:
    with pytest.raises(BackendError, match="ended with exit code 0"):
        ask(worker(OPENED + "raise SystemExit"))
    settings = worker("")
    program = Path(str(settings.python))
    program.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(PluginError, match=r"doesn't start dasd's worker \(ended with exit code 0\)"):
        ask(settings)


@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_a_worker_that_is_killed_while_it_starts_is_no_wrong_environment(tmp_path: Path, name: str) -> None:
    program = tmp_path / "worker"
    program.write_text(f"#!/bin/sh\nkill -{name} $$\n")
    program.chmod(0o755)
    with pytest.raises(
        BackendError, match=rf"^teacher\.python: the worker in .* was killed by SIG{name}.*same command"
    ):
        WorkerProcess(str(program), "teacher.python")

"""A teacher in a worker process: what it says, how it fails, and that nothing of it is left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.plugin_factory import install
from tests.remote_plugin import CODE, environment

from dasd.base.records import ContinueRequest, Message, SampleRequest, SamplingSpec, ScoreRequest, ScoringSpec
from dasd.errors import BackendError, ComponentError, DasdError, InputError
from dasd.models.pool import open_teacher
from dasd.models.remote.process import WorkerProcess
from dasd.models.remote.teacher import RemoteTeacher
from dasd.plugins.host import PluginHost
from dasd.recipe.model_settings import ModelSettings

ROOT = Path(__file__).parents[3]
SPEC = SamplingSpec("low", 1.0, 1.0, 24)
PROGRAM = """
import os, sys
from tests.unit.models.test_remote import SPEC, asked, speaker
if "fork" in sys.argv:
    child = os.fork()
    if child == 0:
        import signal
        signal.pause()
    print(child, flush=True)
teacher = speaker()
frames = teacher.sample(asked("plain", "wait"), SPEC)
next(frames)
print(teacher.pid, flush=True)
next(frames)
"""


def asked(*what: str) -> list[SampleRequest]:
    return [SampleRequest(f"s{i}", name, (Message("user", "x"),), 0, i) for i, name in enumerate(what)]


def speaker(**options: object) -> RemoteTeacher:
    return RemoteTeacher(
        ModelSettings.model_validate(
            {"model": "m", "backend": "speaker", "python": os.environ["SPEAKER_PYTHON"], "options": options}
        )
    )


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with the plugin, which this one hasn't, and a pipe that nobody writes to."""
    install(tmp_path / "site", "speaker", CODE)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    python = environment(tmp_path / "env", tmp_path / "site")
    monkeypatch.setenv("SPEAKER_PYTHON", str(python))
    monkeypatch.setenv("SPEAKER_FIFO", str(fifo))


@pytest.fixture
def teacher() -> Iterator[RemoteTeacher]:
    with closing(speaker()) as made:
        yield made


class Watch:
    """A process that is no child of ours, and when it has ended."""

    def __init__(self, pid: int) -> None:
        self.descriptor = os.pidfd_open(pid)

    def ends(self, seconds: float = 30) -> bool:
        poller = select.poll()
        poller.register(self.descriptor, select.POLLIN)
        ended = bool(poller.poll(seconds * 1000))
        os.close(self.descriptor)
        return ended


# -- answers ----------------------------------------------------------------------------------------


def test_answers_come_through_whatever_libraries_print(teacher: RemoteTeacher) -> None:
    assert teacher.info.engine == "speaker"
    frames = list(teacher.sample(asked("plain", "read", "plain"), SPEC))
    assert pl.concat(frames)["text"].to_list() == ["0 0", "", "2 0"]  # nothing comes in on its stdin either
    request = ContinueRequest("s", "q", (), 0, 0, "So ")
    assert pl.concat(teacher.continue_([request], SPEC))["text"].to_list() == ["So !"]
    scores = pl.concat(teacher.score([ScoreRequest("s", (), "ab", True)], ScoringSpec("score", 99)))
    assert scores["logprobs"].to_list() == [[-1.5]]


def test_a_refused_request_is_told_here_and_costs_no_other(teacher: RemoteTeacher) -> None:
    told: dict[str, str] = {}
    frames = teacher.sample(asked("plain", "skip", "plain"), replace(SPEC, on_refused=told.__setitem__))
    assert pl.concat(frames)["sample_id"].to_list() == ["s0", "s2"]
    assert told == {"s1": "a prompt that I don't like"}
    with pytest.raises(BackendError, match="sample s1: a prompt that I don't like"):
        list(teacher.sample(asked("plain", "skip"), SPEC))
    assert pl.concat(teacher.sample(asked("plain"), SPEC)).height == 1, "the worker goes on"


def test_requests_go_to_the_worker_as_it_has_room_for_them() -> None:
    read: list[str] = []

    def unread() -> Iterator[SampleRequest]:
        for n, request in enumerate(asked(*["plain"] * 20)):
            read.append(f"s{n}")
            yield request

    with closing(speaker(together=4)) as made:
        frames = made.sample(unread(), SPEC)
        assert next(frames)["sample_id"].to_list() == ["s0"]
        assert len(read) == 4
        given = ["s0"]
        for frame in frames:
            given.extend(frame["sample_id"])
            assert len(read) - len(given) <= 2 * 4
        assert given == read == [f"s{n}" for n in range(20)]

        left = made.sample(unread(), SPEC)
        next(left)
        left.close()
        assert pl.concat(made.sample(asked("plain"), SPEC)).height == 1, (
            "what waited for requests is cancelled"
        )

        def failing() -> Iterator[SampleRequest]:
            yield from asked(*["plain"] * 7)
            raise InputError("no more of them")

        with pytest.raises(InputError, match="no more of them"):
            list(made.sample(failing(), SPEC))
        with pytest.raises(BackendError, match="that I don't like"):
            list(made.sample(asked("skip", *["plain"] * 20), SPEC))
        assert pl.concat(made.sample(asked("plain"), SPEC)).height == 1, "so it is after an error here"


def test_requests_may_overlap(teacher: RemoteTeacher) -> None:
    first = teacher.sample(asked("plain", "plain"), SPEC)
    second = teacher.sample(asked("plain"), SPEC)
    texts = [next(first)["text"][0], next(second)["text"][0], next(first)["text"][0]]
    assert texts == ["0 0", "2 1", "1 0"]  # one after the other, in the order of their start
    assert list(first) == list(second) == []


def test_a_generator_closed_early_cancels_and_the_worker_goes_on(teacher: RemoteTeacher) -> None:
    frames = teacher.sample(asked(*["plain"] * 2000), SPEC)
    next(frames)
    frames.close()
    made, ends = pl.concat(teacher.sample(asked("plain"), SPEC))["text"][0].split()
    assert ends == "1"
    assert 1 <= int(made) < 1000


def test_samples_equal_those_of_this_process_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sums over another number of threads differ in their last bits; tests before this one may have set it.
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    registry = PluginHost.load(["echo"]).registry
    settings = ModelSettings(model="dasd:mini-teacher", precision="fp32", device="cpu", batch_size=4)
    frames = []
    for python in (None, sys.executable):
        with closing(open_teacher(registry, settings.model_copy(update={"python": python}))) as model:
            requests = asked(*["q"] * 6)
            samples = pl.concat(model.sample(requests, SPEC))
            texts = samples.select("sample_id", "text").iter_rows()
            prefixed = [ContinueRequest(name, "q", requests[0].messages, 0, 5, text) for name, text in texts]
            continued = pl.concat(model.continue_(prefixed, SPEC))
            scored = [ScoreRequest(r.sample_id, r.messages, r.prefix, True) for r in prefixed]
            frames.append(
                [samples, continued, pl.concat(model.score(scored, ScoringSpec("score", 64, top=7)))]
            )
    for here, there in zip(*frames, strict=True):
        assert here.equals(there)


# -- failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "kind", "words"),
    [
        ("refuse", InputError, r"^wanted a shorter prompt$"),
        (
            "boom",
            ComponentError,
            (
                r"worker in .*python.* failed: teacher 'speaker' \(plugin dasd-speaker.*\) failed: KeyError: 'weights'(?s:.*)"
                r"update plugin dasd-speaker(?s:.*)Its last lines:"
            ),
        ),
        ("end of file", ComponentError, r"failed: EOFError: a file of mine"),
    ],
)
def test_errors_come_through_and_the_worker_lives(
    teacher: RemoteTeacher, what: str, kind: type[DasdError], words: str
) -> None:
    frames = teacher.sample(asked("plain", what), SPEC)
    next(frames)
    with pytest.raises(kind, match=words):
        next(frames)
    assert len(list(teacher.sample(asked("plain"), SPEC))) == 1


def test_a_backend_that_refuses_to_start(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^size: wanted another$"):
        speaker(fail=True)
    assert not any(capfd.readouterr())


def test_a_killed_worker_is_named_with_what_to_do(teacher: RemoteTeacher) -> None:
    frames = teacher.sample(asked("plain", "wait"), SPEC)
    next(frames)
    os.kill(teacher.pid, signal.SIGKILL)
    with pytest.raises(BackendError) as caught:
        next(frames)
    text = str(caught.value)
    assert "was killed by SIGKILL" in text
    assert "Give the same command again: finished rows are kept" in text
    assert "printed while sampling" in text
    with pytest.raises(BackendError, match="is closed"):
        next(teacher.sample(asked("plain"), SPEC))


def test_a_worker_that_exits_is_named_with_its_code(teacher: RemoteTeacher) -> None:
    with pytest.raises(BackendError, match=r"ended with exit code 7\."):
        list(teacher.sample(asked("exit"), SPEC))


def test_what_a_killed_worker_started_is_killed_too(teacher: RemoteTeacher) -> None:
    """A forked process holds the worker's pipes open; its death is noticed nevertheless."""
    frames = teacher.sample(asked("fork", "wait"), SPEC)
    child = Watch(int(next(frames)["text"][0]))
    os.kill(teacher.pid, signal.SIGKILL)
    with pytest.raises(BackendError, match="SIGKILL"):
        next(frames)
    assert child.ends()


# -- ends -------------------------------------------------------------------------------------------


def test_closing_ends_the_worker_even_in_the_middle_of_a_request() -> None:
    made = speaker()
    frames = made.sample(asked("plain", "wait"), SPEC)
    next(frames)
    worker = Watch(made.pid)
    made.close()
    assert worker.ends(0)
    made.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts PROGRAM; whatever of it still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_worker_goes_when_its_parent_is_killed(
    start: Callable[..., subprocess.Popen[str]], with_signal: signal.Signals
) -> None:
    parent = start()
    assert parent.stdout is not None
    worker = Watch(int(parent.stdout.readline()))
    parent.send_signal(with_signal)
    assert worker.ends()
    assert parent.wait() == -with_signal


def test_the_worker_goes_although_a_fork_of_its_parent_holds_the_pipe(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    parent = start("fork")
    assert parent.stdout is not None
    child, worker = int(parent.stdout.readline()), Watch(int(parent.stdout.readline()))
    try:
        parent.kill()
        assert worker.ends()
    finally:
        os.kill(child, signal.SIGKILL)


def test_debugging_shows_what_the_worker_writes(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DASD_DEBUG", "1")
    with closing(speaker()) as made:
        list(made.sample(asked("plain"), SPEC))
    assert "worker: warning: plugin speaker printed: printed at import\n" in capfd.readouterr().err


def test_a_program_that_never_answers_is_given_up(tmp_path: Path) -> None:
    for name, line in (("silent", "exec sleep 1000"), ("noisy", "exec yes")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)
        with pytest.raises(DasdError, match=r"^teacher\.python: .* started no dasd worker within 0\.3 s"):
            WorkerProcess(str(program), "teacher.python", start_seconds=0.3)

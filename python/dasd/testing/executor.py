"""The suite of an executor: engines that it opens give what they give here, and end when it is closed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from dasd.api import ContinueRequest, HostsWanted, InputError, ScoreRequest, ScoringSpec
from dasd.base.records import Message
from dasd.errors import BackendError, DasdError
from dasd.plugins.checked_executor import CheckedExecutor
from dasd.plugins.components import Role
from dasd.recipe.executor_settings import ExecutorSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.testing.bench import QUESTIONS, Bench, Fed, apart, check_refused
from dasd.testing.one_by_one import RecordedStart
from dasd.testing.suite import ComponentSuite

__all__ = ["ExecutorSuite"]

PROGRAM = """
import os, sys
print(os.environ["SUITE"], *sys.argv[1:], flush=True)
if "wait" in sys.argv: sys.stdin.read()
sys.exit(3)
"""


class ExecutorSuite(ComponentSuite):
    """Set ``name``; ``options`` or ``make_options`` where it has some, such as the address of a cluster."""

    role: ClassVar[Role] = "executor"
    model: ClassVar[str] = "dasd:mini-teacher"
    """What its engines run."""
    logprob_tolerance: ClassVar[float] = 1e-4
    """Largest difference in nats to the engine here, which may have another number of threads."""
    patience: ClassVar[float] = 60.0
    """Seconds in which processes have to be gone."""

    @classmethod
    def make_settings(cls) -> ModelSettings:
        """The model, on the built-in backend."""
        return ModelSettings(model=cls.model, precision="fp32", device="cpu", batch_size=4)

    @classmethod
    def make_executor(cls) -> CheckedExecutor:
        """The executor through the registry, which checks the engines that it opens."""
        options = dict(cls.make_options(cls.directory()))
        return cls.registry().make_executor(ExecutorSettings(executor=cls.name, options=options))

    @classmethod
    def executor(cls) -> CheckedExecutor:
        """``make_executor``'s, closed after the last check."""
        return cls._once("executor", lambda ends: ends.enter_context(closing(cls.make_executor())))

    @classmethod
    def here(cls) -> Bench:
        """The engine as this process has it, without an executor."""
        make = RecordedStart(cls._records("here"), full=False)
        return cls._once(
            "here", lambda ends: ends.enter_context(closing(Bench(make, cls.make_settings(), QUESTIONS, 40)))
        )

    @classmethod
    def opened(cls, *, full: bool) -> Bench:
        """The engine that the executor opened: one that takes lists, or one that is kept full."""
        kept = cls._engine()
        start = RecordedStart(cls._records("there"), full)
        return kept.bench(
            full, lambda: Bench(lambda s: cls.executor().open(s, start), cls.make_settings(), QUESTIONS, 40)
        )

    @classmethod
    def _engine(cls) -> _OneAtATime:
        cls.executor()  # made first, and so closed last
        return cls._once("opened", lambda ends: _OneAtATime(ends))

    @classmethod
    def _records(cls, of: str) -> Path:
        made = cls.directory() / of
        made.mkdir(exist_ok=True)
        return made

    # -- an engine that takes lists ------------------------------------------------------------------

    def test_a_list_gives_the_rows_of_the_engine_here(self) -> None:
        """Same texts, tokens and log-probabilities, from an engine of the same name and version."""
        there, here = self.opened(full=False), self.here()
        self._check_alike(there.samples(), here.samples())
        for name in ("model", "model_revision", "tokenizer_hash", "engine", "engine_version"):
            got, wanted = getattr(there.info, name), getattr(here.info, name)
            assert got == wanted, f"info.{name} is {got!r}; the engine here says {wanted!r}"

    def test_continuing_and_scoring_give_the_rows_of_the_engine_here(self) -> None:
        """Both methods reach the engine with the requests as they are."""
        found = []
        for bench in (self.opened(full=False), self.here()):
            going_on = [
                ContinueRequest(f"sample-{n}", f"question-{n}", bench.question(n), 0, 7 + n, "Let me")
                for n in range(2)
            ]
            scored = [ScoreRequest(f"sample-{n}", bench.question(n), "It is 7.", True) for n in range(3)]
            rows = pl.concat(bench.teacher.continue_(going_on, bench.spec())).sort("sample_id")
            scores = pl.concat(bench.teacher.score(scored, ScoringSpec("suite", None))).sort("sample_id")
            found.append((rows, scores))
        self._check_alike(found[0][0], found[1][0])
        self._check_alike(found[0][1], found[1][1])

    def test_lists_side_by_side_give_their_own_rows(self) -> None:
        """As many calls at a time as ``info.lists`` says, each in a thread."""
        bench = self.opened(full=False)
        requests = bench.requests(1)
        lists = [
            [replace(request, sample_id=f"{n}-{request.sample_id}") for request in requests]
            for n in range(max(2, bench.info.lists or 1))
        ]
        with ThreadPoolExecutor(bench.info.lists or 1) as threads:
            found = list(threads.map(lambda asked: bench.sample(asked, bench.spec()), lists))
        for asked, rows in zip(lists, found, strict=True):
            assert rows["sample_id"].to_list() == [request.sample_id for request in asked]
            assert rows["text"].equals(found[0]["text"]), "the same requests gave other texts in another list"

    def test_what_an_engine_refuses_is_refused(self) -> None:
        """``on_refused`` is told in this process, and the other requests have their rows."""
        bench = self.opened(full=False)
        requests = bench.requests(1)
        long = replace(
            requests[0], sample_id="long", messages=(Message("user", "9 " * bench.info.context_length),)
        )
        check_refused(
            lambda told: bench.teacher.sample([long, *requests], replace(bench.spec(), on_refused=told)),
            "long",
            [request.sample_id for request in requests],
        )

    # -- an engine that is kept full -----------------------------------------------------------------

    def test_an_iterator_is_read_as_rows_come(self) -> None:
        """Of an engine that is kept full; every request gives one row, and those of the engine here."""
        bench = self.opened(full=True)
        concurrency = bench.info.concurrency
        assert concurrency, "the engine has info.concurrency; the executor's teacher has none"
        requests = [
            replace(bench.requests(1)[n % len(QUESTIONS)], sample_id=f"sample-{n}", seed=n, max_tokens=4)
            for n in range(8 * concurrency + 24)
        ]
        fed = Fed(requests)
        for frame in bench.teacher.sample(iter(fed), bench.spec()):  # type: ignore[arg-type]
            fed.take(frame)
        assert sorted(fed.rows) == sorted(r.sample_id for r in requests), "wanted one row for each sample_id"
        assert fed.most < len(requests), (
            f"all {len(requests)} requests were read before rows came; info.concurrency is {concurrency}"
        )

    def test_an_error_of_the_requests_comes_out_as_it_is(self) -> None:
        """Raised where requests are made, it reaches whoever takes the rows; the engine answers others after it."""
        bench = self.opened(full=True)
        error = InputError("no more requests can be made")
        fed = Fed(bench.requests(1), error)
        with pytest.raises(InputError) as caught:
            for frame in bench.teacher.sample(iter(fed), bench.spec()):  # type: ignore[arg-type]
                fed.take(frame)
        assert caught.value is error, f"the requests ended with {error!r}; what came out is {caught.value!r}"
        asked = bench.requests(1)
        assert bench.sample(asked, bench.spec())["text"].null_count() == 0, "it answers nothing afterwards"

    def test_an_engine_that_dies_loses_no_request(self) -> None:
        """Its process killed with requests under way: they are asked again, or the call ends with BackendError."""
        bench = self.opened(full=True)
        _ = bench.teacher
        others = [pid for pid in self._pids() if pid != os.getpid() and _runs(pid)]
        if not others:
            return  # its engines run in this process
        requests = bench.requests(10)
        rows: list[str] = []
        try:
            for frame in bench.teacher.sample(requests, bench.spec()):
                rows.extend(frame["sample_id"])
                if others:
                    with suppress(ProcessLookupError):
                        os.kill(others.pop(), signal.SIGKILL)
        except BackendError:
            return
        assert sorted(rows) == sorted(r.sample_id for r in requests), "wanted one row for each sample_id"

    # -- errors and the end --------------------------------------------------------------------------

    def test_an_error_of_the_engine_keeps_its_type(self) -> None:
        """A model that isn't there is what it is here: the user's to mend, and named."""
        settings = self.make_settings().model_copy(update={"model": str(self.directory() / "no-model")})
        start = RecordedStart(self._records("there"), full=False)
        errors = []
        self._engine().close()
        for open_ in (start, partial(self.executor().open, start=start)):
            with pytest.raises(DasdError) as caught:
                open_(settings)
            errors.append(caught.value)
        assert type(errors[1]) is type(errors[0]), f"here {errors[0]!r}, by the executor {errors[1]!r}"
        assert "no-model" in str(errors[1]), f"it doesn't name the model: {errors[1]}"

    def test_closing_ends_the_engines_and_another_may_be_opened(self) -> None:
        """No process of theirs is left; an executor that was closed opens engines again."""
        self._engine().close()
        with closing(self.make_executor()) as executor:
            for _ in range(2):
                start = partial(executor.open, start=RecordedStart(self._records("there"), full=False))
                bench = Bench(start, self.make_settings(), QUESTIONS, 4)
                assert bench.sample(bench.requests(1), bench.spec()).height == len(QUESTIONS)
                bench.close()
                executor.close()
        within = time.monotonic() + self.patience
        while left := [pid for pid in self._pids() if pid != os.getpid() and _runs(pid)]:
            assert time.monotonic() < within, f"processes {left} of engines are left after close()"
            time.sleep(0.1)

    # -- processes of a training ---------------------------------------------------------------------

    def test_it_starts_processes_on_its_hosts(self) -> None:
        """Of an executor that launches: arguments, environment, log and exit code; closing ends what still runs."""
        if not self.component().launches:
            return
        self._engine().close()
        log, other = (self.directory() / name for name in ("0.log", "1.log"))
        with closing(self.executor().hosts(HostsWanted(1, 2, "cpu", [Path(__file__)]))) as hosts:
            assert (hosts.device, list(hosts.processes)) == ("cpu", [2])
            assert len(hosts.addresses) == 1 and 0 < hosts.free_port() < 65536
            ends = hosts.start(0, ["-c", PROGRAM, "ends"], {"SUITE": "first"}, log)
            waits = hosts.start(0, ["-c", PROGRAM, "wait"], {"SUITE": "second"}, other)
            self._wait(lambda: ends.poll() is not None, "the end of a process")
            assert ends.poll() == 3, f"exit code {ends.poll()}; the process gave 3"
            assert log.read_text().split() == ["first", "ends"]
            self._wait(lambda: other.exists() and other.read_text().split(), "a line in the log")
            assert waits.poll() is None, "a process whose stdin is open has ended"
        with pytest.raises(InputError, match="/proc/self/stat"):
            self.executor().hosts(HostsWanted(1, 1, "cpu", [Path("/proc/self/stat")]))

    # -- what they share -----------------------------------------------------------------------------

    def _pids(self) -> list[int]:
        return [int(path.name) for path in self._records("there").iterdir()]

    def _wait(self, there: Callable[[], object], what: str) -> None:
        until = time.monotonic() + self.patience
        while not there():
            assert time.monotonic() < until, f"{what} didn't come in {self.patience:g} s"
            time.sleep(0.02)

    def _check_alike(self, got: pl.DataFrame, wanted: pl.DataFrame) -> None:
        left_out = [name for name in ("logprobs", "seconds") if name in wanted.columns]
        assert got.drop(left_out).equals(wanted.drop(left_out)), (
            f"other rows than the engine here gives:\n{got}\n{wanted}"
        )
        difference = max(map(apart, got["logprobs"].to_list(), wanted["logprobs"].to_list()), default=0.0)
        assert difference <= self.logprob_tolerance, (
            f"log-probabilities differ by {difference:.2g} from those of the engine here"
        )


class _OneAtATime:
    """The engine that is open: the former one is closed before."""

    def __init__(self, ends: ExitStack) -> None:
        self._full: bool | None = None
        self._bench: Bench | None = None
        ends.callback(self.close)

    def bench(self, full: bool, make: Callable[[], Bench]) -> Bench:
        if self._bench is None or self._full != full:
            self.close()
            self._bench, self._full = make(), full
        return self._bench

    def close(self) -> None:
        bench, self._bench = self._bench, None
        if bench is not None:
            bench.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

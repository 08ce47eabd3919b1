"""Checks of a teacher that is kept full: ``info.concurrency`` says how many requests it works on at a time."""

from __future__ import annotations

import threading

import pytest

from dasd.api import InputError, SampleRequest
from dasd.testing.bench import Bench, Fed
from dasd.testing.suite import ComponentSuite

__all__ = ["FeedingChecks"]

TOKENS = 4
"""Cap of these checks' responses."""


def most_unanswered(concurrency: int) -> int:
    """Requests that may have been read and not answered: those that it works on, as many on their way to another
    process, and some that finished or wait for a place."""
    return 2 * concurrency + concurrency // 4 + 16


class FeedingChecks(ComponentSuite):
    """It reads requests as it has room for them. A teacher that takes lists passes without being asked."""

    def test_it_reads_requests_as_rows_come(self, bench: Bench) -> None:
        """Of an iterator of several times as many as it works on at a time, rows come before it has ended."""
        concurrency = bench.info.concurrency
        if concurrency is None:
            return
        fed, most = self._fed(bench), most_unanswered(concurrency)
        assert fed.read_at_first is None or fed.read_at_first < len(fed.requests), (
            f"it read all {len(fed.requests)} requests before it gave a row; info.concurrency is {concurrency}"
        )
        assert fed.most <= most, (
            f"{fed.most} requests were read and not answered; wanted at most {most} where info.concurrency is "
            f"{concurrency}: read the next one when there is room for it, and yield rows as they finish"
        )

    def test_it_works_on_as_many_requests_as_it_says(self, bench: Bench) -> None:
        """It reads on until it has ``info.concurrency`` of them."""
        concurrency = bench.info.concurrency
        if concurrency is not None:
            most = self._fed(bench).most
            assert most >= concurrency, (
                f"at most {most} requests were under way at a time; info.concurrency says {concurrency}"
            )

    def test_it_reads_in_the_thread_that_takes_the_rows(self, bench: Bench) -> None:
        """What makes the requests is used in one thread."""
        if bench.info.concurrency is not None:
            others = self._fed(bench).threads - {threading.get_ident()}
            assert not others, "requests were read in another thread than the one that takes the rows"

    def test_every_request_of_an_iterator_gives_one_row(self, bench: Bench) -> None:
        """Neither lost nor doubled."""
        if bench.info.concurrency is not None:
            fed = self._fed(bench)
            wanted = [request.sample_id for request in fed.requests]
            assert sorted(fed.rows) == sorted(wanted), "wanted one row for each sample_id that was read"

    def test_it_goes_on_after_a_caller_who_left(self, bench: Bench) -> None:
        """Rows that are no longer taken are dropped: the next call gives its own, and none of theirs."""
        if bench.info.concurrency is None:
            return
        frames = bench.teacher.sample(iter(self._requests(bench, "left")), bench.spec(max_tokens=TOKENS))  # type: ignore[arg-type]
        next(iter(frames))
        frames.close()  # type: ignore[attr-defined]
        self._still_answers(bench, "after a caller who closed the rows early")

    def test_an_error_of_the_requests_comes_out_as_it_is(self, bench: Bench) -> None:
        """Raised where requests are made, it reaches whoever takes the rows; the teacher answers others after it."""
        if bench.info.concurrency is None:
            return
        error = InputError("no more requests can be made")
        fed = Fed(self._requests(bench, "broken"), error)
        with pytest.raises(Exception) as caught:
            self._take(bench, fed)
        assert caught.value is error, f"the requests ended with {error!r}; what came out is {caught.value!r}"
        self._still_answers(bench, "after an error where requests are made")

    def _requests(self, bench: Bench, name: str) -> list[SampleRequest]:
        """Several times as many as it may have read at a time."""
        concurrency = bench.info.concurrency or 0
        return [
            SampleRequest(f"{name}-{i}", f"question-{i}", bench.question(i), 0, 70 + i)
            for i in range(most_unanswered(concurrency) + 3 * concurrency)
        ]

    def _take(self, bench: Bench, fed: Fed) -> None:
        # The host hands out teachers that take any iterable.
        for frame in bench.teacher.sample(iter(fed), bench.spec(max_tokens=TOKENS)):  # type: ignore[arg-type]
            fed.take(frame)

    def _fed(self, bench: Bench) -> Fed:
        """Drawn once for all checks."""
        if bench.fed is None:
            bench.fed = Fed(self._requests(bench, "fed"))
            self._take(bench, bench.fed)
        assert bench.fed.ended, "it ended before it had read all requests"
        return bench.fed

    def _still_answers(self, bench: Bench, when: str) -> None:
        asked = self._requests(bench, "after")[:3]
        frames = list(bench.teacher.sample(asked, bench.spec(max_tokens=TOKENS)))
        got = sorted(sample_id for frame in frames for sample_id in frame["sample_id"])
        assert got == [request.sample_id for request in asked], f"{when} it gave rows for {got}"

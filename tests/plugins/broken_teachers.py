"""Teachers that each break one promise, around the real engine of ``transformers``; run by test_suites_catch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar

import polars as pl
from tests.plugins.broken import Broken

from dasd.api import ModelSettings
from dasd.base.records import raise_refused
from dasd.models.transformers.engine import TransformersTeacher
from dasd.testing import TeacherSuite

ROWS = "test_every_request_gives_one_row"
TILE = "test_tokens_tile_the_text"
END = "test_the_end_token_is_there_exactly_when_the_model_stopped"
FINITE = "test_logprobs_are_one_finite_number_a_token"
RAW = "test_logprobs_are_the_models_own_at_temperature_1"
STDOUT = "test_it_closes_and_opens_again_with_nothing_on_stdout"
REPRODUCE = "test_scores_reproduce_the_logprobs_of_sampling"


class Engine(TransformersTeacher):
    """The real engine; ``alter`` changes its frames of samples."""

    def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows

    def close(self) -> None:
        """So small that it needn't be collected at once, which takes longer than a check."""

    def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
        for rows in super().sample(requests, spec):
            yield self.alter(rows)


def changed(rows: pl.DataFrame, **columns: Any) -> pl.DataFrame:
    """Rows with columns made anew by a function of each row."""
    made = [
        {**row, **{name: new(row) for name, new in columns.items()}} for row in rows.iter_rows(named=True)
    ]
    return pl.DataFrame(made, schema=rows.schema)


class Suite(Broken, TeacherSuite):
    Mine: ClassVar[type[Engine]]
    batch_size = 16

    @classmethod
    def make(cls, settings: ModelSettings) -> Engine:
        return cls.Mine(settings)


class TestLosesARow(Suite):
    caught = (ROWS, "returned no samples row for")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows[:-1]


class TestDoublesARow(Suite):
    caught = (ROWS, "row twice")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return pl.concat([rows, rows[:1]])


class TestNamesTheWrongType(Suite):
    caught = (ROWS, "samples.seed as Int64; wanted UInt64")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(pl.col("seed").cast(pl.Int64))


class TestSaysAnotherEngine(Suite):
    caught = ("test_rows_say_what_was_asked_and_of_whom", "'engine': 'other'")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(engine=pl.lit("other"))


class TestShiftsOffsets(Suite):
    caught = (TILE, "token_ends")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return changed(rows, token_ends=lambda row: [*row["token_ends"][1:], len(row["text"])])


class TestCountsCharacters(Suite):
    caught = (TILE, "the last of token_ends")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return changed(rows, token_ends=lambda row: [max(0, end - 1) for end in row["token_ends"]])


class TestDropsTheEndToken(Suite):
    caught = (END, "wanted the end token")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            names = ("token_ids", "token_ends", "logprobs")
            cut = {n: lambda r, n=n: r[n][: len(r[n]) - (r["finish_reason"] == "stop")] for n in names}
            return changed(rows, **cut)


class TestSaysStopAlways(Suite):
    caught = (END, "wanted the end token")
    max_tokens = 30

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(finish_reason=pl.lit("stop"))


class TestSaysLengthAlways(Suite):
    caught = (END, "never says stop")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(finish_reason=pl.lit("length"))


class TestGivesProbabilities(Suite):
    caught = (FINITE, "finite numbers of at most 0")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(pl.col("logprobs").list.eval(pl.element().exp()))


class TestGivesUndeclaredLogprobs(Suite):
    caught = (FINITE, "gives_logprobs=False")
    capabilities: ClassVar = {"gives_logprobs": False}

    class Mine(Engine):
        pass


class TestLogprobsAfterTemperature(Suite):
    caught = (RAW, "after temperature")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return changed(rows, logprobs=lambda row: [p / row["temperature"] for p in row["logprobs"]])


class TestLogprobsOfTheNextToken(Suite):
    caught = (REPRODUCE, "differ by")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return changed(rows, logprobs=lambda row: [*row["logprobs"][1:], 0.0])


class TestIgnoresCaps(Suite):
    caught = ("test_caps_on_new_tokens_are_kept", "cap 5")

    class Mine(Engine):
        def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            yield from super().sample(requests, replace(spec, max_tokens=20))


class TestIgnoresARequestsOwnCap(Suite):
    caught = ("test_caps_on_new_tokens_are_kept", "cap 3")

    class Mine(Engine):
        def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            yield from super().sample([replace(r, max_tokens=None) for r in requests], spec)


class Reseeded(Engine):
    def seeds(self, requests: Sequence[Any]) -> Iterator[int]:
        raise NotImplementedError

    def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
        asked = {r.sample_id: r.seed for r in requests}
        other = [replace(r, seed=s) for r, s in zip(requests, self.seeds(requests), strict=False)]
        for rows in super().sample(other, spec):
            yield rows.with_columns(seed=pl.col("sample_id").replace_strict(asked, return_dtype=pl.UInt64))


class TestIgnoresSeeds(Suite):
    caught = ("test_the_same_requests_give_the_same_rows", "differs when asked twice")

    class Mine(Reseeded):
        numbers = count(5)

        def seeds(self, requests: Sequence[Any]) -> Iterator[int]:
            return self.numbers


class TestDrawsInOrder(Suite):
    caught = ("test_a_draw_does_not_depend_on_its_neighbours", "differs when asked alone")

    class Mine(Reseeded):
        def seeds(self, requests: Sequence[Any]) -> Iterator[int]:
            return count(7)


class TestOneSeedForAll(Suite):
    caught = ("test_other_seeds_give_other_responses", "are the same text")

    class Mine(Reseeded):
        def seeds(self, requests: Sequence[Any]) -> Iterator[int]:
            return count(7, 0)


class TestDrawsAtTemperatureZero(Suite):
    caught = ("test_greedy_takes_no_draw", "two seeds gave two responses")

    class Mine(Engine):
        def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            for rows in super().sample(requests, replace(spec, temperature=max(spec.temperature, 1.0))):
                yield rows.with_columns(temperature=pl.lit(spec.temperature, pl.Float32))


class TestCutsLongPrompts(Suite):
    caught = ("test_a_prompt_without_room_is_refused_by_name", "on_refused was told of []")

    class Mine(Engine):
        def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            short = [
                replace(r, messages=tuple(replace(m, content=m.content[:200]) for m in r.messages))
                for r in requests
            ]
            yield from super().sample(short, spec)


class TestEndsOverOnePrompt(Suite):
    caught = ("test_a_prompt_without_room_is_refused_by_name", "ended the work (BackendError")

    class Mine(Engine):
        def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            yield from super().sample(requests, replace(spec, on_refused=raise_refused))


class TestWaitsForAll(Suite):
    caught = ("test_rows_come_as_they_finish", "came in one frame")
    streams = True

    class Mine(Engine):
        def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            yield pl.concat(list(super().sample(requests, spec)))


class TestFailsOnNothing(Suite):
    caught = ("test_no_requests_give_no_rows", "empty")

    class Mine(Engine):
        def sample(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            longest = max(len(r.sample_id) for r in requests)
            assert longest
            yield from super().sample(requests, spec)


class TestPrints(Suite):
    caught = (STDOUT, "written on stdout: 'sampling")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            print("sampling")
            return rows


class TestItsLibraryPrints(Suite):
    caught = (STDOUT, "written on stdout: 'INFO")

    class Mine(Engine):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            os.write(1, b"INFO loaded\n")
            return rows


class TestStaysOpen(Suite):
    caught = (STDOUT, "no memory for a second engine")

    class Mine(Engine):
        opened: ClassVar[list[object]] = []

        def __init__(self, settings: ModelSettings) -> None:
            if self.opened:
                raise RuntimeError("no memory for a second engine")
            super().__init__(settings)
            self.opened.append(self)


class TestUndocumented(Suite):
    caught = ("test_it_is_registered_with_a_line_of_documentation", "has no doc")
    doc = ""

    class Mine(Engine):
        pass

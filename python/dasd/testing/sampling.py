"""Checks of ``Teacher.sample``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, get_args

import numpy as np
import polars as pl
import pytest

from dasd.api import SampleRequest
from dasd.base.records import LogprobsMode, Message
from dasd.testing.bench import Bench, apart, check_refused, tiles
from dasd.testing.reference import is_local, token_logprobs
from dasd.testing.suite import ComponentSuite, caught_stdout

__all__ = ["PROMPTABLE", "SamplingChecks"]

PROMPTABLE = 50_000
"""Longest context in tokens for which a prompt that exceeds it is made."""


class SamplingChecks(ComponentSuite):
    """One row a request, whose tokens, ends and log-probabilities are those of the model."""

    repeatable: ClassVar[bool] = True
    """Whether the same requests give the same rows; False for servers that ignore seeds."""
    varied: ClassVar[bool] = True
    """Whether other seeds give other responses at temperature 1."""
    greedy: ClassVar[bool | None] = None
    """Whether temperature 0 takes the likeliest token; None: where it is repeatable and gives logprobs."""
    streams: ClassVar[bool] = False
    """Whether many requests come in more than one frame."""
    logprob_tolerance: ClassVar[float] = 2e-3
    """Largest difference in nats between two computations of one log-probability; a share of it below -1."""
    reference: ClassVar[bool] = True
    """Whether log-probabilities are held against transformers' own, where the weights are on this disk."""

    def test_every_request_gives_one_row(self, bench: Bench) -> None:
        """Neither lost nor doubled, with the columns and types of SAMPLES."""
        wanted = [request.sample_id for request in bench.requests()]
        frames = list(bench.teacher.sample(bench.requests(), bench.spec()))
        got = [sample_id for frame in frames for sample_id in frame["sample_id"]]
        assert sorted(got) == sorted(wanted), "wanted one row for each sample_id asked for"

    def test_no_requests_give_no_rows(self, bench: Bench) -> None:
        """An empty list of requests is no error."""
        rows = sum(frame.height for frame in bench.teacher.sample([], bench.spec()))
        assert rows == 0, f"{rows} rows for no requests"

    def test_rows_say_what_was_asked_and_of_whom(self, bench: Bench) -> None:
        """Question, candidate, seed and sampling are the request's; model and engine are the engine's."""
        info = bench.info
        named = info.model and info.model_revision and info.engine and info.engine_version
        assert named, f"info names no model, revision, engine or version: {info}"
        assert info.logprobs_mode in get_args(LogprobsMode) and info.context_length > 0, str(info)
        for row, request in zip(bench.samples().iter_rows(named=True), bench.requests(), strict=True):
            wanted: dict[str, object] = {
                "question_id": request.question_id,
                "candidate": request.candidate,
                "seed": request.seed,
                "stage": "suite",
                "temperature": 1.0,
                "top_p": 1.0,
                "prefix_end": 0,
            }
            wanted |= {
                name: getattr(info, name)
                for name in (
                    "model",
                    "model_revision",
                    "tokenizer_hash",
                    "engine",
                    "engine_version",
                    "logprobs_mode",
                )
            }
            wrong = {name: row[name] for name in wanted if row[name] != wanted[name]}
            assert not wrong, (
                f"row {request.sample_id} has {wrong}; wanted { ({name: wanted[name] for name in wrong}) }"
            )

    def test_tokens_tile_the_text(self, bench: Bench) -> None:
        """Byte offsets never go back, the last is the text's length, and each token has its own bytes."""
        own = bench.info.tokenizer_hash == bench.tokenizer.hash
        for row in bench.samples().iter_rows(named=True):
            wrong = tiles(row["text"], row["token_ends"])
            assert not wrong, f"row {row['sample_id']}: {wrong}"
            assert len(row["token_ids"]) == len(row["token_ends"]), f"row {row['sample_id']}"
            if own:
                ids = row["token_ids"][: len(row["token_ids"]) - (row["finish_reason"] == "stop")]
                assert bench.tokenizer.decode(ids) == row["text"], f"row {row['sample_id']}: token_ids"
                wanted = bench.tokenizer.ends_of(ids, row["text"])
                assert row["token_ends"][: len(ids)] == wanted, f"row {row['sample_id']}: token_ends"

    def test_the_end_token_is_there_exactly_when_the_model_stopped(self, bench: Bench) -> None:
        """finish_reason "stop": the last token ends the turn and covers no bytes; "length": no end token."""
        samples = bench.samples()
        assert "stop" in set(samples["finish_reason"]), (
            f"no response ended within {bench.max_tokens} tokens: raise max_tokens of the suite, or the engine "
            "never says stop"
        )
        own = bench.info.tokenizer_hash == bench.tokenizer.hash
        for row in samples.iter_rows(named=True):
            what = f"row {row['sample_id']} (finish_reason {row['finish_reason']!r})"
            assert row["finish_reason"] in ("stop", "length"), f"{what}: wanted 'stop' or 'length'"
            ids, ends = row["token_ids"], row["token_ends"]
            if row["finish_reason"] == "stop":
                assert ids, f"{what} has no tokens; wanted at least the end token"
                covered = ends[-1] - (ends[-2] if len(ends) > 1 else 0)
                assert covered == 0, f"{what}: the last token covers {covered} bytes; wanted the end token"
                assert not own or bench.tokenizer.is_control(ids[-1]), (
                    f"{what}: the last token is {ids[-1]} ({bench.tokenizer.decode(ids[-1:])!r}); wanted an end token"
                )
            elif own:
                assert not any(map(bench.tokenizer.is_control, ids)), f"{what} holds a control token: {ids}"

    def test_logprobs_are_one_finite_number_a_token(self, bench: Bench) -> None:
        """Natural logarithms of probabilities; null throughout for an engine that gives none."""
        for row in bench.samples().iter_rows(named=True):
            logprobs = row["logprobs"]
            if not self.gives_logprobs(bench):
                assert logprobs is None, (
                    f"row {row['sample_id']} has logprobs, but {self.component().label} is registered with "
                    "gives_logprobs=False, or its info says logprobs_mode 'none'"
                )
                continue
            assert logprobs is not None, f"row {row['sample_id']} has no logprobs"
            assert len(logprobs) == len(row["token_ids"]), f"row {row['sample_id']}"
            assert np.isfinite(logprobs).all() and max(logprobs) <= 1e-6, (
                f"row {row['sample_id']}: wanted finite numbers of at most 0, got {logprobs}"
            )

    def test_logprobs_are_the_models_own_at_temperature_1(self, bench: Bench) -> None:
        """Raw, whatever the temperature of sampling: they equal transformers' own within the tolerance."""
        if not (self.gives_logprobs(bench) and bench.info.logprobs_mode == "raw"):
            return
        if not (self.reference and is_local(bench.settings.model)):
            return
        for row in bench.samples(0.5).iter_rows(named=True):
            prompt = bench.tokenizer.prompt_ids(bench.messages(row["sample_id"]))
            wanted = token_logprobs(bench.settings.model, prompt, row["token_ids"])
            difference = apart(row["logprobs"], wanted.tolist())
            assert difference <= self.logprob_tolerance, (
                f"row {row['sample_id']}, sampled at temperature 0.5: logprobs differ by {difference:.3g} nats "
                f"from the model's at temperature 1; tolerated are {self.logprob_tolerance:g}. Are they taken "
                "after temperature or nucleus, or with another prompt?"
            )

    def test_caps_on_new_tokens_are_kept(self, bench: Bench) -> None:
        """The spec's cap and a request's own; "length" is said where one was reached, and only there."""
        wanted = [*bench.requests(1)[:2], *bench.requests(1, max_tokens=3)[2:]]
        caps = [5, 5] + [3] * (len(wanted) - 2)
        for row, cap in zip(
            bench.sample(wanted, bench.spec(max_tokens=5)).iter_rows(named=True), caps, strict=True
        ):
            count = len(row["token_ids"])
            what = (
                f"row {row['sample_id']}: {count} tokens, finish_reason {row['finish_reason']!r}, cap {cap}"
            )
            assert count == cap if row["finish_reason"] == "length" else count <= cap, what

    def test_the_same_requests_give_the_same_rows(self, bench: Bench) -> None:
        """A request's seed decides its draw, so a run can be repeated."""
        if self.repeatable:
            again = bench.sample(bench.requests(), bench.spec())
            self._same(bench.samples(), again, "asked twice")

    def test_a_draw_does_not_depend_on_its_neighbours(self, bench: Bench) -> None:
        """Alone or in another order, a request gets what it got among the others."""
        if self.repeatable:
            few = bench.requests()[::-1][:3]
            alone = pl.concat([bench.sample([request], bench.spec()) for request in few])
            ids = [request.sample_id for request in few]
            together = pl.concat([bench.samples().filter(pl.col("sample_id") == each) for each in ids])
            self._same(together, alone, "asked alone")

    def test_other_seeds_give_other_responses(self, bench: Bench) -> None:
        """The candidates of a question differ at temperature 1."""
        if self.varied:
            texts = bench.samples().group_by("question_id").agg(pl.col("text").n_unique())["text"]
            assert texts.max() != 1, "all candidates of every question are the same text: are seeds used?"

    def test_greedy_takes_no_draw(self, bench: Bench) -> None:
        """At temperature 0 the seed has no part: candidates of a question are the same."""
        samples = bench.sample(bench.requests(2), bench.spec(0.0))
        texts = samples.group_by("question_id").agg(pl.col("text").n_unique())["text"]
        greedy = self.greedy
        if greedy is None:
            greedy = self.repeatable and self.gives_logprobs(bench)
        assert not greedy or texts.max() == 1, "at temperature 0 two seeds gave two responses to one question"
        assert samples["temperature"].unique().to_list() == [0.0], "rows don't say temperature 0"

    def test_a_prompt_without_room_is_refused_by_name(self, bench: Bench) -> None:
        """``spec.on_refused`` is told of it, with a reason; nothing is cut, and its neighbours have their rows."""
        room = bench.info.context_length
        if room > PROMPTABLE:
            pytest.skip(f"no prompt is made for a context of {room} tokens")
        text = "1 + 2 " * room
        request = SampleRequest("sample-too-long", "question-too-long", (Message("user", text),), 0, 1)
        others = bench.requests(1)[:2]
        asked = [others[0], request, others[1]]
        check_refused(
            lambda on_refused: bench.teacher.sample(asked, replace(bench.spec(), on_refused=on_refused)),
            request.sample_id,
            [other.sample_id for other in others],
        )

    def test_rows_come_as_they_finish(self, bench: Bench) -> None:
        """Many requests come in several frames, so that little is lost when a run is killed."""
        if self.streams:
            frames = [f for f in bench.teacher.sample(bench.requests(), bench.spec()) if f.height]
            assert len(frames) > 1, f"{len(bench.requests())} requests came in one frame"

    def test_it_closes_and_opens_again_with_nothing_on_stdout(self, bench: Bench) -> None:
        """close() makes room for the next engine; stdout belongs to the command's results."""
        before = bench.samples()
        with caught_stdout() as written:
            bench.close()
            again = bench.sample(bench.requests(), bench.spec())
            bench.close()
        assert written.text == "", f"written on stdout: {written.text[:400]!r}"
        assert again["sample_id"].equals(before["sample_id"])
        if self.repeatable:
            self._same(before, again, "asked of a second engine")

    def gives_logprobs(self, bench: Bench) -> bool:
        """Whether samples carry log-probabilities: what the backend can, and what this engine says it serves."""
        return self.component().gives_logprobs and bench.info.logprobs_mode != "none"

    def _same(self, first: pl.DataFrame, second: pl.DataFrame, how: str) -> None:
        pairs: Any = zip(first.iter_rows(named=True), second.iter_rows(named=True), strict=True)
        for one, other in pairs:
            assert other["token_ids"] == one["token_ids"], (
                f"row {one['sample_id']} differs when {how}: {one['text']!r}, then {other['text']!r}"
            )

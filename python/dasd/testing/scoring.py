"""Checks of ``Teacher.score``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from dasd.api import BackendError, SampledTokens, ScoreRequest, ScoringSpec
from dasd.models.tokens.chat import ChatTokenizer
from dasd.recipe.model_settings import ModelSettings
from dasd.testing.bench import Bench, apart, check_refused, gathered, tiles
from dasd.testing.reference import highest_logprobs, is_local
from dasd.testing.sampling import PROMPTABLE, SamplingChecks

__all__ = ["ScoringChecks"]

TEXTS = ("Begin at 9. So 9 + 3 = 12. " * 4, "So", "Grüße 😀 " * 9, "That makes 7.", "  <eos>\n\t中文。")
TOP = 5
"""Likeliest tokens that are asked for."""

Values = Sequence[float] | npt.NDArray[np.float64]


class ScoringChecks(SamplingChecks):
    """Scores are those of sampling, whatever tokens a text comes in; or scoring is refused."""

    scores: ClassVar[bool | None] = None
    """Whether the backend scores texts; None: where it is registered with ``runs_student``."""

    def test_scores_reproduce_the_logprobs_of_sampling(self, bench: Bench) -> None:
        """A sample's own tokens get, within the tolerance, the log-probabilities that they were sampled with."""
        samples = bench.samples()
        asked = [
            ScoreRequest(
                row["sample_id"],
                bench.messages(row["sample_id"]),
                row["text"],
                row["finish_reason"] == "stop",
                SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
            )
            for row in samples.iter_rows(named=True)
        ]
        if self._scoring_refused(bench, asked):
            return
        rows = self._scored(bench, asked)
        compared = self.gives_logprobs(bench) and bench.info.logprobs_mode == "raw"
        for sample, score in zip(samples.iter_rows(named=True), rows.iter_rows(named=True), strict=True):
            what = f"row {score['sample_id']}"
            assert score["token_ids"] == sample["token_ids"], f"{what}: other tokens than it was sampled as"
            assert score["token_ends"] == sample["token_ends"], f"{what}: other token_ends"
            if compared:
                self._near(score["logprobs"], sample["logprobs"], what)

    def test_a_text_is_scored_in_the_tokens_it_was_sampled_as(self, bench: Bench) -> None:
        """Even if the tokenizer would write it in others: never tokenised again, when the tokenizer is the same."""
        text = TEXTS[0]
        ids: list[int] = []
        ends: list[int] = []
        for place, character in enumerate(text):
            ids += bench.tokenizer.encode_response(character, ended=False)[0]
            ends += [place + 1] * (len(ids) - len(ends))
        sampled = SampledTokens(ids, ends, bench.tokenizer.hash)
        asked = [ScoreRequest("sample-0", bench.question(0), text, ended=False, sampled=sampled)]
        if self._scoring_refused(bench, asked) or bench.info.tokenizer_hash != bench.tokenizer.hash:
            return
        row = self._scored(bench, asked).row(0, named=True)
        assert row["token_ids"] == ids, (
            f"scored as {len(row['token_ids'])} tokens; wanted the {len(ids)} given"
        )
        assert row["token_ends"] == ends, f"token_ends {row['token_ends']}; wanted those given, {ends}"
        assert len(row["logprobs"]) == len(ids), (
            f"{len(row['logprobs'])} log-probabilities; wanted {len(ids)}"
        )

    def test_a_text_in_another_tokenizers_tokens_is_scored_in_its_own(self, bench: Bench) -> None:
        """The model's own tokens tile the text, one finite log-probability each."""
        other = ChatTokenizer.load(ModelSettings(model="dasd:mini-student"))
        asked = []
        for i, text in enumerate(TEXTS):
            ids, ends = other.encode_response(text, ended=False)
            sampled = SampledTokens(ids, ends, "0" * 32)
            asked.append(ScoreRequest(f"text-{i}", bench.question(i), text, ended=False, sampled=sampled))
        if self._scoring_refused(bench, asked):
            return
        for row, text in zip(self._scored(bench, asked).iter_rows(named=True), TEXTS, strict=True):
            wrong = tiles(text, row["token_ends"])
            assert not wrong, f"row {row['sample_id']} ({text!r}): {wrong}"
            logprobs = row["logprobs"]
            assert len(logprobs) == len(row["token_ids"]) > 0, f"row {row['sample_id']}"
            assert np.isfinite(logprobs).all() and max(logprobs) <= 1e-6, (
                f"row {row['sample_id']}: {logprobs}"
            )

    def test_the_end_is_scored_where_the_text_ended(self, bench: Bench) -> None:
        """``ended`` adds the end token behind the others, which covers no bytes; nothing else changes."""
        asked = [
            ScoreRequest(f"{kind}-{i}", bench.question(i), text, ended=kind == "ended")
            for i, text in enumerate(TEXTS)
            for kind in ("open", "ended")
        ]
        if self._scoring_refused(bench, asked):
            return
        rows = self._scored(bench, asked).to_dicts()
        for still_open, ended in zip(rows[::2], rows[1::2], strict=True):
            what = f"row {ended['sample_id']}"
            assert ended["token_ids"][:-1] == still_open["token_ids"], (
                f"{what}: {len(ended['token_ids'])} tokens; wanted the {len(still_open['token_ids'])} of the text "
                "and the end token"
            )
            assert ended["token_ends"][-1] == (still_open["token_ends"] or [0])[-1], (
                f"{what}: the end token covers bytes"
            )
            self._near(ended["logprobs"][:-1], still_open["logprobs"], f"row {ended['sample_id']}")

    def test_the_token_budget_changes_no_score(self, bench: Bench) -> None:
        """In chunks of a few tokens or all at once: the same numbers, and no row for no request."""
        asked = [
            ScoreRequest(f"text-{i}", bench.question(i), text, ended=True) for i, text in enumerate(TEXTS)
        ]
        if self._scoring_refused(bench, asked):
            return
        assert sum(f.height for f in bench.teacher.score([], ScoringSpec("suite", 64))) == 0
        whole, chunked = self._scored(bench, asked), self._scored(bench, asked, token_budget=32)
        for one, other in zip(whole.iter_rows(named=True), chunked.iter_rows(named=True), strict=True):
            assert other["token_ids"] == one["token_ids"], f"row {one['sample_id']}"
            self._near(other["logprobs"], one["logprobs"], f"row {one['sample_id']} with token_budget 32")

    def test_the_likeliest_tokens_agree_with_the_scores(self, bench: Bench) -> None:
        """With ``spec.top``: a token is among the likeliest of its position, or no likelier than the last of them.

        They are different tokens, their probabilities are the model's, and nothing else of the scores changes.
        """
        if not self.component().gives_top:
            return
        texts = (*TEXTS[:2], *bench.samples()["text"][:2])
        asked = [ScoreRequest(f"t-{i}", bench.question(i), text, ended=True) for i, text in enumerate(texts)]
        rows, plain = self._scored(bench, asked, token_budget=32, top=TOP), self._scored(bench, asked)
        for row, score, request in zip(rows.to_dicts(), plain.to_dicts(), asked, strict=True):
            what, tokens = f"row {row['sample_id']}", len(row["token_ids"])
            assert row["token_ids"] == score["token_ids"], f"{what}: other tokens with top={TOP}"
            self._near(row["logprobs"], score["logprobs"], f"{what} with top={TOP}")
            assert len(row["top_ids"]) == tokens * TOP, (
                f"{what}: {len(row['top_ids'])} top_ids for {tokens} tokens; wanted {TOP} a token"
            )
            found = np.asarray(row["top_logprobs"]).reshape(tokens, TOP)
            for position, (token, logprob, ids, tops) in enumerate(
                zip(
                    row["token_ids"],
                    row["logprobs"],
                    np.reshape(row["top_ids"], (-1, TOP)),
                    found,
                    strict=True,
                )
            ):
                where = f"{what}, token {position}"
                assert len(set(ids)) == TOP, f"{where}: a token twice among its likeliest, {list(ids)}"
                if token in ids:
                    self._near(tops[ids == token], [logprob], f"{where}, itself among its likeliest")
                else:
                    assert logprob <= tops[-1] + self.logprob_tolerance, (
                        f"{where}: its log-probability is {logprob:.4g} and it is not among the likeliest, whose last "
                        f"has {tops[-1]:.4g}"
                    )
            if self.reference and is_local(bench.settings.model):
                prompt = bench.tokenizer.prompt_ids(request.messages)
                wanted = highest_logprobs(bench.settings.model, prompt, row["token_ids"], TOP)
                self._near(found.ravel(), wanted.ravel(), f"{what}, top_logprobs and those of transformers")

    def test_a_text_over_the_context_is_refused_by_name(self, bench: Bench) -> None:
        """``spec.on_refused`` is told of it, with a reason; nothing is cut, and its neighbours have their rows."""
        room = bench.info.context_length
        text = "1 + 2 " * min(room, PROMPTABLE)
        request = ScoreRequest("sample-too-long", bench.question(0), text, ended=True)
        if self._scoring_refused(bench, [request]):
            return
        if room > PROMPTABLE:
            pytest.skip(f"no text is made for a context of {room} tokens")
        other = ScoreRequest("sample-0", bench.question(0), TEXTS[0], ended=True)
        check_refused(
            lambda refused: bench.teacher.score([request, other], ScoringSpec("suite", 4096, refused)),
            request.sample_id,
            [other.sample_id],
        )

    def _scored(
        self, bench: Bench, asked: Sequence[ScoreRequest], token_budget: int = 4096, top: int = 0
    ) -> pl.DataFrame:
        frames = bench.teacher.score(asked, ScoringSpec("suite", token_budget, top=top))
        return gathered(frames, [request.sample_id for request in asked])

    def _near(self, got: Values, wanted: Values, what: str) -> None:
        assert len(got) == len(wanted), f"{what}: {len(got)} log-probabilities; wanted {len(wanted)}"
        difference = apart(got, wanted)
        assert difference <= self.logprob_tolerance, (
            f"{what}: log-probabilities differ by {difference:.3g} nats; tolerated are {self.logprob_tolerance:g}"
        )

    def _scoring_refused(self, bench: Bench, asked: Sequence[ScoreRequest]) -> bool:
        """Whether the backend doesn't score; then it has to say so when asked."""
        if self.component().runs_student if self.scores is None else self.scores:
            return False
        with pytest.raises(BackendError):
            list(bench.teacher.score(asked, ScoringSpec("suite", 4096)))
        return True

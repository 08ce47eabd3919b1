"""Teachers that each break one promise of continuing or scoring; run by test_suites_catch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import polars as pl
from tests.plugins.broken_teachers import REPRODUCE, Engine, Suite, changed

KEEPS = "test_a_continuation_starts_with_its_prefix"
LIKELIEST = "test_the_likeliest_tokens_agree_with_the_scores"
GREEDY = "test_continuing_a_greedy_response_is_the_uninterrupted_one"


class Continuing(Engine):
    def continue_(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
        for rows in super().continue_(requests, spec):
            yield self.alter(rows)


class TestTrimsThePrefix(Suite):
    caught = (KEEPS, "doesn't start with its prefix")

    class Mine(Continuing):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            def trimmed(row: Any) -> int:
                return len(row["text"].encode()) - len(row["text"].lstrip().encode())

            return changed(
                rows,
                text=lambda row: row["text"].lstrip(),
                token_ends=lambda row: [max(0, end - trimmed(row)) for end in row["token_ends"]],
            )


class TestForgetsWhereThePrefixEnds(Suite):
    caught = (KEEPS, "prefix_end 0; wanted")

    class Mine(Continuing):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            return rows.with_columns(prefix_end=pl.lit(0, pl.UInt32))


class TestPutsZerosOnThePrefix(Suite):
    caught = ("test_tokens_of_the_prefix_have_logprobs_of_their_own", "have a log-probability of 0")

    class Mine(Continuing):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            def zeros(row: dict[str, Any]) -> list[float]:
                pairs = zip(row["logprobs"], row["token_ends"], strict=True)
                return [0.0 if end <= row["prefix_end"] else p for p, end in pairs]

            return changed(rows, logprobs=zeros)


class TestBeginsAnew(Suite):
    """Asks for a whole response and puts the prefix before it."""

    caught = (GREEDY, "went on as")

    class Mine(Engine):
        def continue_(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            prefixes = {r.sample_id: r.prefix for r in requests}
            for rows in super().continue_([replace(r, prefix="") for r in requests], spec):
                yield changed(
                    rows,
                    text=lambda row: prefixes[row["sample_id"]] + row["text"],
                    prefix_end=lambda row: len(prefixes[row["sample_id"]].encode()),
                )


class TestContinuesUndeclared(Suite):
    caught = (KEEPS, "DID NOT RAISE")
    capabilities: ClassVar = {"continues": False}

    class Mine(Engine):
        pass


class Scoring(Engine):
    def score(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
        for rows in super().score(self.asked(requests), spec):
            yield self.alter(rows)

    def asked(self, requests: Sequence[Any]) -> list[Any]:
        return list(requests)


class TestScoresWithoutThePrompt(Suite):
    caught = (REPRODUCE, "differ by")

    class Mine(Scoring):
        def asked(self, requests: Sequence[Any]) -> list[Any]:
            return [replace(r, messages=tuple(replace(m, content="") for m in r.messages)) for r in requests]


class TestTokenisesAgain(Suite):
    caught = ("test_a_text_is_scored_in_the_tokens_it_was_sampled_as", "wanted the")

    class Mine(Scoring):
        def asked(self, requests: Sequence[Any]) -> list[Any]:
            return [replace(r, sampled=None) for r in requests]


class TestTakesForeignTokens(Suite):
    caught = ("test_a_text_in_another_tokenizers_tokens_is_scored_in_its_own", "token_ends go back")

    class Mine(Scoring):
        def asked(self, requests: Sequence[Any]) -> list[Any]:
            own = self.info.tokenizer_hash
            return [
                replace(
                    r,
                    sampled=replace(
                        r.sampled, tokenizer_hash=own, token_ends=r.sampled.token_ends[:-1] + [0]
                    ),
                )
                for r in requests
            ]


class TestForgetsTheEnd(Suite):
    caught = ("test_the_end_is_scored_where_the_text_ended", "and the end token")

    class Mine(Scoring):
        def asked(self, requests: Sequence[Any]) -> list[Any]:
            return [replace(r, ended=False) for r in requests]


class TestForgetsBetweenChunks(Suite):
    caught = ("test_the_token_budget_changes_no_score", "with token_budget 32")

    class Mine(Engine):
        def score(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            for rows in super().score(requests, spec):
                forgot = changed(
                    rows, logprobs=lambda row: [*row["logprobs"][:32], *(-6.0 for _ in row["logprobs"][32:])]
                )
                yield forgot if spec.token_budget < 64 else rows


class TestCutsLongTexts(Suite):
    caught = ("test_a_text_over_the_context_is_refused_by_name", "on_refused was told of []")

    class Mine(Scoring):
        def asked(self, requests: Sequence[Any]) -> list[Any]:
            return [replace(r, text=r.text[:300]) for r in requests]


class TestScoresUndeclared(Suite):
    caught = (REPRODUCE, "DID NOT RAISE")
    capabilities: ClassVar = {"runs_student": False}

    class Mine(Engine):
        pass


class TestGivesScoresAlone(Suite):
    caught = (LIKELIEST, "without top_ids and top_logprobs")
    capabilities: ClassVar = {"gives_top": True}

    class Mine(Engine):
        def score(self, requests: Sequence[Any], spec: Any) -> Iterator[pl.DataFrame]:
            yield from super().score(requests, replace(spec, top=0))


class TestLikeliestOfTheNextToken(Suite):
    caught = (LIKELIEST, "token 0: its log-probability is")
    capabilities: ClassVar = {"gives_top": True}

    class Mine(Scoring):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            def later(name: str, row: dict[str, Any]) -> list[Any]:
                k = len(row[name]) // len(row["token_ids"])
                return [*row[name][k:], *row[name][:k]]

            names = [name for name in ("top_ids", "top_logprobs") if name in rows.columns]
            return changed(rows, **{name: partial(later, name) for name in names})


class TestCountsTheTextsOwnToken(Suite):
    """Among K: so the last of the likeliest is left out where the text's token isn't one of them."""

    caught = (LIKELIEST, "top_logprobs and those of transformers")
    capabilities: ClassVar = {"gives_top": True}

    class Mine(Scoring):
        def alter(self, rows: pl.DataFrame) -> pl.DataFrame:
            if "top_ids" not in rows.columns:
                return rows

            def counted(row: dict[str, Any]) -> dict[str, Any]:
                k = len(row["top_ids"]) // len(row["token_ids"])
                for n, (token, logprob) in enumerate(zip(row["token_ids"], row["logprobs"], strict=True)):
                    if token not in row["top_ids"][n * k : n * k + k]:
                        row["top_ids"][n * k + k - 1] = token
                        row["top_logprobs"][n * k + k - 1] = logprob
                return row

            return pl.DataFrame([counted(row) for row in rows.to_dicts()], schema=rows.schema)

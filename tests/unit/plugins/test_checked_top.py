"""What a teacher returns as the likeliest tokens is checked."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from tests.canned_teacher import MESSAGES, Canned, registry, settings

from dasd.base.records import ScoreRequest, ScoringSpec
from dasd.base.schemas import SCORES, TOP_SCORES
from dasd.errors import BackendError, SchemaError

GOOD = {"top_ids": [4, 5, 5, 9], "top_logprobs": [-0.5, -1.0, -0.7, -0.7]}


def row(sample_id: str, **changes: Any) -> dict[str, Any]:
    tokens = {"token_ids": [1, 2], "token_ends": [1, 2], "logprobs": [-1.5, -0.1]}
    return {"sample_id": sample_id, "model": "m", **tokens, **GOOD, **changes}


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(TOP_SCORES.columns))


def scored(*frames: Any, top: int = 2, gives_top: bool = True) -> list[pl.DataFrame]:
    made = registry()
    made.teacher("canned", lambda _: Canned(frames), gives_top=gives_top)
    asked = [ScoreRequest(name, MESSAGES, "ab", False) for name in ("a", "b")]
    return list(made.make_teacher(settings()).score(asked, ScoringSpec("score", 99, top=top)))


EMPTY = {name: [] for name in TOP_SCORES.columns if name not in ("sample_id", "model")}


def test_good_frames_pass() -> None:
    assert pl.concat(scored(frame(row("b")), frame(row("a")))).height == 2
    assert scored(frame(row("a"), row("b", **EMPTY)), top=300)[0]["top_ids"].list.len().to_list() == [4, 0]
    assert scored(frame(row("a", **EMPTY), row("b", **EMPTY)))[0].height == 2


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (
            [frame(row("a"), row("b")).select(list(SCORES.columns))],
            r"returned scores rows without top_ids and top_logprobs, although the 2 likeliest",
        ),
        ([frame(row("a"), row("b")).drop("top_ids")], r"missing columns \['top_ids'\]"),
        ([frame(row("a", top_ids=[4, 5, 5]))], r"row a with 3 top_ids and 4 top_logprobs for 2 tokens"),
        ([frame(row("a", top_logprobs=[-0.5, None, -0.7, -0.9]))], r"4 top_ids and 3 top_logprobs"),
        ([frame(row("a", top_ids=[4], top_logprobs=[-1.0]))], r"1 top_ids and 1 top_logprobs for 2 tokens"),
        ([frame(row("a", top_ids=[4] * 6, top_logprobs=[-9.0] * 6))], r"row a with 6 top_ids .* from 1 to 2"),
        ([frame(row("a", top_ids=[], top_logprobs=[]))], r"row a with 0 top_ids"),
        ([frame(row("a", **{**EMPTY, **GOOD}))], r"row a with 4 top_ids and 4 top_logprobs for 0 tokens"),
        (
            [frame(row("a")), frame(row("b", top_ids=[4, 5], top_logprobs=[-1.0, -1.0]))],
            r"row b with 2 top_ids .*the same in all rows of a call",
        ),
        (
            [frame(row("a"), row("b", top_logprobs=[-0.5, -1.0, -1.2, -0.7]))],
            r"row b with top_logprobs at token 1 that ascend; wanted the likeliest first",
        ),
        (
            [frame(row("a"), row("b", top_logprobs=[-0.5, -1.0, -0.6, -0.7]))],
            r"row b with top_logprobs at token 1 that sum to more than 1",
        ),
        (
            [frame(row("a", top_logprobs=[-0.5, float("nan"), -0.7, -0.9]))],
            r"row a with top_logprobs at token 0 that aren't numbers",
        ),
    ],
)
def test_wrong_frames_are_refused_by_the_teachers_name(frames: list[Any], words: str) -> None:
    with pytest.raises(SchemaError, match=r"teacher 'canned' \(plugin dasd-canned\).*" + words):
        scored(*frames)


def test_only_who_asks_gets_them() -> None:
    with pytest.raises(SchemaError, match=r"unknown columns \['top_ids', 'top_logprobs'\]"):
        scored(frame(row("a"), row("b")), top=0)


def test_a_teacher_without_them_is_not_asked() -> None:
    with pytest.raises(
        BackendError, match=r"teacher 'canned' .*gives no likeliest tokens, and the 2 likeliest"
    ):
        scored(frame(row("a"), row("b")), gives_top=False)

"""The figures of lm_eval's own model on the same checkpoint, document by document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval_asking import evaluated, own_results, questions

from dasd.api import Teacher
from dasd.plugins.registry import Registry
from dasd_lm_eval.scored import read_scored


def samples(results: dict[str, Any], task: str, name: str) -> list[dict[str, Any]]:
    return sorted((s for s in results["samples"][task] if s["filter"] == name), key=lambda s: s["doc_id"])


@pytest.mark.parametrize("task", ["sums", "sums_shown"])
def test_greedy_generation_is_the_same(registry: Registry, student: Teacher, tasks: Path, task: str) -> None:
    rows = evaluated(registry, student, questions(registry, tasks, task))
    own = samples(own_results(tasks, task), task, "strict")
    behind = [text.split("</think>")[-1].lstrip() for text in rows["text"]]
    assert behind == [sample["resps"][0][0] for sample in own]
    assert rows["extracted"].to_list() == [sample["filtered_resps"][0] for sample in own]
    assert rows["correct"].to_list() == [bool(sample["exact_match"]) for sample in own]
    if task == "sums":
        assert 0 < rows["correct"].sum() < rows.height, "the student is right on all of them, or on none"


def test_options_are_scored_the_same(registry: Registry, student: Teacher, tasks: Path) -> None:
    rows = evaluated(registry, student, questions(registry, tasks, "options"))
    own = samples(own_results(tasks, "options"), "options", "none")
    for text, correct, sample in zip(rows["text"], rows["correct"], own, strict=True):
        theirs = [output[0] for output in sample["filtered_resps"]]
        assert [option.logprob for option in read_scored(text)] == pytest.approx(theirs, abs=1e-3)
        assert correct == bool(sample["acc"])
    assert rows["correct"].n_unique() == 2


def test_likelihoods_and_greedy_texts_are_the_same(registry: Registry, student: Teacher, tasks: Path) -> None:
    rows = evaluated(registry, student, questions(registry, tasks, "beginnings"))
    own = samples(own_results(tasks, "beginnings"), "beginnings", "none")
    for text, correct, sample in zip(rows["text"], rows["correct"], own, strict=True):
        (scored,) = read_scored(text)
        logprob, greedy = sample["filtered_resps"][0]
        assert scored.logprob == pytest.approx(logprob, abs=1e-3)
        assert scored.greedy == greedy == correct
    assert rows["correct"].n_unique() == 2

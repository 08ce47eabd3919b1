"""What dasd asks of an evaluator, and what this one makes of a task's details."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from lm_eval_asking import evaluated, questions
from local_tasks import DOCUMENTS

from dasd.api import InputError, Teacher
from dasd.plugins.registry import Registry
from dasd.testing import EvaluatorSuite
from dasd_lm_eval.generating import Generation, visible, written


@pytest.mark.slow
class TestLmEval(EvaluatorSuite):
    """The suite's questions are none of a task's: they are graded by their own verifier."""

    name = "lm-eval"


SAMPLED = {"do_sample": True, "temperature": 1.0}


def test_attempts_are_draws_of_their_own_and_done_ones_are_not_repeated(
    registry: Registry, student: Teacher, tasks: Path
) -> None:
    asked = questions(registry, tasks, "sums", count=4, generation_kwargs=SAMPLED)
    rows = evaluated(registry, student, asked, attempts=3)
    assert rows.select("question_id", "attempt").rows() == [
        (f"sums:{q}", a) for q in range(4) for a in range(3)
    ]
    assert rows.group_by("question_id").agg(pl.col("text").n_unique())["text"].max() == 3
    done = [("sums:0", 1), ("sums:3", 0)]
    rest = evaluated(registry, student, asked, attempts=3, done=done)
    left = [key not in done for key in rows.select("question_id", "attempt").iter_rows()]
    assert rest.drop("seconds").equals(rows.filter(pl.Series(left)).drop("seconds"))
    other = evaluated(registry, student, asked, attempts=3, seed=2)
    assert not other["text"].equals(rows["text"])


def test_scored_attempts_and_done_ones(registry: Registry, student: Teacher, tasks: Path) -> None:
    asked = questions(registry, tasks, "options", count=3)
    rows = evaluated(registry, student, asked, attempts=2, done=[("options:1", 0)])
    assert rows.select("question_id", "attempt").rows() == [
        ("options:0", 0),
        ("options:0", 1),
        ("options:1", 1),
        ("options:2", 0),
        ("options:2", 1),
    ]
    assert rows["extracted"].is_in(["0", "1", "2"]).sum() < rows.height, "options are named by their text"


def test_another_metric_and_filter_decide(registry: Registry, student: Teacher, tasks: Path) -> None:
    strict, last = (
        evaluated(
            registry, student, questions(registry, tasks, "sums", count=6, think_end=None, metric=metric)
        )
        for metric in (None, "exact_match,last-number")
    )
    assert strict["text"].equals(last["text"])
    assert set(strict["extracted"]) == {"[invalid]"}, "with its reasoning no answer is a bare number"
    assert not strict["correct"].any()
    assert last["correct"].any()


def test_an_answer_goes_on_from_its_prefix(registry: Registry, student: Teacher, tasks: Path) -> None:
    asked = questions(registry, tasks, "opened", count=3)
    opened = evaluated(registry, student, asked)
    plain = evaluated(registry, student, questions(registry, tasks, "sums", count=3))
    assert asked["messages"].list.last().struct.field("role").unique().to_list() == ["user"]
    assert ["<think>" + text for text in opened["text"]] == plain["text"].to_list()


def test_a_task_without_a_yes_or_no_metric_has_no_part_in_the_accuracy(
    registry: Registry, student: Teacher, tasks: Path
) -> None:
    asked = questions(registry, tasks, "sums_bleu", count=2)
    assert asked["answer"].null_count() == 2
    assert not evaluated(registry, student, asked)["correct"].any()


def test_the_verifier_grades_a_written_response_as_the_evaluator_does(
    registry: Registry, student: Teacher, tasks: Path
) -> None:
    verifier = registry.make_verifier("lm-eval")
    asked = questions(registry, tasks, "sums")
    rows = evaluated(registry, student, asked).join(asked, on="question_id")
    for text, correct, answer, name in rows.select("text", "correct", "answer", "verifier").iter_rows():
        assert verifier.grade(text, answer, name.partition(":")[2]).correct == correct
    _, right, chosen = (
        questions(registry, tasks, "options", count=1).select("messages", "answer", "verifier").row(0)
    )
    argument = chosen.partition(":")[2]
    assert verifier.grade(f"<think>so</think>\n{right}", right, argument).correct
    assert not verifier.grade(f"<think>{right}</think>\n7{right}", right, argument).correct


def test_a_group_is_asked_task_by_task(registry: Registry, student: Teacher, tasks: Path) -> None:
    asked = questions(registry, tasks, "everything", count=5)
    assert asked["question_id"].to_list() == ["sums:0", "sums:1", "sums:2", "options:0", "options:1"]
    assert asked["domain"].unique(maintain_order=True).to_list() == ["sums", "options"]
    assert evaluated(registry, student, asked).height == 5
    assert questions(registry, tasks, "everything").height == 2 * DOCUMENTS


def test_an_edited_data_file_is_noticed(
    registry: Registry, student: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets.config
    from local_tasks import write_tasks

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    own = write_tasks(tmp_path)
    asked = questions(registry, own, "sums", count=2)
    data = own / "data.jsonl"
    data.write_text(data.read_text().replace("+", "-", 1))
    with pytest.raises(InputError, match="document 0 isn't what it was"):
        evaluated(registry, student, asked)


def test_stop_strings_cut_behind_the_reasoning() -> None:
    how = Generation(0.0, 1.0, 99, ("\n\n", "Q:"), "</think>")
    text = "<think>a\n\nb Q: c</think>\n\nso 12\n\nQ: more"
    ends = list(range(1, len(text) + 1))
    answer = written(text, ends, "length", how)
    assert answer.text == "<think>a\n\nb Q: c</think>\n\nso 12"
    assert answer.finish_reason == "stop"
    assert answer.tokens == len(answer.text)
    assert visible(answer.text, how) == visible(text, how) == "so 12"
    assert written("so 12", [2, 5, 5], "stop", how).tokens == 3

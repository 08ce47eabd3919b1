"""Stage ``questions``: splits, system prompt, ids, rows set aside, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.stage_run import ListConsole, make_recipe, make_registry, run_recipe

from dasd.api import (
    QUESTIONS,
    BadRow,
    LoadedFile,
    LoadedQuestions,
    QuestionRows,
    QuestionSource,
    SetAside,
)
from dasd.base.records import Message
from dasd.errors import InputError, PluginError
from dasd.evaluation.verifiers.number import NumberVerifier
from dasd.pipeline.plan.questions import read_questions
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.work.context_room import Prompts, unanswerable
from dasd.recipe.question_settings import QuestionsSettings
from dasd.store import Run


def write(path: Path, rows: Sequence[object]) -> dict[str, Any]:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return {"source": "file", "options": {"path": str(path)}}


def questions(tmp_path: Path, **section: Any) -> tuple[pl.DataFrame, dict[str, Any], ListConsole]:
    console = ListConsole()
    run = run_recipe(tmp_path / "run", "questions", console, questions=section)
    return run.frame("questions").collect(), dict(run.summary("questions")), console


def test_the_system_prompt_goes_before_conversations_without_one(tmp_path: Path) -> None:
    own = [{"role": "system", "content": "own"}, {"role": "user", "content": "b"}]
    source = write(tmp_path / "q.jsonl", [{"question": "a"}, {"messages": own}])
    rows, _, _ = questions(tmp_path, train=[source], eval=[], system_prompt="be kind")
    systems = [cell[0] for cell in rows["messages"]]
    assert [turn["content"] for turn in systems] == ["be kind", "own"]
    bare, _, _ = questions(tmp_path, train=[source], eval=[], system_prompt=None)
    assert bare["messages"][0].to_list() == [{"role": "user", "content": "a"}]
    assert bare["question_id"].to_list() == rows["question_id"].to_list()


def test_evaluation_questions_leave_training_and_clashing_ids_are_told_apart(tmp_path: Path) -> None:
    train = write(tmp_path / "t.jsonl", [{"id": 1, "question": "a"}, {"id": 2, "question": "b"}])
    more = write(tmp_path / "m.jsonl", [{"id": 1, "question": "c"}, {"id": 9, "question": "b"}])
    held = write(tmp_path / "e.jsonl", [{"id": 1, "question": "a"}, {"id": 2, "question": "d"}])
    rows, summary, console = questions(tmp_path, train=[train, more], eval=[held])
    asked = {
        identifier: (cell[-1]["content"], split)
        for identifier, cell, split in rows.select("question_id", "messages", "split").iter_rows()
    }
    assert asked == {
        "2": ("b", "train"),
        "1": ("c", "train"),
        "eval:e:1": ("a", "eval"),
        "eval:e:2": ("d", "eval"),
    }
    dropped = {"exact_duplicate": 1, "evaluation_question": 1}
    assert (summary["dropped"], summary["renamed"]) == (dropped, 2)
    assert any("evaluation questions too" in text for text in console.warned)


def test_bad_rows_are_listed_in_a_file_and_counted_once(tmp_path: Path) -> None:
    source = write(tmp_path / "q.jsonl", [*({"question": f"q{n}"} for n in range(40)), '{"question": "to'])
    source["options"]["holdout"] = 0.3
    rows, summary, console = questions(tmp_path, train=[source], eval=[source])
    assert rows.height == 40
    assert summary["set_aside"] == 1
    assert len([text for text in console.warned if "q.jsonl" in text and "41" in text]) == 1
    listed = (tmp_path / "run" / "set-aside-questions.jsonl").read_text().splitlines()
    assert [json.loads(line)["row"] for line in listed] == [41]


class HalfBad:
    """A plugin's source: it uses what dasd.api gives, and its rows come from no file."""

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows:
        messages = [{"role": "user", "content": "a"}]
        row = ("1", messages, "general", None, None, "my table", split)
        rows = pl.DataFrame([row], schema=dict(QUESTIONS.columns), orient="row")
        return QuestionRows(
            rows,
            (SetAside("my table", (BadRow(2, "it has no question"),)),),
            {"1": "my table, row 1"},
            LoadedQuestions("my table", (LoadedFile("t", "0" * 64, 2),), "all", (("1", "first"),)),
        )


def test_a_plugin_sets_rows_aside(tmp_path: Path) -> None:
    registry = make_registry()
    registry.questions("half-bad", HalfBad)
    recipe = make_recipe(questions={"train": [{"source": "half-bad"}], "eval": []})
    console = ListConsole()
    run = Pipeline(recipe, registry, console=console).run(tmp_path / "run", until="questions")
    assert run.frame("questions").collect().height == 1
    assert [text for text in console.warned if "my table: 1 rows set aside" in text]
    listed = json.loads((tmp_path / "run" / "set-aside-questions.jsonl").read_text())
    assert listed == {"file": "my table", "row": 2, "reason": "it has no question"}
    assert run.frame("places").collect().rows() == [("1", "my table, row 1")]
    read = json.loads((tmp_path / "run" / "question-sources.jsonl").read_text())
    assert (read["selection"], read["questions"]) == ("all", [{"id": "1", "remark": "first"}])


def test_refusals(tmp_path: Path) -> None:
    source = write(tmp_path / "q.jsonl", [{"question": "a"}])
    with pytest.raises(InputError, match="holdout"):
        questions(tmp_path, train=[source], eval=[source])
    source["options"]["holdout"] = 0.001
    with pytest.raises(InputError, match=r"questions\.eval"):
        questions(tmp_path, train=[source], eval=[source])
    missing = {"source": "file", "options": {"path": str(tmp_path / "none.jsonl")}}
    with pytest.raises(InputError, match=r"none\.jsonl"):
        questions(tmp_path, train=[missing], eval=[])
    unknown = write(tmp_path / "v.jsonl", [{"question": "a", "answer": "1", "verifier": "mth:x"}])
    with pytest.raises(PluginError, match="math"):
        questions(tmp_path, train=[unknown], eval=[])


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    source = write(tmp_path / "q.jsonl", [{"question": "a"}])
    first, _, _ = questions(tmp_path, train=[source], eval=[])
    write(tmp_path / "q.jsonl", [{"question": "a"}, {"question": "b"}])
    second, _, _ = questions(tmp_path, train=[source], eval=[])
    assert (first.height, second.height) == (1, 2)


def test_every_key_of_the_section_has_a_description() -> None:
    assert all(field.description for field in QuestionsSettings.model_fields.values())


def test_bad_rows_of_any_kind_are_set_aside(tmp_path: Path) -> None:
    good = [{"question": f"What is {n} and {n}?", "answer": str(n), "verifier": "number"} for n in range(6)]
    bad = [
        {"question": "a?", "answer": "1", "verifier": "mth"},
        {"question": "b?", "answer": "many", "verifier": "number"},
        '{"question": "half \\ud800 a pair"}',
        '{"question": "c?", "answer": "\\ud800"}',
        {"messages": [{"role": "user", "content": " "}]},
    ]
    source = write(tmp_path / "q.jsonl", [*good, *bad])
    held = write(tmp_path / "held.jsonl", [{"question": "d?", "answer": "4"}, {"question": "e?"}])
    registry = make_registry()
    registry.verifier("number", NumberVerifier)
    registry.evaluator("grader", lambda _: None, grades_by_verifier=True)  # type: ignore[arg-type,return-value]
    console = ListConsole()
    changes = {"questions": {"train": [source], "eval": [held]}, "evaluation": {"evaluator": "grader"}}
    run = Pipeline(make_recipe(**changes), registry, console=console).run(tmp_path / "run", until="questions")
    assert run.frame("questions").collect()["split"].to_list() == ["train"] * 6 + ["eval"]
    dropped = {"unknown_verifier": 1, "unreadable_answer": 2}
    assert (run.summary("questions")["dropped"], run.summary("questions")["set_aside"]) == (dropped, 3)
    aside = run.frame("set_aside").collect()
    assert aside["place"].to_list() == ["q.jsonl, row 7", "q.jsonl, row 8", "held.jsonl, row 2"]
    assert "'many' is no number" in aside["detail"][1]
    assert any("held is NOT WHOLE: 1 of its questions" in text for text in console.warned)
    listed = [
        json.loads(x) for x in (tmp_path / "run" / "set-aside-questions.jsonl").read_text().splitlines()
    ]
    assert [line["row"] for line in listed if "row" in line] == [9, 10, 11]
    assert "half of a surrogate pair" in listed[0]["reason"]

    every = write(tmp_path / "every.jsonl", [{"question": "a?", "answer": "many", "verifier": "number"}])
    recipe = make_recipe(questions={"train": [source, every], "eval": []})
    with pytest.raises(InputError, match=r"every\.jsonl, row 1\): verifier 'number': .* is no number"):
        Pipeline(recipe, registry).run(tmp_path / "other", until="questions")


def test_questions_without_room_for_an_answer_are_set_aside(tmp_path: Path) -> None:
    long = " + ".join("7" * 300) + " = ?"
    train = write(tmp_path / "t.jsonl", [{"question": "1 + 2 = ?"}, {"question": long}])
    turns = [{"role": "user", "content": "1 + 1 = ?"}, {"role": "user", "content": "2 + 2 = ?"}]
    held = write(
        tmp_path / "h.jsonl",
        [{"question": "1 + 3 = ?"}, {"question": long.replace("7", "8")}, {"messages": turns}],
    )
    section = {"train": [train], "eval": [held]}
    rows, summary, console = questions(tmp_path, **section)
    assert [cell[-1]["content"] for cell in rows["messages"]][:2] == ["1 + 2 = ?", "1 + 3 = ?"]
    assert summary["dropped"] == {"no_room": 2}
    aside = Run.open(tmp_path / "run").frame("set_aside").collect()
    assert "of the teacher's context of 512: no room for an answer of 128" in aside["detail"][0]
    assert "of the student's context of 512" in aside["detail"][1]
    assert any("h is NOT WHOLE: 1 of its questions" in text for text in console.warned)
    facts, findings = read_questions(make_recipe(questions=section), make_registry())
    assert (facts.train.expected, facts.evaluation.expected) == (1, 2)
    assert any("too long for a model's context" in finding.text for finding in findings)
    none = write(tmp_path / "n.jsonl", [{"question": long}])
    with pytest.raises(InputError, match=r"none of the 1 questions of 'n' can be asked; .*n\.jsonl, row 1"):
        questions(tmp_path, train=[none], eval=[])


def test_a_conversation_that_a_template_refuses_is_set_aside() -> None:
    def count(conversations: Sequence[Sequence[Message]]) -> list[int]:
        if any(first.role == then.role for chat in conversations for first, then in pairwise(chat)):
            raise InputError("its chat template refuses a conversation of roles user, user; change it")
        return [8] * len(conversations)

    one, two = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    frame = pl.DataFrame({"messages": [[one], [one, one], [one, two, one]]})
    long, refused = unanswerable(frame, "teacher", Prompts(100_000, count), 10)
    assert (long, refused) == ({}, {1: "its chat template refuses a conversation of roles user, user"})

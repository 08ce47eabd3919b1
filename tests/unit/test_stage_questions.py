"""Stage ``questions``: splits, system prompt, ids, rows set aside, refusals."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.stage_run import ListConsole, make_recipe, make_registry, run_recipe

from dasd.api import QUESTIONS, BadRow, QuestionSource, RowsSetAside
from dasd.errors import InputError, PluginError
from dasd.pipeline import Pipeline
from dasd.settings import QuestionsSettings


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

    def load(self, source: QuestionSource, split: str, seed: int) -> pl.DataFrame:
        warnings.warn(RowsSetAside("my table", [BadRow(2, "it has no question")]), stacklevel=2)
        messages = [{"role": "user", "content": "a"}]
        row = ("1", messages, "general", None, None, "my table", split)
        return pl.DataFrame([row], schema=dict(QUESTIONS.columns), orient="row")


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

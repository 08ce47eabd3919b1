"""What the other components return is checked: rows, ranks, verdicts, questions, grades, files."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import polars as pl
import pytest
from tests.canned_teacher import (
    Canned,
    Options,
    frame,
    registry,
    row,
)

from dasd.base.records import (
    BadRow,
    EvalSpec,
    Grade,
    LoadedQuestions,
    QuestionRows,
    RowsSetAside,
    SetAside,
)
from dasd.base.schemas import EVAL, QUESTIONS
from dasd.errors import RecipeError, SchemaError
from dasd.plugins.exports import Exported, ExportedFile
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.question_settings import QuestionSource


def test_an_evaluators_rows_are_checked() -> None:
    class Wrong:
        def evaluate(self, model: Any, questions: pl.DataFrame, spec: EvalSpec) -> Iterator[pl.DataFrame]:
            yield EVAL.empty().drop("correct")

    made = registry()
    made.evaluator("wrong", lambda _: Wrong())
    spec = EvalSpec("b", 1, 1.0, 1.0, 8, 0, 1, lambda _: None)
    with pytest.raises(SchemaError, match=r"evaluator 'wrong' \(plugin dasd-canned\).*correct"):
        list(made.make_evaluator("wrong").evaluate(Canned(), QUESTIONS.empty(), spec))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"finish_reason": "banana"},
            "attempt 0 at question x with finish_reason 'banana'; wanted stop or length",
        ),
        ({"seconds": math.nan}, "with seconds nan; wanted a finite number of at least 0"),
        ({"seconds": -5.0}, r"with seconds -5\.0; wanted a finite"),
    ],
)
def test_an_evaluators_values_are_checked(values: dict[str, Any], words: str) -> None:
    good = {"benchmark": "b", "question_id": "x", "attempt": 0, "text": "t", "correct": True}
    rows = pl.DataFrame(
        [{**good, "finish_reason": "stop", "tokens": 1, "seconds": 0.5, **values}], schema=dict(EVAL.columns)
    )
    made = registry()
    made.evaluator("odd", lambda _: SimpleNamespace(evaluate=lambda *_: iter([rows])))
    spec = EvalSpec("b", 1, 1.0, 1.0, 8, 0, 1, lambda _: None)
    asked = question([{"role": "user", "content": "hi"}])
    with pytest.raises(SchemaError, match=words):
        list(made.make_evaluator("odd").evaluate(Canned(), asked, spec))


@pytest.mark.parametrize(
    "ranks", [pl.Series([1.0]), pl.Series([1, 2]), [1.0, 2.0]], ids=["too few", "integers", "a list"]
)
def test_a_selectors_ranks_are_checked(ranks: Any) -> None:
    class Wrong:
        needs_student = False

        def rank(self, candidates: pl.DataFrame, student: Any) -> Any:
            return ranks

    made = registry()
    made.selector("wrong", lambda _, __: Wrong())
    selector = made.make_selector(SelectSettings(selector="wrong"), 0)
    with pytest.raises(SchemaError, match="wanted a series of 2 Float64"):
        selector.rank(pl.DataFrame({"sample_id": ["a", "b"]}), None)


def test_a_filter_judges_every_response() -> None:
    class Wrong:
        def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
            return pl.DataFrame({"kept": [True], "reason": [""], "detail": [""]})

    made = registry()
    made.filter("wrong", lambda _, __: Wrong())
    judge = made.make_filter("wrong", FilterSettings(), 10).judge
    assert judge(frame(row("a"))).height == 1
    with pytest.raises(SchemaError, match="judged 1 of 2"):
        judge(frame(row("a"), row("b")))


def test_a_sources_options_and_split_are_checked() -> None:
    class Wrong:
        def load(self, source: QuestionSource, split: str, seed: int) -> pl.DataFrame:
            assert source.options == {"size": 3}
            values = {name: "x" for name in QUESTIONS.columns if name != "messages"}
            return pl.DataFrame(
                [{**values, "messages": [{"role": "user", "content": "hi"}], "split": "eval"}],
                schema=dict(QUESTIONS.columns),
            )

    made = registry()
    made.questions("wrong", Wrong, options=Options)
    questions = made.make_questions("wrong")
    assert questions.load(QuestionSource(source="wrong"), "eval", 0).rows.height == 1
    with pytest.raises(SchemaError, match="split 'eval'; wanted 'train'"):
        questions.load(QuestionSource(source="wrong"), "train", 0)
    with pytest.raises(RecipeError, match="did you mean 'size'"):
        questions.load(QuestionSource(source="wrong", options={"siez": 1}), "eval", 0)


ROWS = QUESTIONS.empty()


def question(messages: list[Any]) -> pl.DataFrame:
    values = dict.fromkeys(QUESTIONS.columns, "x")
    return pl.DataFrame([{**values, "split": "eval", "messages": messages}], schema=dict(QUESTIONS.columns))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (QuestionRows(ROWS, loaded="a file"), "'a file' as `loaded`: Input should be"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, loaded=LoadedQuestions("s", None, "", ())), r"None as `loaded\.files`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, loaded=LoadedQuestions("s", ("f",), "", ())), r"'f' as `loaded\.files\.0`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, places=["a"]), r"\['a'\] as `places`: Input should be a valid dictionary"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, places={"q": 5}), r"5 as `places\.q`: Input should be a valid string"),  # type: ignore[dict-item]
        (QuestionRows(ROWS, places={"q": "\ud800"}), "what can't be written .*wanted text"),
        (QuestionRows(ROWS, [BadRow(1, "x")]), "as `set_aside`: Input should be a valid tuple"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (BadRow(1, "x"),)), r"as `set_aside\.0`: Input should be .*SetAside"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", None),)), r"None as `set_aside\.0\.rows`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", [BadRow(1, "x")]),)), r"as `set_aside\.0\.rows`: .*tuple"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", (7,)),)), r"7 as `set_aside\.0\.rows\.0`: .*BadRow"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", (BadRow("x", "x"),)),)), r"'x' as `set_aside\.0\.rows\.0\.row`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside(7, ()),)), r"7 as `set_aside\.0\.path`"),  # type: ignore[arg-type]
        (QuestionRows(ROWS, (SetAside("f", (BadRow(1, "\ud800"),)),)), "what can't be written"),
        (question([]), "question 'x' with no messages"),
        (question([None]), "one that lacks role or content"),
        (question([{"role": None, "content": "hi"}]), "one that lacks role or content"),
        (question([{"role": "user", "content": None}]), "one that lacks role or content"),
        (QuestionRows([1]), "returned a list"),  # type: ignore[arg-type]
        (None, "returned a NoneType"),
    ],
)
def test_what_a_source_says_of_its_rows_is_of_its_types(given: Any, words: str) -> None:
    made = registry()
    made.questions("odd", lambda: SimpleNamespace(load=lambda *_: given))
    with pytest.raises(SchemaError, match=words):
        made.make_questions("odd").load(QuestionSource(source="odd"), "eval", 0)


def test_a_source_that_returns_a_frame_alone_still_works() -> None:
    """As sources did before there was QuestionRows: a warning for bad rows, attributes for the rest."""
    read = LoadedQuestions("old", (), "", ())

    class Old:
        loaded = read
        places = MappingProxyType({"1": "row 1"})

        def load(self, source: QuestionSource, split: str, seed: int) -> pl.DataFrame:
            warnings.warn(RowsSetAside("old.csv", [BadRow(2, "empty")]), stacklevel=2)
            warnings.warn("something else", UserWarning, stacklevel=2)
            return ROWS

    made = registry()
    made.questions("old", Old)
    made.questions("plain", lambda: SimpleNamespace(load=lambda *_: ROWS))
    with pytest.warns(UserWarning, match="something else") as caught:
        found = made.make_questions("old").load(QuestionSource(source="old"), "eval", 0)
    assert len(caught) == 1
    assert found.set_aside == (SetAside("old.csv", (BadRow(2, "empty"),)),)
    assert (found.places, found.loaded) == ({"1": "row 1"}, read)
    plain = made.make_questions("plain").load(QuestionSource(source="plain"), "eval", 0)
    assert (plain.set_aside, plain.places, plain.loaded) == ((), {}, None)


def test_a_verifier_returns_a_grade() -> None:
    class Wrong:
        def grade(self, response: str, answer: str, argument: str) -> Any:
            return True

    made = registry()
    made.verifier("wrong", Wrong)
    with pytest.raises(SchemaError, match="returned a bool; wanted a Grade"):
        made.make_verifier("wrong").grade("1", "1", "")


@pytest.mark.parametrize(
    ("grade", "words"),
    [
        (Grade("no", None), r"correct='no' \(str\); wanted bool"),  # type: ignore[arg-type]
        (Grade(1.0, None), r"correct=1\.0 \(float\); wanted bool"),  # type: ignore[arg-type]
        (Grade(True, 7), r"extracted=7 \(int\); wanted str or NoneType"),  # type: ignore[arg-type]
        (Grade(False, None, b"x"), r"failure=b'x' \(bytes\); wanted str"),  # type: ignore[arg-type]
    ],
)
def test_a_grades_values_are_of_its_types(grade: Grade, words: str) -> None:
    class Wrong:
        def grade(self, response: str, answer: str, argument: str) -> Grade:
            return grade

    made = registry()
    made.verifier("wrong", Wrong)
    with pytest.raises(
        SchemaError, match=r"verifier 'wrong' \(plugin dasd-canned\) returned a Grade with " + words
    ):
        made.make_verifier("wrong").grade_many([("1", "1", "")])


@pytest.mark.parametrize("name", ["../outside.jsonl", "/etc/hostname", "link.jsonl"])
def test_an_exporter_names_files_of_its_own(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside.jsonl").write_text("{}")
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")

    class Wrong:
        def export(self, run: Any, directory: Path) -> Exported:
            return Exported((ExportedFile(name, "low", 1),), ())

    made = registry()
    made.exporter("wrong", lambda _: Wrong())
    run = SimpleNamespace(stages=[SimpleNamespace(name="low")])
    with pytest.raises(SchemaError, match=r"exporter 'wrong'.*wanted a file of its own below"):
        made.make_exporter("wrong", {}).export(run, tmp_path / "export")  # type: ignore[arg-type]

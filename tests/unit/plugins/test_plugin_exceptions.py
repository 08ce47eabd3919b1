"""An exception of a plugin names it; others' pass."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from tests.canned_teacher import (
    MESSAGES,
    SPEC,
    Canned,
    frame,
    registry,
    row,
    settings,
)

from dasd.base.records import (
    EvalSpec,
    ModelInfo,
    SampleRequest,
)
from dasd.base.schemas import EVAL, QUESTIONS
from dasd.errors import ComponentError
from dasd.plugins.registry import Registry
from dasd.recipe.curation_settings import FilterSettings, SelectSettings
from dasd.recipe.executor_settings import ExecutorSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.training_settings import TrainerSettings


class Broken:
    """Every method of every role raises, the streaming ones after their first frame."""

    needs_student = False

    def __init__(self, *_: object) -> None:
        self.info = ModelInfo("m", "r", "t", "broken", "1", "raw", 99)

    def sample(self, requests: Any, spec: Any) -> Iterator[pl.DataFrame]:
        yield frame(row("a"))
        raise KeyError("lost")

    def evaluate(self, *_: object) -> Iterator[pl.DataFrame]:
        yield EVAL.empty()
        raise KeyError("lost")

    def _fail(self, *_: object, **__: object) -> Any:
        raise KeyError("lost")

    continue_ = score = close = train = rank = judge = load = grade = export = open = _fail


USES: dict[str, Any] = {
    "teacher": lambda made: list(
        made.make_teacher(settings(backend="broken")).sample([SampleRequest("a", "q", MESSAGES, 0, 0)], SPEC)
    ),
    "trainer": lambda made: made.make_trainer(TrainerSettings(trainer="broken")).train([], None, False),
    "evaluator": lambda made: list(
        made.make_evaluator("broken").evaluate(
            Canned(), QUESTIONS.empty(), EvalSpec("b", 1, 1.0, 1.0, 8, 0, 1, lambda _: None)
        )
    ),
    "selector": lambda made: made.make_selector(SelectSettings(selector="broken"), 0).rank(frame(), None),
    "filter": lambda made: made.make_filter("broken", FilterSettings(), 9).judge(frame()),
    "questions": lambda made: made.make_questions("broken").load(QuestionSource(source="broken"), "eval", 0),
    "verifier": lambda made: made.make_verifier("broken").grade_many([("", "", "")]),
    "executor": lambda made: made.make_executor(ExecutorSettings(executor="broken")).open(settings(), None),
    "exporter": lambda made: made.make_exporter("broken", {}).export(None, None),
}


@pytest.mark.parametrize("role", list(USES))
def test_an_exception_of_a_plugin_names_it(role: str) -> None:
    made = registry()
    getattr(made, role)("broken", Broken)
    with pytest.raises(ComponentError) as caught:
        USES[role](made)
    assert caught.value.exit_code == 1 and isinstance(caught.value.__cause__, KeyError)
    message = str(caught.value)
    assert f"{role} 'broken' (plugin dasd-canned) failed: KeyError: 'lost' ({__file__}, line " in message
    assert "update plugin dasd-canned 2.0" in message
    # dasd's own are for its developers: as they are.
    own = Registry()
    getattr(own, role)("broken", Broken)
    with pytest.raises(KeyError):
        USES[role](own)


def test_whoever_takes_a_frame_is_not_blamed_on_its_maker() -> None:
    made = registry()
    made.teacher("broken", Broken)
    rows = made.make_teacher(settings(backend="broken")).sample(
        [SampleRequest("a", "q", MESSAGES, 0, 0)], SPEC
    )
    with pytest.raises(ZeroDivisionError):
        for _ in rows:
            1 / 0  # noqa: B018

"""The evaluator ``verifier``: every attempt sampled with its own seed, graded, kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
import torch
from tests.tiny_models import TOKENIZERS, save_llama

from dasd.base.records import EvalSpec, SampleRequest, SamplingSpec
from dasd.base.schemas import EVAL, QUESTIONS, check
from dasd.errors import BackendError, InputError, PluginError
from dasd.evaluation.builtin import dasd_register as register_evaluators
from dasd.evaluation.verifiers import dasd_register as register_verifiers
from dasd.models.transformers.builtin import dasd_register as register_backends
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = Registry()
    for register in (register_backends, register_evaluators, register_verifiers):
        register(made)
    return made


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    return save_llama(tmp_path_factory.mktemp("student"), TOKENIZERS["characters"]())


def questions(verifier: str | None = "exact", answer: str | None = "9") -> pl.DataFrame:
    return pl.DataFrame(
        [
            (f"q{i}", [{"role": "user", "content": f"{i} + 4?"}], "sums", answer, verifier, "own", "eval")
            for i in range(3)
        ],
        schema=dict(QUESTIONS.columns),
        orient="row",
    )


def spec(finished: list[int] | None = None, attempts: int = 4, seed: int = 1) -> EvalSpec:
    on_rows = (finished if finished is not None else []).append
    return EvalSpec("sums", attempts, 1.0, 1.0, 12, seed, 2, on_rows)


def test_every_attempt_is_a_row(registry: Registry, settings: ModelSettings) -> None:
    evaluator, model = registry.make_evaluator("verifier"), registry.make_teacher(settings)
    finished: list[int] = []
    frames = list(evaluator.evaluate(model, questions(), spec(finished)))
    assert [frame.height for frame in frames] == finished == [2] * 6, "engine's batches of 4, frames of 2"
    rows = check(pl.concat(frames), EVAL, "evaluator")
    assert sorted(rows.select("question_id", "attempt").rows()) == [
        (f"q{i}", a) for i in range(3) for a in range(4)
    ]
    assert rows["text"].n_unique() > 6
    assert rows["seconds"].min() > 0
    assert set(rows["finish_reason"]) <= {"stop", "length"}
    assert rows["tokens"].is_between(1, 12).all()
    again = pl.concat(list(evaluator.evaluate(model, questions(), spec())))
    assert again.drop("seconds").equals(rows.drop("seconds"))
    other = pl.concat(list(evaluator.evaluate(model, questions(), spec(seed=2))))
    assert not other["text"].equals(rows["text"])


def test_an_attempt_doesn_t_depend_on_how_many_there_are(registry: Registry, settings: ModelSettings) -> None:
    evaluator, model = registry.make_evaluator("verifier"), registry.make_teacher(settings)
    many = pl.concat(list(evaluator.evaluate(model, questions(), spec(attempts=3))))
    one = pl.concat(list(evaluator.evaluate(model, questions()[1:2], spec(attempts=1))))
    wanted = many.filter((pl.col("question_id") == "q1") & (pl.col("attempt") == 0))
    assert one["text"].to_list() == wanted["text"].to_list()


def test_answers_are_graded_by_the_question_s_verifier(registry: Registry, settings: ModelSettings) -> None:
    evaluator, model = registry.make_evaluator("verifier"), registry.make_teacher(settings)
    before = pl.concat(list(evaluator.evaluate(model, questions(), spec())))
    right = before.filter(pl.col("text").str.strip_chars().str.len_chars() > 0).row(0, named=True)
    asked = questions(answer=right["text"].strip())
    rows = pl.concat(list(evaluator.evaluate(model, asked, spec())))
    graded = rows.filter(pl.col("correct"))
    assert (right["question_id"], right["attempt"]) in graded.select("question_id", "attempt").rows()
    assert set(graded["extracted"]) == {right["text"].strip()}
    assert 0 < graded.height < rows.height


@pytest.mark.parametrize(
    ("verifier", "answer", "missing"), [(None, "9", "verifier"), ("exact", None, "answer")]
)
def test_a_question_that_can_t_be_graded_is_named(
    registry: Registry, settings: ModelSettings, verifier: str | None, answer: str | None, missing: str
) -> None:
    model = registry.make_teacher(settings)
    with pytest.raises(InputError, match=f"sums: question q0 has no {missing}"):
        list(registry.make_evaluator("verifier").evaluate(model, questions(verifier, answer), spec()))


def test_an_unknown_verifier(registry: Registry, settings: ModelSettings) -> None:
    model = registry.make_teacher(settings)
    with pytest.raises(PluginError, match="did you mean 'exact'"):
        list(registry.make_evaluator("verifier").evaluate(model, questions("exakt"), spec()))


class Forgetful:
    """An engine that loses the last request."""

    def __init__(self, model: object) -> None:
        self.model = model

    def __getattr__(self, name: str) -> object:
        return getattr(self.model, name)

    def sample(self, requests: Sequence[SampleRequest], how: SamplingSpec) -> Iterator[pl.DataFrame]:
        yield from self.model.sample(requests[:-1], how)  # type: ignore[attr-defined]


def test_an_answer_that_never_comes(registry: Registry, settings: ModelSettings) -> None:
    from dasd.evaluation.verifier_evaluator import VerifierEvaluator

    model = Forgetful(registry.make_teacher(settings))
    with pytest.raises(BackendError, match=r"left out 1 of 12 answers, e.g. to question q2"):
        list(VerifierEvaluator(registry).evaluate(model, questions(), spec()))  # type: ignore[arg-type]


def test_the_bundled_teacher_is_right(registry: Registry) -> None:
    from dasd.models.miniature.world import questions as drawn

    settings = ModelSettings(model="dasd:mini-teacher", precision="fp32", batch_size=64)
    asked = pl.DataFrame(
        [
            (f"q{i}", [{"role": "user", "content": q.question}], "sums", q.answer, "miniature", "m", "eval")
            for i, q in enumerate(drawn(60, 3, "eval"))
        ],
        schema=dict(QUESTIONS.columns),
        orient="row",
    )
    how = dataclasses.replace(spec(attempts=2), max_tokens=200, batch_size=64)
    rows = pl.concat(
        list(registry.make_evaluator("verifier").evaluate(registry.make_teacher(settings), asked, how))
    )
    assert rows["correct"].mean() > 0.8
    assert set(rows["finish_reason"]) == {"stop"}


def test_wrong_options_of_the_backend(registry: Registry, settings: ModelSettings) -> None:
    from dasd.errors import RecipeError

    wrong = settings.model_copy(update={"options": {"attentoin": "sdpa"}})
    with pytest.raises(RecipeError, match="attentoin"):
        registry.make_teacher(wrong)


def test_a_missing_directory(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such directory"):
        registry.make_teacher(ModelSettings(model=str(tmp_path / "none")))

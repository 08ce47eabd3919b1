"""One way to ask the source and the evaluator, shared by the tests; and lm_eval's own way."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from dasd.api import EVAL, EvalSpec, QuestionSource, Teacher, resolve_model
from dasd.plugins.registry import Registry


def questions(
    registry: Registry, tasks: Path, task: str, *, count: int | None = None, **options: Any
) -> pl.DataFrame:
    source = QuestionSource(
        source="lm-eval", count=count, options={"task": task, "include_path": str(tasks), **options}
    )
    return registry.make_questions("lm-eval").load(source, "eval", 0).rows


def evaluated(
    registry: Registry,
    model: Teacher,
    asked: pl.DataFrame,
    *,
    attempts: int = 1,
    seed: int = 1,
    max_tokens: int = 120,
    done: Iterable[tuple[str, int]] = (),
) -> pl.DataFrame:
    told: list[int] = []
    spec = EvalSpec(
        "sums",
        attempts,
        1.0,
        1.0,
        max_tokens,
        seed,
        8,
        on_rows=told.append,
        on_failure=_fail,
        done=frozenset(done),
    )
    frames = list(registry.make_evaluator("lm-eval").evaluate(model, asked, spec))
    rows = pl.concat([EVAL.empty(), *frames])
    assert sum(told) == rows.height
    return rows.sort(
        pl.col("question_id").str.split(":").list.last().cast(pl.Int64), "question_id", "attempt"
    )


def _fail(reason: str) -> None:
    raise AssertionError(f"an answer could not be graded: {reason}")


@lru_cache(maxsize=1)
def _own_model() -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(
        pretrained=str(resolve_model("dasd:mini-student")),
        device="cpu",
        dtype="float32",
        batch_size=12,
        think_end_token="</think>",
    )


def own_results(tasks: Path, task: str) -> dict[str, Any]:
    """What lm_eval's model ``hf`` gets on the same checkpoint, with its chat template."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    return simple_evaluate(
        model=_own_model(),
        tasks=[task],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
    )

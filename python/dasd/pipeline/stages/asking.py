"""Which training questions each off-policy stage asks: the recipe's, or those of sources of its own.

A question that several stages ask is one question; what sets questions aside looks at all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from dasd.base.schemas import ASKED
from dasd.errors import InputError
from dasd.pipeline.stages.question_checks import contents
from dasd.pipeline.stages.quotas import unknown_domains
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import OffPolicyStage

__all__ = ["COMMON", "asked", "check_asked", "has_own", "merged", "pools"]

COMMON = ""
"""Stands for ``questions.train`` among the pools; the others go by their stages' names."""


def has_own(settings: RecipeSettings) -> bool:
    """Whether any stage has sources of its own, so that frame ``asked`` tells who asks what."""
    return any(stage.sources for stage in _off_policy(settings))


def pools(settings: RecipeSettings) -> dict[str, tuple[QuestionSource, ...]]:
    """Sources of training questions: the recipe's, then those of each stage that has its own."""
    own = {stage.name: stage.sources for stage in _off_policy(settings) if stage.sources}
    return {COMMON: settings.questions.train, **own}


def merged(questions: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """All pools' questions, one that several hold once, as the first has it."""
    rows = pl.concat(list(questions.values()))
    content = pl.Series(contents(rows), dtype=pl.String)
    return rows.filter(content.is_first_distinct())


def asked(settings: RecipeSettings, read: Mapping[str, pl.DataFrame], train: pl.DataFrame) -> pl.DataFrame:
    """ASKED rows. ``read``: questions of each pool; ``train``: those that are left of all, under their final ids."""
    ids = dict(zip(contents(train), train.get_column("question_id"), strict=True))
    of_pool = {
        name: [ids[content] for content in contents(rows) if content in ids] for name, rows in read.items()
    }
    rows = [
        (stage.name, question)
        for stage in _off_policy(settings)
        for question in of_pool[stage.name if stage.sources else COMMON]
    ]
    return pl.DataFrame(rows, schema=dict(ASKED.columns), orient="row")


def check_asked(settings: RecipeSettings, rows: pl.DataFrame, train: pl.DataFrame) -> None:
    """InputError for a stage without a question, and for a domain in ``shares`` that none of its questions has."""
    domains = rows.join(train.select("question_id", "domain"), on="question_id")
    for index, stage in enumerate(settings.stages):
        if not isinstance(stage, OffPolicyStage):
            continue
        there = domains.filter(pl.col("stage") == stage.name).get_column("domain").unique().to_list()
        if stage.sources and not there:
            raise InputError(
                f"stages.{index}.sources: they hold no question that isn't set aside; wanted at least one"
            )
        unknown = unknown_domains(stage, there)
        if unknown:
            raise InputError("\n".join(f"stages.{index}.{text}" for text in unknown))


def _off_policy(settings: RecipeSettings) -> Sequence[OffPolicyStage]:
    return [stage for stage in settings.stages if isinstance(stage, OffPolicyStage)]

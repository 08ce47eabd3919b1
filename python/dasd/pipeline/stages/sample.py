"""Stage ``sample``: the teacher answers every question, several times, at one temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.base.records import SampleRequest, SamplingSpec
from dasd.models.files import model_identity
from dasd.pipeline.stages import quotas
from dasd.pipeline.work import fingerprints
from dasd.pipeline.work.feeding import asking_for, generate
from dasd.pipeline.work.opened_teacher import check_opened
from dasd.pipeline.work.requests import unit_requests
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import Unit, share, units
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.plugins.roles import OpenedTeacher

__all__ = ["SampleStage", "samples_summary"]


@dataclass(frozen=True, slots=True)
class SampleStage:
    """Writes SAMPLES of the teacher.

    ``bounds``: at most so many questions of each domain, or of all together, drawn by the seed; see ``quotas``.
    """

    recipe: Recipe
    registry: Registry
    name: str
    split: str
    temperature: float
    top_p: float
    candidates: int
    max_tokens: int
    bounds: Mapping[str, int] | None = None
    asks: str | None = None
    """Name of the training whose questions they are, by frame ASKED; None: all of the split."""
    kind: str = field(default="sample", init=False)
    frame: ClassVar[str] = "samples"
    passes_on: ClassVar[str | None] = "responses"
    needs: tuple[str, ...] = field(default=("questions",), init=False)

    def settings(self) -> Mapping[str, JsonValue]:
        """The teacher, its sampling, and the size of a unit of work."""
        return {
            "teacher": fingerprints.engine_settings(self.recipe.settings.teacher, self.registry),
            "split": self.split,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "candidates": self.candidates,
            "bounds": None if self.bounds is None else dict(self.bounds),
            "max_tokens": self.max_tokens,
            "chunk": self.recipe.settings.sampling.chunk,
            "seed": self.recipe.settings.seed,
        }

    def run(self, context: StageContext) -> None:
        """Sample, ``sampling.chunk`` requests a unit."""
        settings = self.recipe.settings
        asked = self._asked(context)
        questions = context.inputs.rows("questions", "questions").select(["question_id", "messages"])
        model, total = model_identity(settings.teacher), len(asked) * self.candidates

        def requests(unit: Unit) -> Sequence[SampleRequest]:
            return unit_requests(
                unit, questions, asked, model, self.temperature, self.candidates, settings.seed
            )

        spec = SamplingSpec(self.name, self.temperature, self.top_p, self.max_tokens)

        def teacher() -> OpenedTeacher:
            opened = context.models.open(settings.teacher)
            # Only an open engine knows what a server gives.
            check_opened(self.registry, settings, opened.info)
            return opened

        generate(
            context,
            f"{self.name}: teacher at temperature {self.temperature:g}",
            asking_for(
                requests,
                units(total, settings.sampling.chunk),
                teacher,
                lambda opened, asked, on_refused: opened.sample(asked, replace(spec, on_refused=on_refused)),
            ),
            "samples",
        )
        context.writer.summarise({"questions": len(asked), **samples_summary(context.writer.read("samples"))})

    def _asked(self, context: StageContext) -> pl.Series:
        """Rows of the split's questions in their order; of more than there is room for, those with the lowest draws."""
        questions = context.inputs.frame("questions", "questions").select("question_id", "domain", "split")
        asked = questions.with_row_index("row").filter(pl.col("split") == self.split)
        if self.asks is not None:
            own = context.inputs.frame("questions", "asked").filter(pl.col("stage") == self.asks)
            asked = asked.join(own, on="question_id", how="semi", maintain_order="left")
        if self.bounds is None:
            return asked.select("row").collect(engine="streaming").to_series()
        rows = asked.collect()
        draws = quotas.draws(rows.get_column("question_id"), "question", self.recipe.settings.seed)
        drawable = rows.select("domain", draws)
        drawn = quotas.within(drawable, quotas.cutoffs([drawable], self.bounds))
        return rows.filter(drawn).get_column("row")


def samples_summary(samples: pl.LazyFrame) -> dict[str, JsonValue]:
    """Counts of SAMPLES rows: responses, tokens, share cut off, mode of the log-probabilities."""
    figures = samples.select(
        responses=pl.len(),
        tokens=pl.col("token_ids").list.len().sum(),
        cut_off=(pl.col("finish_reason") != "stop").sum(),
        without_logprobs=pl.col("logprobs").is_null().sum(),
        modes=pl.col("logprobs_mode").unique().sort().implode(),
    ).collect(engine="streaming")
    responses, tokens, cut_off, without, modes = figures.row(0)
    return {
        "responses": responses,
        "tokens": int(tokens or 0),
        "tokens_mean": share(int(tokens or 0), responses),
        "cut_off_share": share(cut_off, responses),
        "without_logprobs": without,
        "logprobs_modes": list(modes),
    }

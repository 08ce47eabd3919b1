"""Stage ``dedup``: duplicates among a question's responses.

They are looked for among the responses to the same question only. There they are wasted candidates, or
the same text trained on twice. Short responses to different questions of a procedural set share most of their
n-grams and still teach different things, so across questions exact duplicates are counted and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import polars as pl
from pydantic import JsonValue

from dasd import kernels
from dasd.base.frames import count_rows, kept_set, only
from dasd.pipeline.work.judging import reasons
from dasd.pipeline.work.question_groups import question_groups, resume_at
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.units import finish_rows, share, verdict_rows
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.curation_settings import DedupSettings

__all__ = ["DedupStage", "duplicates"]


@dataclass(frozen=True, slots=True)
class DedupStage:
    """Writes VERDICTS on the responses that the filters kept."""

    recipe: Recipe
    registry: Registry
    name: str
    samples: str
    filter: str
    """Stage whose verdicts say what the filters kept."""
    kind: str = field(default="dedup", init=False)
    frame: ClassVar[str] = "verdicts"
    passes_on: ClassVar[str | None] = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Samples and verdicts."""
        return (self.samples, self.filter)

    def settings(self) -> Mapping[str, JsonValue]:
        """The keys of section ``dedup`` that are about responses."""
        dedup = self.recipe.settings.dedup
        return {"dedup": dedup.model_dump(mode="json", include={"exact", "near", "threshold", "ngram"})}

    def run(self, context: StageContext) -> None:
        """Judge groups of whole questions; digests of done groups' texts wait in the scratch directory."""
        settings = self.recipe.settings.dedup
        samples = context.inputs.frame(self.samples, "samples")
        kept = kept_set(context.inputs.frame(self.filter, "verdicts"))
        total = count_rows(samples)
        start = resume_at(context.writer.done())
        scratch = context.writer.scratch()
        columns = samples.select("sample_id", "question_id", "text", "token_ids")
        with context.console.task(f"{self.name}: duplicates", total, "responses", completed=start) as task:
            for group in question_groups(columns, start):
                rows = only(group.rows, kept)
                _digests(rows).write_parquet(scratch / f"{group.unit.key}.parquet")
                verdicts = _verdicts(rows, settings, self.name)
                finish_rows(context, "verdicts", verdicts, group.unit)
                task.advance(group.unit.size)
        self._report(context, len(kept))

    def _report(self, context: StageContext, responses: int) -> None:
        verdicts = context.writer.read("verdicts")
        left = count_rows(verdicts.filter(pl.col("kept")))
        scratch = context.writer.scratch()
        digests = [pl.read_parquet(scratch / f"{key}.parquet").to_series() for key in context.writer.done()]
        together = np.concatenate([np.empty(0, np.uint64), *digests])
        del digests
        together.sort()  # in place; a set of them would take several times the room
        context.writer.summarise(
            {
                "responses": responses,
                "kept": left,
                "kept_share": share(left, responses),
                "dropped": dict(reasons(verdicts)),
                "exact_across_questions": int((together[1:] == together[:-1]).sum()),
            }
        )


def duplicates(rows: pl.DataFrame, settings: DedupSettings) -> dict[int, tuple[str, int]]:
    """Reason and row of the earlier response for every row that repeats one to the same question.

    ``rows``: question_id and token_ids. Token ids are moved to a range of their own for each question, so
    responses to different questions share no n-gram and one call of a kernel serves them all.
    """
    found: dict[int, tuple[str, int]] = {}
    if rows.height < 2 or not (settings.exact or settings.near):
        return found
    number = (rows.get_column("question_id").rank("dense") - 1).cast(pl.UInt32)
    vocabulary = int(rows.select(pl.col("token_ids").list.max().max()).item() or 0) + 1
    tokens = rows.select(pl.col("token_ids") + number * vocabulary).to_series()
    clusters: list[tuple[str, Sequence[int]]] = []
    if settings.exact:
        clusters.append(("exact_duplicate", kernels.exact_duplicates(tokens).to_list()))
    if settings.near:
        near = kernels.near_duplicates(tokens, settings.threshold, settings.ngram)
        clusters.append(("near_duplicate", near.to_list()))
    for reason, first_rows in clusters:
        for row, first in enumerate(first_rows):
            if first != row:
                found.setdefault(row, (reason, first))
    return found


def _digests(rows: pl.DataFrame) -> pl.DataFrame:
    """A hash of each text, once a question; questions lie whole in ``rows``."""
    return rows.select("question_id", text=pl.col("text").hash(0)).unique().select("text")


def _verdicts(rows: pl.DataFrame, settings: DedupSettings, stage: str) -> pl.DataFrame:
    sample_ids = rows.get_column("sample_id").to_list()
    reason, detail = [""] * rows.height, [""] * rows.height
    for row, (why, first) in duplicates(rows, settings).items():
        reason[row], detail[row] = why, f"of sample {sample_ids[first]}"
    return verdict_rows(rows.get_column("sample_id"), stage, reason, detail)

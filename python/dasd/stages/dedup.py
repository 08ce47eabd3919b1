"""Stage ``dedup``: duplicates among a question's responses, and questions that the evaluation holds too.

Duplicates are looked for among the responses to the same question only. There they are wasted candidates, or
the same text trained on twice. Short responses to different questions of a procedural set share most of their
n-grams and still teach different things, so across questions exact duplicates are counted and kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
from pydantic import JsonValue

from dasd import kernels
from dasd.chat import ChatTokenizer
from dasd.recipe import Recipe
from dasd.registry import Registry
from dasd.settings import DedupSettings
from dasd.stages import fingerprints
from dasd.stages.base import StageContext
from dasd.stages.groups import question_groups
from dasd.stages.responses import reasons
from dasd.stages.work import count_rows, finish_rows, kept_ids, only, share

__all__ = ["DedupStage", "contamination", "duplicates"]


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

    @property
    def needs(self) -> tuple[str, ...]:
        """Questions, samples and verdicts."""
        return ("questions", self.samples, self.filter)

    def settings(self) -> Mapping[str, JsonValue]:
        """Section ``dedup`` and the student's tokenizer, which contamination is measured by."""
        return {
            "dedup": self.recipe.settings.dedup.model_dump(mode="json"),
            "student": fingerprints.model_settings(self.recipe.settings.student),
        }

    def run(self, context: StageContext) -> None:
        """Judge groups of whole questions."""
        settings = self.recipe.settings.dedup
        questions = context.inputs.frame("questions", "questions").collect()
        chat = ChatTokenizer.load(self.recipe.settings.student)
        overlaps = contamination(questions, settings, chat)
        samples = context.inputs.frame(self.samples, "samples")
        kept = kept_ids(context.inputs.frame(self.filter, "verdicts"))
        done = context.writer.done()
        groups = question_groups(samples)
        total = sum(unit.size for unit in groups)
        finished = sum(unit.size for unit in groups if unit.key in done)
        with context.console.task(f"{self.name}: duplicates", total, "responses", completed=finished) as task:
            for unit in groups:
                if unit.key not in done:
                    columns = samples.select("sample_id", "question_id", "token_ids")
                    rows = only(unit.rows(columns), kept)
                    finish_rows(context, "verdicts", _verdicts(rows, overlaps, settings, self.name), unit)
                    task.advance(unit.size)
        self._report(context, samples, kept, overlaps)

    def _report(
        self,
        context: StageContext,
        samples: pl.LazyFrame,
        kept: frozenset[str],
        overlaps: Mapping[str, float],
    ) -> None:
        verdicts = context.writer.read("verdicts")
        left = count_rows(verdicts.filter(pl.col("kept")))
        hashes = samples.filter(pl.col("sample_id").is_in(list(kept))).select(
            "question_id", text=pl.col("text").hash(0)
        )
        across = hashes.unique().select(pl.len() - pl.col("text").n_unique()).collect().item()
        context.writer.summarise(
            {
                "responses": len(kept),
                "kept": left,
                "kept_share": share(left, len(kept)),
                "dropped": dict(reasons(verdicts)),
                "contaminated_questions": len(overlaps),
                "exact_across_questions": int(across),
            }
        )
        if overlaps:
            context.console.warn(
                f"{self.name}: {len(overlaps)} training questions overlap with evaluation questions; "
                "their responses are dropped as contaminated"
            )


def contamination(questions: pl.DataFrame, settings: DedupSettings, chat: ChatTokenizer) -> dict[str, float]:
    """Training questions over the limit, with the share of their n-grams that evaluation questions hold.

    Compared are the users' turns, in the student's tokens; the system prompt is the same everywhere.
    """
    if settings.contamination is None:
        return {}
    is_train = questions.get_column("split") == "train"
    train, evaluation = questions.filter(is_train), questions.filter(~is_train)
    if not train.height or not evaluation.height:
        return {}
    shares = kernels.overlap(_asked(train, chat), _asked(evaluation, chat), settings.contamination_ngram)
    pairs = zip(train.get_column("question_id"), shares, strict=True)
    return {question: found for question, found in pairs if found > settings.contamination}


def duplicates(rows: pl.DataFrame, settings: DedupSettings) -> dict[int, tuple[str, int]]:
    """Reason and row of the earlier response for every row that repeats one to the same question.

    ``rows``: question_id and token_ids. Token ids are moved to a range of their own for each question, so
    responses to different questions share no n-gram and one call of a kernel serves them all.
    """
    found: dict[int, tuple[str, int]] = {}
    if rows.height < 2 or not (settings.exact or settings.near):
        return found
    number = rows.get_column("question_id").rank("dense") - 1
    vocabulary = int(rows.select(pl.col("token_ids").list.max().max()).item() or 0) + 1
    tokens = (
        rows.select(
            pl.col("token_ids").list.eval(pl.element().cast(pl.UInt64)) + number.cast(pl.UInt64) * vocabulary
        )
        .to_series()
        .cast(pl.List(pl.UInt32))
    )
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


def _verdicts(
    rows: pl.DataFrame, overlaps: Mapping[str, float], settings: DedupSettings, stage: str
) -> pl.DataFrame:
    repeated = duplicates(rows, settings)
    sample_ids = rows.get_column("sample_id").to_list()
    reason, detail = [""] * rows.height, [""] * rows.height
    for row, question in enumerate(rows.get_column("question_id")):
        if question in overlaps:
            reason[row] = "contaminated"
            detail[row] = f"{overlaps[question]:.0%} of the question's n-grams are in evaluation questions"
        elif row in repeated:
            reason[row], first = repeated[row]
            detail[row] = f"of sample {sample_ids[first]}"
    return pl.DataFrame(
        {
            "sample_id": rows.get_column("sample_id"),
            "stage": pl.Series([stage] * rows.height, dtype=pl.String),
            "kept": pl.Series([not slug for slug in reason], dtype=pl.Boolean),
            "reason": pl.Series(reason, dtype=pl.String),
            "detail": pl.Series(detail, dtype=pl.String),
        }
    )


def _asked(questions: pl.DataFrame, chat: ChatTokenizer) -> pl.Series:
    """The users' turns of each question in the student's tokens."""
    texts = ["\n".join(t["content"] for t in cell if t["role"] == "user") for cell in questions["messages"]]
    return pl.Series([chat.encode_response(text, ended=False)[0] for text in texts], dtype=pl.List(pl.UInt32))

"""Small frames that the figures are drawn from: read lazily, a seeded sample of the responses at most.

Kinds of sentences are those of the select stage; the report's own scoring brings the third probability.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import nsmallest

import polars as pl

from dasd.base.frames import kept_set, only
from dasd.base.id_set import IdSet
from dasd.base.schemas import SENTENCES
from dasd.base.seeds import uniform
from dasd.results.report.rounds import training_of
from dasd.store import Run

__all__ = [
    "KINDS",
    "compared",
    "losses",
    "positions",
    "relative_position",
    "response_probabilities",
    "rows_of",
    "sampled_ids",
    "selected_and_random",
    "selected_sentences",
    "stage_names",
]

KINDS = ("teacher", "student", "common", "shared", "boosted")

LOSS_POINTS = 400
_AHEAD = 8
"""Times as many questions are held as are drawn, so that they are seldom drawn from."""

_RAW = (
    (pl.col("logprobs_mode") == "raw")
    & pl.col("logprobs").is_not_null()
    & (pl.col("token_ids").list.len() > 0)
)
"""Samples whose log-probabilities are those at temperature 1."""
_PROBABILITY = pl.col("logprobs").list.mean().cast(pl.Float64).exp()


def stage_names(run: Run, kind: str) -> list[str]:
    """Names of the finished stages of one kind, in the order of the graph."""
    return [manifest.name for manifest in run.stages() if manifest.kind == kind]


def sampled_ids(rows: pl.LazyFrame, limit: int, seed: int, what: str) -> list[str]:
    """At most ``limit`` distinct sample_ids of ``rows``, drawn by ``seed`` and what they are drawn for.

    Reads one column. The draw of an id depends on nothing but the id, the seed and ``what``.
    """
    draws: dict[str, float] = {}
    more = False
    for batch in rows.select("sample_id").collect_batches():
        fresh = (name for name in batch.to_series().unique() if name not in draws)
        draws.update([(name, uniform(what, seed, name)) for name in fresh])
        if len(draws) > _AHEAD * limit:
            more = True
            draws = dict(nsmallest(limit, draws.items(), key=lambda item: (item[1], item[0])))
    if not more and len(draws) <= limit:
        return sorted(draws)
    return nsmallest(limit, draws, key=lambda name: (draws[name], name))


def rows_of(frame: pl.LazyFrame, sample_ids: Sequence[str]) -> pl.DataFrame:
    """The rows of ``frame`` that belong to these samples, in the frame's order."""
    return frame.filter(pl.col("sample_id").is_in(list(sample_ids))).collect(engine="streaming")


def selected_sentences(run: Run) -> pl.LazyFrame:
    """SENTENCES rows of every select stage: all scored candidates, kinds by teacher and student alone."""
    frames = [compared(run.frame("sentences", stage)) for stage in stage_names(run, "select")]
    return pl.concat(frames) if frames else SENTENCES.empty().lazy()


def compared(sentences: pl.LazyFrame) -> pl.LazyFrame:
    """The SENTENCES rows that have a probability under teacher and student, so that their kind says something."""
    return sentences.filter(pl.col("p_teacher").is_not_nan() & pl.col("p_student").is_not_nan())


def response_probabilities(run: Run, stages: Sequence[str], limit: int, seed: int) -> pl.DataFrame:
    """Geometric mean of the token probabilities of sampled responses.

    Columns stage, temperature (f32) and p (f64). Raw log-probabilities only: those after temperature and
    top-p answer another question.
    """
    frames = []
    for stage in stages:
        raw = run.frame("samples", stage).filter(_RAW)
        ids = sampled_ids(raw, limit, seed, "density")
        frames.append(
            raw.filter(pl.col("sample_id").is_in(ids))
            .select(
                stage=pl.lit(stage),
                temperature=pl.col("temperature"),
                p=_PROBABILITY,
            )
            .filter(pl.col("p").is_finite())
            .collect(engine="streaming")
        )
    schema = {"stage": pl.String, "temperature": pl.Float32, "p": pl.Float64}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def selected_and_random(run: Run, stages: Sequence[str], limit: int, seed: int) -> pl.DataFrame:
    """Response probability of what was selected, and of as many random candidates of the same questions.

    ``stages``: names of training stages whose selection has run. At most ``limit`` questions a stage, drawn by
    ``seed``; the random draw is the selector ``random``'s. Raw log-probabilities only. Columns stage, temperature
    (f32), group (selected or random) and p (f64).
    """
    schema = {"stage": pl.String, "temperature": pl.Float32, "group": pl.String, "p": pl.Float64}
    frames = [pl.DataFrame(schema=schema)]
    for stage in stages:
        rows = _of_drawn_questions(run, stage, limit, seed)
        lot = pl.Series(
            "lot", [uniform("random", seed, name) for name in rows["sample_id"]], dtype=pl.Float64
        )
        place = pl.col("lot").rank("ordinal", descending=True).over("question_id")
        by_lot = place <= pl.col("kept").sum().over("question_id")
        rows = rows.with_columns(lot).sort("question_id", "sample_id")
        frames += [
            rows.filter(picked).select(
                stage=pl.lit(stage), temperature="temperature", group=pl.lit(group), p="p"
            )
            for group, picked in (("selected", pl.col("kept")), ("random", by_lot))
        ]
    return pl.concat(frames)


def _of_drawn_questions(run: Run, stage: str, limit: int, seed: int) -> pl.DataFrame:
    """sample_id, question_id, temperature, p and kept of the raw responses to at most ``limit`` questions.

    They are drawn among those with a selected response. Rows are read once, and those of few questions are held.
    """
    verdicts = run.frame("verdicts", f"select-{stage}")
    judged = IdSet(ids.to_series() for ids in verdicts.select("sample_id").collect_batches())
    chosen = kept_set(verdicts)
    raw = run.frame("samples", f"sample-{stage}").filter(_RAW)
    read = raw.select("sample_id", "question_id", "temperature", p=_PROBABILITY)
    held = read.head(0).with_columns(kept=pl.lit(value=True)).collect()
    for batch in _whole_questions(read):
        rows = only(batch, judged)
        rows = rows.with_columns(kept=chosen.mask(rows["sample_id"]))
        rows = rows.filter(pl.col("kept").any().over("question_id") & pl.col("p").is_finite())
        held = pl.concat([held, rows])
        if held.get_column("question_id").n_unique() > _AHEAD * limit:
            held = _of_lowest(held, limit, seed)
    return _of_lowest(held, limit, seed)


def _of_lowest(rows: pl.DataFrame, limit: int, seed: int) -> pl.DataFrame:
    """The rows of the ``limit`` questions with the lowest draws."""
    questions = rows.get_column("question_id").unique()
    drawn = nsmallest(limit, questions, key=lambda name: (uniform("selected", seed, name), name))
    return rows.filter(pl.col("question_id").is_in(drawn))


def _whole_questions(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Batches of ``rows``, which lie question by question, that end where a question does."""
    held = rows.head(0).collect()
    for batch in rows.collect_batches():
        together = pl.concat([held, batch])
        question = together.get_column("question_id").rle_id()
        open_rows = int((question == question.max()).sum())
        yield together.head(together.height - open_rows)
        held = together.tail(open_rows)
    yield held


def relative_position(bins: int) -> pl.Expr:
    """In which of ``bins`` equal parts of its response a sentence lies, 0 at the start; of all rows of a response."""
    place = (pl.col("sentence") + 0.5) / pl.len().over("sample_id")
    return (place * bins).floor().cast(pl.Int64)


def positions(sentences: pl.DataFrame, correct: pl.DataFrame, bins: int) -> pl.DataFrame:
    """Share of each kind of sentence by relative position in the response.

    ``sentences``: SENTENCES rows; ``correct``: sample_id and a nullable Boolean. Columns correct (bool?),
    bin (0 is the response's start), kind, share, sentences (of the bin) and responses (of the group).
    """
    placed = sentences.join(correct, on="sample_id", how="left").with_columns(bin=relative_position(bins))
    responses = placed.group_by("correct").agg(responses=pl.col("sample_id").n_unique())
    return (
        placed.group_by("correct", "bin")
        .agg(
            sentences=pl.len(),
            kind=pl.lit(pl.Series(list(KINDS))).implode().first(),
            share=pl.concat_list([(pl.col("kind") == kind).mean() for kind in KINDS]).first(),
        )
        .explode("kind", "share")
        .join(responses, on="correct", how="left", nulls_equal=True)
        .sort("correct", "bin", pl.col("kind").replace_strict(list(KINDS), range(len(KINDS))))
    )


def losses(run: Run) -> pl.DataFrame:
    """Loss of every training, averaged over equal runs of steps: columns stage, step, loss.

    At most LOSS_POINTS points a training, in the order of the trainings.
    """
    trainings: dict[str, list[pl.LazyFrame]] = {}
    for manifest in run.stages():
        if manifest.kind == "train" and "losses" in manifest.rows:
            trainings.setdefault(training_of(run, manifest), []).append(run.frame("losses", manifest.name))
    frames = []
    for stage, parts in trainings.items():
        # The rounds of an on-policy training follow one another.
        rows = pl.concat(parts)
        if len(parts) > 1:
            rows = rows.with_columns(step=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32))
        last = rows.select(pl.col("step").max()).collect().item()
        if last is None:
            continue
        width = max(1, -(-int(last) // LOSS_POINTS))
        frames.append(
            rows.group_by(bucket=(pl.col("step") - 1).clip(0) // width)
            .agg(pl.col("step").max(), pl.col("loss").mean())
            .sort("bucket")
            .select(pl.lit(stage).alias("stage"), "step", "loss")
            .collect(engine="streaming")
        )
    schema = {"stage": pl.String, "step": pl.UInt32, "loss": pl.Float64}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

"""How often the student's answers hit the cap, by the length of the response that it was trained on.

The mixed-policy stage caps each answer at a multiple of the teacher's response to the same question. The
share of answers that hit the cap, rising with the length, measures exposure bias (arXiv 2601.09088,
figure 7).
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

import polars as pl

from dasd.base.chosen_lengths import longest_chosen
from dasd.base.frames import kept_set
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.store import Run

__all__ = ["BINS", "cut_off_bins", "cut_offs"]

BINS = 6


def cut_offs(run: Run) -> pl.DataFrame:
    """A row an answer of the student: curve (the stage), tokens of the training response, cut (bool).

    Tokens are the student's, from the scores; the teacher's where nothing was scored.
    """
    done = {manifest.name for manifest in run.stages()}
    off_policy: str | None = None
    frames = []
    for stage in run.settings.stages:
        mixed = f"mix-{stage.name}"
        if isinstance(stage, OffPolicyStage):
            off_policy = stage.name
        elif mixed in done and off_policy is not None and f"select-{off_policy}" in done:
            written = run.frame("samples", mixed)
            answers = written.filter(pl.col("stage") == f"{mixed}-student")
            frames.append(
                answers.join(_lengths(run, off_policy), on="question_id", how="inner")
                .select(curve=pl.lit(stage.name), tokens="tokens", cut=pl.col("finish_reason") == "length")
                .collect(engine="streaming")
            )
    schema = {"curve": pl.String, "tokens": pl.UInt32, "cut": pl.Boolean}
    return pl.concat(frames) if frames else pl.DataFrame(schema=schema)


def _lengths(run: Run, stage: str) -> pl.LazyFrame:
    """question_id and tokens of the response that was selected for it (the longest of several)."""
    chosen = kept_set(run.frame("verdicts", f"select-{stage}"))
    done = {manifest.name: manifest for manifest in run.stages()}
    scored = "scores" in getattr(done.get(f"score-{stage}"), "rows", {})
    scores = run.frame("scores", f"score-{stage}") if scored else None
    return longest_chosen(run.frame("samples", f"sample-{stage}"), scores, chosen)


def cut_off_bins(answers: pl.DataFrame) -> pl.DataFrame:
    """Answers in bins of about equal size by length: curve, low, high (tokens), share, standard_error, n."""
    rows = []
    for group in answers.partition_by("curve", maintain_order=True):
        ordered = group.sort("tokens")
        edges = sorted({int(edge) for edge in _quantiles(ordered["tokens"], BINS)})
        if len(edges) == 1:
            edges = [edges[0], edges[0]]
        for index, (low, high) in enumerate(pairwise(edges)):
            last = index == len(edges) - 2
            inside = ordered.filter(pl.col("tokens").is_between(low, high, closed="both" if last else "left"))
            if inside.height:
                share = float(inside["cut"].sum()) / inside.height
                error = sqrt(share * (1 - share) / inside.height)
                rows.append((group["curve"][0], low, high, share, error, inside.height))
    schema = {
        "curve": pl.String,
        "low": pl.Int64,
        "high": pl.Int64,
        "share": pl.Float64,
        "standard_error": pl.Float64,
        "n": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _quantiles(tokens: pl.Series, bins: int) -> list[float]:
    found = [tokens.quantile(index / bins, "nearest") for index in range(bins + 1)]
    return [float(value) for value in found if value is not None]

"""The measures of a checkpoint, from the frames that the pipeline's evaluations left."""

from __future__ import annotations

from math import comb, exp, log

import polars as pl

from benchmarks.evidence.answers import BETA, shares_of_kinds
from benchmarks.evidence.components import FORCED, TEMPERATURES
from benchmarks.evidence.recipes import LABEL
from benchmarks.evidence.worlds import World
from dasd.pipeline.stages.candidates import compared, sentences_frame
from dasd.results.report.distilled import ALPHA, distilled_sentences
from dasd.store import Run

__all__ = ["LENGTH_BINS", "measured", "passes", "style_shares"]

HELDOUT = "sample-heldout"
LENGTH_BINS = 4
CAP = 1.5
"""Times the teacher's response: where the report cuts the student's answers."""


def measured(run: Run | None, checkpoint: str, asked: Run, world: World) -> dict[str, float]:
    """Every measure by name.

    ``run``: a run with the stage ``evaluate-CHECKPOINT``; ``asked``: the same checkpoint asked in the suite's other
    ways. Without ``run`` (the teacher) only those of ``asked``.
    """
    found: dict[str, float] = {}
    rows = asked.frame("eval").collect()
    for label in TEMPERATURES:
        found[f"accuracy_{label}"] = _accuracy(rows.filter(pl.col("benchmark") == label))
    forced = {
        style: _accuracy(rows.filter(pl.col("benchmark") == f"{FORCED}{style}")) for style in world.styles
    }
    found |= {f"forced.{style}": value for style, value in forced.items()}
    found["macro"] = sum(forced.values()) / len(forced)
    known = [value for style, value in forced.items() if style in world.known]
    new = [value for style, value in forced.items() if style not in world.known]
    found["macro_known"], found["macro_new"] = sum(known) / len(known), sum(new) / len(new)
    if run is None:
        return found
    stage = f"evaluate-{checkpoint}"
    hot = run.frame("eval", stage).filter(pl.col("benchmark") == LABEL).collect()
    table = run.frame("metrics", stage).filter(
        (pl.col("checkpoint") == checkpoint) & (pl.col("group") == "all")
    )
    metrics = dict(table.select("metric", "value").collect().iter_rows())
    found["accuracy"] = metrics["accuracy"]
    found["kl"] = metrics["kl_nats_per_response"]
    found["length_tokens"] = metrics["length_tokens"]
    found["cut_off_rate"] = metrics["cut_off_rate"]
    found |= _cut_off_by_length(run, hot)
    found |= _over_cap(run, hot)
    found |= passes(hot)
    shares = style_shares(hot["text"], world)
    found |= {f"share.{style}": shares.get(style, 0.0) for style in world.styles}
    found["coverage"] = coverage(
        shares, style_shares(run.frame("samples", HELDOUT).collect()["text"], world), world
    )
    found["styles_effective"] = effective(shares, world)
    if checkpoint != "before":
        found |= _kinds(run, stage)
    return found


def style_shares(texts: pl.Series, world: World) -> dict[str, float]:
    """Share of the texts in each style; texts without a style have none of the shares."""
    styles = [world.style_of(text) for text in texts]
    return {style: styles.count(style) / max(1, len(styles)) for style in world.styles}


def coverage(student: dict[str, float], teacher: dict[str, float], world: World) -> float:
    """What the two mixtures of styles have in common: the sum of the smaller shares, each mixture scaled to 1."""
    totals = [sum(shares.values()) or 1.0 for shares in (student, teacher)]
    return sum(min(student[style] / totals[0], teacher[style] / totals[1]) for style in world.styles)


def effective(shares: dict[str, float], world: World) -> float:
    """Effective number of styles: the exponential of the entropy of their shares (1: a single one)."""
    total = sum(shares.values()) or 1.0
    parts = [shares[style] / total for style in world.styles if shares[style] > 0]
    return exp(-sum(part * log(part) for part in parts))


def _accuracy(rows: pl.DataFrame) -> float:
    """Mean over questions of the mean over attempts."""
    by_question = rows.group_by("question_id").agg(pl.col("correct").cast(pl.Float64).mean())
    value = by_question["correct"].mean()
    return float(value) if isinstance(value, float) else 0.0


def passes(answers: pl.DataFrame) -> dict[str, float]:
    """``pass_at_K`` for K of 2 and more, up to the attempts: the chance that one of K of them is right.

    Of n attempts with c right, 1 - C(n - c, K) / C(n, K), in the mean over questions (arXiv 2107.03374).
    """
    counts = answers.group_by("question_id").agg(n=pl.len(), right=pl.col("correct").sum())
    found: dict[str, float] = {}
    for k in range(2, int(counts.select(pl.col("n").min().fill_null(0)).item()) + 1):
        each = [1 - comb(n - right, k) / comb(n, k) for n, right in counts.select("n", "right").iter_rows()]
        found[f"pass_at_{k}"] = sum(each) / len(each)
    return found


def _over_cap(run: Run, answers: pl.DataFrame) -> dict[str, float]:
    """Share of answers that a mixed-policy round would cut: in all, and by the length of the teacher's response.

    Longer than ``CAP`` times the teacher's held-out response to the same question, or without an end; in the student's
    tokens.
    """
    lengths = run.frame("scores", "evaluate-before").select(
        "sample_id", length=pl.col("token_ids").list.len()
    )
    questions = run.frame("samples", HELDOUT).select("sample_id", "question_id")
    rows = answers.join(questions.join(lengths, on="sample_id").collect(), on="question_id")
    over = (pl.col("tokens") > CAP * pl.col("length")) | (pl.col("finish_reason") != "stop")
    bins = (pl.col("length").rank("ordinal") - 1) * LENGTH_BINS // pl.len()
    table = rows.group_by(bins.alias("bin")).agg(over.mean().alias("over"))
    found = {f"over_cap.length{number}": float(share) for number, share in table.sort("bin").iter_rows()}
    whole = rows.select(over.mean()).item()
    return found if whole is None else {"over_cap": float(whole), **found}


def _cut_off_by_length(run: Run, answers: pl.DataFrame) -> dict[str, float]:
    """Share of answers that never ended, by the length of the teacher's held-out response to the same question."""
    lengths = run.frame("samples", HELDOUT).select("question_id", length=pl.col("text").str.len_bytes())
    rows = answers.join(lengths.collect(), on="question_id")
    bins = (pl.col("length").rank("ordinal") - 1) * LENGTH_BINS // pl.len()
    table = rows.group_by(bins.alias("bin")).agg((pl.col("finish_reason") != "stop").mean().alias("cut"))
    return {f"cut_off.length{number}": float(cut) for number, cut in table.sort("bin").iter_rows()}


def _kinds(run: Run, stage: str) -> dict[str, float]:
    """Kinds of sentences on the teacher's held-out responses, with the student before and after distillation.

    ``kind.NAME``: share of all sentences; ``kind.NAME.first``, ``.middle``, ``.last``: of those in that third of
    their response.
    """
    samples = run.frame("samples", HELDOUT).collect()
    order = samples.select("sample_id")
    before = order.join(
        run.frame("scores", "evaluate-before").collect(), on="sample_id", maintain_order="left"
    )
    after = run.frame("scores", stage).collect()
    sentences = sentences_frame(compared(samples, before, BETA), BETA)
    return shares_of_kinds(distilled_sentences(sentences, after, ALPHA, BETA), "kind.")

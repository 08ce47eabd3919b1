"""What a selection did, in figures, and when to distrust it.

A selector that only follows length, or that can't tell the candidates apart, runs without any error: only
these figures show it.
"""

from __future__ import annotations

import polars as pl
from pydantic import JsonValue

from dasd.pipeline.work.units import share

__all__ = ["selection_summary", "selection_warnings", "selection_words"]

MOST_TEACHER_SHARE = 0.7
MOST_AGREEMENT = 0.8
LEAST_DISCRIMINATION = 0.05
_KINDS = ("teacher", "student", "common")


def selection_summary(table: pl.DataFrame) -> dict[str, JsonValue]:
    """Figures over all candidates.

    ``table``: CANDIDATES columns without text, and rank, selected (by the selector), drawn (of these, those that
    are trained on), correct (nullable), by_length and by_lot (what ``longest`` and one seeded ``random`` would
    pick). Agreements are over questions with several
    candidates: the share of which that pick is among the selected. Shares of kinds are over the sentences that both
    models gave a probability. Correlations are over the candidates
    of those questions: Spearman's of rank and tokens, and Pearson's.
    """
    several = table.filter(pl.len().over("question_id") > 1)
    ranked = several.filter(pl.col("rank").is_finite())
    questions = several.group_by("question_id", maintain_order=True).agg(
        longest=(pl.col("by_length") & pl.col("selected")).any(),
        lot=(pl.col("by_lot") & pl.col("selected")).any(),
        expected=pl.col("selected").sum() / pl.len(),
        differ=pl.col("rank").n_unique() > 1,
        picked_all=pl.col("selected").all(),
    )
    selected = table.filter(pl.col("drawn"))
    kinds = {kind: int(table.get_column(kind).cast(pl.UInt64).sum()) for kind in _KINDS}
    compared = sum(kinds.values())
    return {
        "questions": table.get_column("question_id").n_unique(),
        "candidates": table.height,
        "selected": selected.height,
        "over_total": table.filter(pl.col("selected") & ~pl.col("drawn")).height,
        "questions_with_choice": questions.height,
        **{f"{kind}_share": share(count, compared) for kind, count in kinds.items()},
        "score_length_correlation": _correlation(ranked, "spearman"),
        "score_length_pearson": _correlation(ranked, "pearson"),
        "agreement_longest": _mean(questions.get_column("longest")),
        "agreement_random": _mean(questions.get_column("lot")),
        "agreement_random_expected": _mean(questions.get_column("expected")),
        "discriminated": _mean(questions.get_column("differ")),
        "kept_everything": bool(questions.get_column("picked_all").all()) if questions.height else None,
        "wrong_before": _wrong(table),
        "wrong_after": _wrong(selected),
        "tokens_mean_before": _mean(table.get_column("tokens")),
        "tokens_mean_after": _mean(selected.get_column("tokens")),
        "teacher_sentences_mean_before": _mean(table.get_column("teacher")),
        "teacher_sentences_mean_after": _mean(selected.get_column("teacher")),
    }


def selection_warnings(summary: dict[str, JsonValue], compares: bool, by_length: bool) -> list[str]:
    """Sentences for people; empty when nothing is suspicious.

    ``compares``: the selector needs log-probabilities; ``by_length``: it is meant to prefer the longest.
    """
    found = []
    teacher, agreement = _figure(summary, "teacher_share"), _figure(summary, "agreement_longest")
    discriminated = _figure(summary, "discriminated")
    if compares and teacher is not None and teacher > MOST_TEACHER_SHARE:
        found.append(
            f"{teacher:.0%} of all sentences are Teacher sentences, so their count is nearly a count of "
            "sentences; the student is far from the teacher: raise select.beta, or train a first stage on "
            "random candidates"
        )
    if not by_length and agreement is not None and agreement > MOST_AGREEMENT:
        found.append(
            f"selection agrees with 'longest' in {agreement:.0%} of the questions: it selects by length; "
            "try select.options.length_control: true, and compare with select.selector: longest"
        )
    if discriminated is not None and discriminated < LEAST_DISCRIMINATION:
        found.append(
            f"the scores of a question's candidates differ in {discriminated:.0%} of the questions: "
            "selection discriminates nothing, and the first candidate is taken"
        )
    if not summary["questions_with_choice"]:
        found.append("no question has more than one candidate left: there is nothing to select from")
    elif summary["kept_everything"]:
        found.append("everything is kept: select.per_question is not below the candidates of any question")
    return found


def selection_words(summary: dict[str, JsonValue]) -> list[str]:
    """The figures that say what a selection did, in at most five lines; those that nobody knows are left out."""
    counted = f"{summary['selected']} of {summary['candidates']} candidates selected"
    if summary["over_total"]:
        counted += f" ({summary['over_total']} more are over the stage's total)"
    lines = [
        f"{counted}, {summary['questions']} questions, {summary['questions_with_choice']} of them with a choice"
    ]
    if summary["teacher_share"] is not None:
        kinds = (_percent(summary, f"{kind}_share") for kind in _KINDS)
        lines.append("sentences: {} Teacher, {} Student, {} Common".format(*kinds))
    if summary["agreement_longest"] is not None:
        lines.append(
            f"agrees with the longest candidate in {_percent(summary, 'agreement_longest')} of these questions; "
            f"chance is {_percent(summary, 'agreement_random_expected')}"
        )
    before, after = _figure(summary, "tokens_mean_before"), _figure(summary, "tokens_mean_after")
    if before is not None and after is not None:
        lines.append(f"mean length: {before:.1f} tokens over the candidates, {after:.1f} over the selected")
    if summary["wrong_after"] is not None:
        lines.append(
            f"wrong answers: {_percent(summary, 'wrong_before')} of the candidates, "
            f"{_percent(summary, 'wrong_after')} of the selected"
        )
    return lines


def _percent(summary: dict[str, JsonValue], key: str) -> str:
    value = _figure(summary, key)
    return "none" if value is None else f"{value:.0%}"


def _correlation(table: pl.DataFrame, method: str) -> float | None:
    if (
        table.height < 3
        or table.get_column("rank").n_unique() < 2
        or table.get_column("tokens").n_unique() < 2
    ):
        return None
    rank, tokens = pl.col("rank"), pl.col("tokens").cast(pl.Float64)
    expression = pl.corr(rank.rank(), tokens.rank()) if method == "spearman" else pl.corr(rank, tokens)
    return float(table.select(expression).item())


def _wrong(table: pl.DataFrame) -> float | None:
    graded = table.get_column("correct").drop_nulls()
    return share(int((~graded).sum()), len(graded))


def _mean(values: pl.Series) -> float | None:
    return float(values.cast(pl.Float64).mean()) if len(values) else None  # type: ignore[arg-type]


def _figure(summary: dict[str, JsonValue], key: str) -> float | None:
    value = summary[key]
    return float(value) if isinstance(value, int | float) else None

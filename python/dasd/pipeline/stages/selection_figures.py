"""What a selection did, in figures, and when to distrust it.

A selector that only follows length, or that can't tell the candidates apart, runs without any error: only
these figures show it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import polars as pl
from pydantic import JsonValue

from dasd.pipeline.work.units import share

__all__ = ["SelectionFigures", "selection_warnings", "selection_words"]

MOST_TEACHER_SHARE = 0.7
MOST_AGREEMENT = 0.8
LEAST_DISCRIMINATION = 0.05
_KINDS = ("teacher", "student", "common")


class SelectionFigures:
    """Figures over all candidates, window by window of whole questions; 12 bytes a candidate stay in memory."""

    def __init__(self) -> None:
        self._all, self._drawn = _Counts(), _Counts()
        self._over_total = 0
        self._kinds: Counter[str] = Counter()
        self._expected: list[pl.Series] = []
        self._of_questions: Counter[str] = Counter()
        self._ranked: list[pl.DataFrame] = []
        self.drawn_by_domain: Counter[str] = Counter()
        """Responses that are trained on."""

    def add(self, table: pl.DataFrame) -> None:
        """Count some candidates, all of each of their questions.

        ``table``: CANDIDATES columns without text, and domain, rank, selected (by the selector), drawn (of these, those
        that are trained on), correct (nullable), by_length and by_lot (what ``longest`` and one seeded ``random`` would
        pick).
        """
        drawn = table.filter("drawn")
        self._all.add(table)
        self._drawn.add(drawn)
        self.drawn_by_domain.update(dict(drawn.get_column("domain").value_counts().iter_rows()))
        self._over_total += int((table["selected"] & ~table["drawn"]).sum())
        for kind in _KINDS:
            self._kinds[kind] += int(table.get_column(kind).cast(pl.UInt64).sum())
        several = table.filter(pl.len().over("question_id") > 1)
        questions = several.group_by("question_id", maintain_order=True).agg(
            longest=(pl.col("by_length") & pl.col("selected")).any(),
            lot=(pl.col("by_lot") & pl.col("selected")).any(),
            expected=pl.col("selected").sum() / pl.len(),
            differ=pl.col("rank").n_unique() > 1,
            picked_all=pl.col("selected").all(),
        )
        self._expected.append(questions.get_column("expected"))
        for name in ("longest", "lot", "differ", "picked_all"):
            self._of_questions[name] += int(questions.get_column(name).sum())
        self._ranked.append(several.filter(pl.col("rank").is_finite()).select("rank", "tokens"))

    def summary(self) -> dict[str, JsonValue]:
        """The figures, once all candidates are counted.

        Agreements are over questions with several candidates: the share of which that pick is among the selected.
        Shares of kinds are over the sentences that both models gave a probability. Correlations are over the candidates
        of those questions: Spearman's of rank and tokens, and Pearson's.
        """
        expected = pl.concat(self._expected, rechunk=True) if self._expected else pl.Series(dtype=pl.Float64)
        several = len(expected)
        of_several = {name: share(count, several) for name, count in self._of_questions.items()}
        compared = sum(self._kinds.values())
        spearman, pearson = self._correlations()
        every, drawn = self._all, self._drawn
        return {
            "questions": every.questions,
            "candidates": every.rows,
            "selected": drawn.rows,
            "over_total": self._over_total,
            "questions_with_choice": several,
            **{f"{kind}_share": share(self._kinds[kind], compared) for kind in _KINDS},
            "score_length_correlation": spearman,
            "score_length_pearson": pearson,
            "agreement_longest": of_several.get("longest"),
            "agreement_random": of_several.get("lot"),
            "agreement_random_expected": float(expected.mean()) if several else None,  # type: ignore[arg-type]
            "discriminated": of_several.get("differ"),
            "kept_everything": self._of_questions["picked_all"] == several if several else None,
            "wrong_before": share(every.wrong, every.graded),
            "wrong_after": share(drawn.wrong, drawn.graded),
            "tokens_mean_before": share(every.tokens, every.rows),
            "tokens_mean_after": share(drawn.tokens, drawn.rows),
            "teacher_sentences_mean_before": share(every.teacher, every.rows),
            "teacher_sentences_mean_after": share(drawn.teacher, drawn.rows),
        }

    def _correlations(self) -> tuple[float | None, float | None]:
        """Spearman's and Pearson's of rank and tokens. One after the other: each column of ranks takes much to make."""
        table = pl.concat(self._ranked) if self._ranked else pl.DataFrame()
        if table.height < 3 or any(table[name].min() == table[name].max() for name in table.columns):
            return None, None
        pearson = table.select(pl.corr(pl.col("rank"), pl.col("tokens").cast(pl.Float64))).item()
        places = pl.DataFrame({name: table.get_column(name).rank() for name in table.columns})
        return float(places.select(pl.corr("rank", "tokens")).item()), float(pearson)


@dataclass(slots=True)
class _Counts:
    """Of all candidates, or of those that are trained on. Whole numbers, so that no order of adding rounds them."""

    rows: int = 0
    questions: int = 0
    graded: int = 0
    wrong: int = 0
    tokens: int = 0
    teacher: int = 0

    def add(self, table: pl.DataFrame) -> None:
        correct = table.get_column("correct").drop_nulls()
        self.rows += table.height
        self.questions += table.get_column("question_id").n_unique()
        self.graded += len(correct)
        self.wrong += int((~correct).sum())
        self.tokens += int(table.get_column("tokens").cast(pl.UInt64).sum())
        self.teacher += int(table.get_column("teacher").cast(pl.UInt64).sum())


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


def _figure(summary: dict[str, JsonValue], key: str) -> float | None:
    value = summary[key]
    return float(value) if isinstance(value, int | float) else None

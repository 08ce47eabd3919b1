"""The report's tables of sentences by kind under three models."""

from __future__ import annotations

from dasd.results.report.data import ReportData
from dasd.results.report.numbers import count, decimal, percent
from dasd.results.report.tables import TextTable

__all__ = ["distilled_table", "own_answers_table"]

_KINDS = ("shared", "teacher", "student", "boosted", "common")


def distilled_table(data: ReportData) -> TextTable | None:
    """Kinds of sentences by three models."""
    found = data.distilled
    if found is None:
        return None
    total = sum(found.sentences.values())
    return TextTable(
        caption=f"Kinds of sentences after {found.checkpoint}",
        head=("kind", "sentences", "share"),
        rows=tuple(
            (kind, count(found.sentences.get(kind, 0)), percent(found.sentences.get(kind, 0) / total))
            for kind in _KINDS
            if kind in found.sentences
        ),
        note=f"n = {count(found.responses)} selected responses of {found.stage}; α = {found.alpha:g}, "
        f"β = {found.beta:g}. Mean probability of a sentence: teacher {decimal(found.mean_p_teacher)}, "
        f"student before distillation {decimal(found.mean_p_student)}, "
        f"distilled {decimal(found.mean_p_distilled)}.",
    )


def own_answers_table(data: ReportData) -> TextTable | None:
    """Kinds of sentences in the student's own answers, right and wrong ones side by side."""
    found = data.own_answers
    if found is None:
        return None
    groups = [("right" if each.correct else "wrong", each) for each in found.answers]
    drawn = [f"{count(each.responses)} of {count(each.available)} {name} answers" for name, each in groups]
    totals = [sum(each.sentences.values()) for each in found.answers]
    return TextTable(
        caption=f"Kinds of sentences in the student's own answers after {found.checkpoint}",
        head=("kind", *(f"{name} answers" for name, _ in groups)),
        rows=tuple(
            (
                kind,
                *(
                    percent(each.sentences.get(kind, 0) / total)
                    for each, total in zip(found.answers, totals, strict=True)
                ),
            )
            for kind in _KINDS
            if any(kind in each.sentences for each in found.answers)
        ),
        note=f"Shares of sentences. n = {' and '.join(drawn)}, drawn by the seed, at most {found.most} of each"
        + (f"; {count(found.refused)} that a model couldn't score are left out" if found.refused else "")
        + f". α = {found.alpha:g}, β = {found.beta:g}.",
    )

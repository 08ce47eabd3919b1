"""Two checkpoints on the same questions, benchmark by benchmark."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd.errors import InputError
from dasd.evaluation.statistics import compare as compare_rows
from dasd.results.pairing import Paired, pair_questions
from dasd.results.read import choose
from dasd.results.records import COMPARISONS, Compared, Evaluation, Sampling

__all__ = ["VALUES", "compare", "holm"]

VALUES = ("correct", "tokens")
"""Columns of EVAL that are compared."""


def compare(
    first: Evaluation,
    second: Evaluation,
    *,
    benchmarks: Sequence[str] = (),
    shared: bool = False,
    draws: int = 20_000,
    seed: int = 0,
) -> Compared:
    """``second`` minus ``first`` in correctness and length, by question: see ``dasd.evaluation.statistics.compare``.

    ``benchmarks``: only these; by default those that both have. Which questions are the same: see
    ``pair_questions``. ``shared``: those that differ are left out and counted. Raises InputError where they
    differ without ``shared``, and where nothing is left to compare.
    """
    one, two = (choose([side], benchmarks=benchmarks)[0] for side in (first, second))
    both = [name for name in one.benchmarks if name in two.benchmarks]
    if not both:
        raise InputError(
            f"{first.label} and {second.label} have no benchmark in common: {', '.join(one.benchmarks)} "
            f"against {', '.join(two.benchmarks)}"
        )
    notes = [
        f"benchmark {name}: only {side.label} has it; left out"
        for side in (one, two)
        for name in side.benchmarks
        if name not in both
    ]
    notes += _about_prompts(one, two)
    rows: list[dict[str, object]] = []
    for name in both:
        paired = pair_questions(one, two, name, shared)
        rows += [
            {"benchmark": name, "value": value, "left_out": paired.left_out, **found}
            for value in VALUES
            if (found := _compared(paired, value, shared, draws, seed)) is not None
        ]
    for value in VALUES:
        members = [row for row in rows if row["value"] == value]
        for row, adjusted in zip(members, holm([float(str(r["p_value"])) for r in members]), strict=True):
            row["p_adjusted"] = adjusted
    return Compared(one, two, pl.DataFrame(rows, schema=dict(COMPARISONS.columns)), tuple(notes))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several, in the order given (Holm 1979).

    The i-th smallest of m is multiplied by m - i + 1; none is below a smaller one's, none above 1.
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def _compared(paired: Paired, value: str, shared: bool, draws: int, seed: int) -> dict[str, object] | None:
    """Fields of COMPARISONS; None where neither has a question with a value."""
    first, second = (rows.drop_nulls(value) for rows in (paired.first, paired.second))
    if shared:  # a file may have grades for some questions only
        first, second = (
            first.join(second, on="question_id", how="semi", maintain_order="left"),
            second.join(first, on="question_id", how="semi", maintain_order="left"),
        )
    if not first.height and not second.height:
        return None
    found = compare_rows(first, second, value, draws=draws, seed=seed)
    return {
        "first": found.first,
        "second": found.second,
        "difference": found.difference,
        "standard_error": found.standard_error,
        "low": found.interval.low if found.interval else None,
        "high": found.interval.high if found.interval else None,
        "p_value": found.p_value,
        "exact": found.exact,
        "t_p_value": found.t_p_value,
        "questions": found.questions,
        "higher": found.better,
        "lower": found.worse,
    }


def _about_prompts(one: Evaluation, two: Evaluation) -> list[str]:
    notes: list[str] = []
    if one.questions is None or two.questions is None:
        notes.append("a file of answers holds no questions; they are the same as far as their ids say")
    elif _system_prompts(one.questions) != _system_prompts(two.questions):
        notes.append("the two have different system prompts")
    for name in one.benchmarks:
        pair = [side.sampling(name) for side in (one, two)]
        unlike = [key for key in ("temperature", "top_p", "max_tokens") if _differ(pair, key)]
        if unlike and name in two.benchmarks:
            notes.append(f"benchmark {name}: the two were sampled with different {', '.join(unlike)}")
    return notes


def _system_prompts(questions: pl.DataFrame) -> set[str]:
    return {
        turn["content"]
        for cell in questions.get_column("messages")
        for turn in cell
        if turn["role"] == "system"
    }


def _differ(pair: Sequence[Sampling], key: str) -> bool:
    values = [getattr(sampling, key) for sampling in pair]
    return None not in values and values[0] != values[1]

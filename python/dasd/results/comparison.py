"""Two checkpoints on the same questions, benchmark by benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import polars as pl

from dasd.errors import InputError
from dasd.evaluation.statistics import compare as compare_rows
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
    ``_pair_questions``. ``shared``: those that differ are left out and counted. Raises InputError where they
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
        paired = _pair_questions(one, two, name, shared)
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


def _compared(paired: _Paired, value: str, shared: bool, draws: int, seed: int) -> dict[str, object] | None:
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
    fields = asdict(found)
    ends = fields.pop("interval") or {"low": None, "high": None}
    higher, lower = fields.pop("better"), fields.pop("worse")
    return {**fields, **ends, "higher": higher, "lower": lower}


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


class _Paired(NamedTuple):
    """The attempts of both at the questions that they share, under the first one's ids."""

    first: pl.DataFrame
    second: pl.DataFrame
    left_out: int
    """Questions that only one of both has, or with another text or answer."""


def _pair_questions(first: Evaluation, second: Evaluation, benchmark: str, shared: bool) -> _Paired:
    """Pair the questions of ``benchmark`` by id, else by content.

    Content is the messages, those of the system aside, and the expected answer: ids of a user's file say nothing
    of what they stand for, and a run that has a question in two benchmarks gives one of them a longer id. A
    file of answers has ids only. Raises InputError for questions that differ unless they are to be left out
    (``shared``), and if none is left.
    """
    ones, twos = (side.attempts.filter(pl.col("benchmark") == benchmark) for side in (first, second))
    changed: list[str] = []
    if first.questions is not None and second.questions is not None:
        contents = _contents(first.questions, ones)
        others = _contents(second.questions, twos)
        by_content = {content: name for name, content in contents.items()}
        renamed = {
            name: by_content[content]
            for name, content in others.items()
            if name not in contents and by_content.get(content) not in (None, *others)
        }
        twos = twos.with_columns(pl.col("question_id").replace(renamed))
        changed = [name for name, content in contents.items() if others.get(name, content) != content]
    ids = [set(rows.get_column("question_id")) for rows in (ones, twos)]
    alone = [sorted(ids[0] - ids[1]), sorted(ids[1] - ids[0])]
    same = ids[0] & ids[1] - set(changed)
    left_out = len(alone[0]) + len(alone[1]) + len(changed)
    if left_out and not shared:
        kinds = (
            (alone[0], f"asked of {first.label} only"),
            (alone[1], f"asked of {second.label} only"),
            (changed, "with another text or expected answer"),
        )
        told = ", ".join(f"{len(names)} {what} (e.g. {names[0]})" for names, what in kinds if names)
        raise InputError(
            f"benchmark {benchmark}: wanted the same questions of both; got {told}. --shared compares the "
            f"{len(same)} that are the same"
        )
    if not same:
        raise InputError(
            f"benchmark {benchmark}: {first.label} and {second.label} share no question; wanted at least one"
        )
    kept = pl.col("question_id").is_in(sorted(same))
    return _Paired(ones.filter(kept), twos.filter(kept), left_out)


def _contents(questions: pl.DataFrame, attempts: pl.DataFrame) -> dict[str, str]:
    """One text of messages, answer and whether there is a verifier, by question_id."""
    asked = questions.join(attempts, on="question_id", how="semi", maintain_order="left")
    columns = asked.select("question_id", "messages", "answer", "verifier")
    return {
        name: json.dumps([[turn for turn in cell if turn["role"] != "system"], answer, verifier is None])
        for name, cell, answer, verifier in columns.iter_rows()
    }

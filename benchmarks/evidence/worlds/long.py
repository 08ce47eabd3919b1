"""World ``long``: 21 one-digit numbers in four rows, for models of 100 million parameters on a GPU.

A question is four rows of the bundled miniature task. Each row goes on with the total of the row before it, so the
first number of a row after the first is not written down:

    a 9 + 3 - 5 + 3 + 2 - 5, b + 4 - 2 + 6 - 3 - 5, c ..., d ... = ?

A response works through the rows in the miniature's four styles, five steps each: 20 steps, of which a single wrong one
spoils the answer. Each row after the first leaves the response's style for another one with probability 0.2.
"""

from __future__ import annotations

import random
import re
from dataclasses import replace

from benchmarks.evidence.worlds.base import Author, Shape, World, habits_of, pick
from benchmarks.evidence.worlds.modes import STUDENT_HABITS
from dasd.models.miniature import world as miniature
from dasd.models.miniature.world import Habits, Question

__all__ = ["LONG"]

ROWS = "abcd"
SWITCH = 0.2
"""Chance that a row is written in another style than the response began with."""

_TEACHER = replace(miniature.TEACHER_HABITS, styles=dict.fromkeys(miniature.STYLES, 0.25))


def _row(rng: random.Random, total: int) -> list[int]:
    """Terms of a row that begins at ``total`` and ends between 1 and 9; as in the miniature, nothing exceeds 19."""
    while True:
        takes = rng.sample(range(1, miniature.OPERANDS), rng.choice((2, 3)))
        terms = [total] + [rng.randint(1, 9) for _ in range(miniature.OPERANDS - 1)]
        for place in takes:
            terms[place] = -terms[place]
        totals = [sum(terms[: i + 1]) for i in range(miniature.OPERANDS)]
        most = max(*totals, sum(t for t in terms if t > 0))
        if min(totals) >= 0 and most <= miniature.LARGEST and 1 <= totals[-1] <= 9:
            return terms


def _question(rng: random.Random) -> Question:
    total = rng.randint(1, 9)
    rows = []
    for number, name in enumerate(ROWS):
        terms = _row(rng, total)
        first = f" {total}" if number == 0 else ""
        rows.append(name + first + "".join(f" {'+' if t > 0 else '-'} {abs(t)}" for t in terms[1:]))
        total = sum(terms)
    return Question(f"{', '.join(rows)} = ?", str(total))


def _rows(question: Question) -> list[Question]:
    """The rows, each as a question of the miniature."""
    found: list[Question] = []
    for row in question.question.removesuffix(" = ?").split(", "):
        first = found[-1].answer if found else row[2]
        terms = re.findall(r"[+-] \d", row)
        total = int(first) + sum(int(term.replace(" ", "")) for term in terms)
        found.append(Question(f"{first} {' '.join(terms)} = ?", str(total)))
    return found


def _labelled(habits: Habits, name: str) -> Habits:
    """The same habits within a row: its name instead of an opening sentence, and no closing one."""
    return replace(habits, openers={f"Row {name}. ": 1.0}, closers={"": 1.0})


def _solve(question: Question, author: Author, rng: random.Random) -> str:
    habits = habits_of(author, _TEACHER, STUDENT_HABITS)
    main = pick(habits.styles, rng)
    rows = _rows(question)
    parts = [pick(habits.openers, rng).format(first=question.question[2])]
    for name, row in zip(ROWS, rows, strict=True):
        style = main
        if name != ROWS[0] and rng.random() < SWITCH:
            style = pick({each: share for each, share in habits.styles.items() if each != main}, rng)
        solved = miniature.solve(row, style, rng, _labelled(habits, name))
        parts.append(solved.removeprefix("<think>").partition("</think>")[0])
    parts.append(pick(habits.closers, rng).format(answer=question.answer))
    return f"<think>{''.join(parts)}</think>{question.answer}"


def _prefix(question: Question, style: str, rng: random.Random) -> str:
    """Up to the first operator; the rows after the first may leave the style, as the teacher's do."""
    opener = pick(STUDENT_HABITS.openers, rng).format(first=question.question[2])
    begun = miniature.style_prefix(_rows(question)[0], style, rng, _labelled(STUDENT_HABITS, ROWS[0]))
    return f"<think>{opener}{begun.removeprefix('<think>')}"


LONG = World(
    name="long",
    doc="sums of 21 one-digit numbers in four rows, in four styles that mix; the student knows two of them",
    styles=miniature.STYLES,
    known=("running", "words"),
    question=_question,
    solve=_solve,
    prefix=_prefix,
    style_of=miniature.style_of,
    split_of=miniature.split_of,
    teacher=Shape(
        width=1280,
        layers=8,
        heads=20,
        mlp=3456,
        questions=5_800,
        epochs=2,
        learning_rate=2e-3,
        batch_size=4,
    ),
    student=Shape(
        width=1024, layers=8, heads=16, mlp=2816, questions=4_000, epochs=2, learning_rate=2e-3, batch_size=4
    ),
)

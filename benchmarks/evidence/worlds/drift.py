"""World ``drift``: 20 one-digit numbers, checked as they are added up, in which a weak student runs on.

Every number has a letter, and a response names the letter that it has come to:

    a 9 b + 3 c - 5 d ... t + 2 = ?

A step may be checked by the inverse operation. Where the check fails, the author goes back to the row's first letter,
up to four steps ago, and works through the row again:

    So b 9 + 3 = 12. Check 12 - 3 = 9, good. Then c 12 - 5 = 8. Check 8 + 5 = 13, wait. Back to b 9. So b 9 + 3 = ...

Solved texts hold a few slips, all of them found. A model that learns from them slips about as often and finds fewer, so
that answers at temperature 1 are often wrong; whoever slips often goes back often, and runs on. Three styles differ in
wording alone and mix: each row after the first leaves the response's style with probability 0.2.

In ``drift-wide`` a larger student learns from the same teacher's same responses.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from string import ascii_lowercase

from benchmarks.evidence.worlds.base import Author, Shape, World, habits_of, pick
from dasd.models.miniature import world as miniature
from dasd.models.miniature.world import Habits, Question

__all__ = ["DRIFT", "DRIFT_WIDE"]

OPERANDS = 20
LARGEST = 19
"""No running total exceeds this; none is negative."""
ROW = 5
"""Steps of a row, the last one's aside."""
SWITCH = 0.2
"""Chance that a row is written in another style than the response began with."""
CHECKED = 0.6
"""Chance that a right step is checked; a slip always is."""
SLIP = 0.03
RETRIES = 4
"""Slips in a response, at most."""

_WORDING = {"running": ("+", "-", "="), "words": ("and", "less", "is"), "climb": ("up", "down", "to")}
_TEACHER = Habits(
    styles={"running": 0.4, "words": 0.3, "climb": 0.3},
    openers={"Begin at {first}. ": 0.4, "Let me see. ": 0.3, "First comes {first}. ": 0.3},
    connectors={"So": 0.45, "Then": 0.35, "Next": 0.2},
    remarks={},
    closers={"That makes {answer}. ": 0.4, "We end at {answer}. ": 0.3, "All done with {answer}. ": 0.3},
    remark_probability=SWITCH,
)
_STUDENT = replace(
    _TEACHER,
    styles={"running": 0.5, "words": 0.5},
    connectors={"So": 0.6, "Then": 0.4},
    closers={"That makes {answer}. ": 0.6, "We end at {answer}. ": 0.4},
)


def _question(rng: random.Random) -> Question:
    total = rng.randint(1, 9)
    text = f"a {total}"
    for letter in ascii_lowercase[1:OPERANDS]:
        change = rng.choice([c for c in range(-9, 10) if c and 0 <= total + c <= LARGEST])
        text += f" {letter} {'+' if change > 0 else '-'} {abs(change)}"
        total += change
    return Question(f"{text} = ?", str(total))


def _terms(question: Question) -> list[int]:
    found = re.findall(r"[a-z]( [+-])? (\d)", question.question)
    return [int(f"{sign.strip()}{digit}") for sign, digit in found]


def _says(style: str, left: int, change: int, result: int) -> str:
    add, take, equals = _WORDING[style]
    return f"{left} {add if change > 0 else take} {abs(change)} {equals} {result}"


def _row(
    letters: str, totals: list[int], style: str, habits: Habits, rng: random.Random, slips: Iterator[bool]
) -> Iterator[str]:
    """Sentences that take the first of ``totals`` to the last, by way of every other."""
    place = 0
    while place < len(letters):
        before, after = totals[place : place + 2]
        change = after - before
        slipped = next(slips)
        wrong = [each for each in range(after - 2, after + 3) if each != after and 0 <= each <= LARGEST]
        result = rng.choice(wrong) if slipped else after
        yield f"{pick(habits.connectors, rng)} {letters[place]} {_says(style, before, change, result)}. "
        if slipped:
            check = _says(style, result, -change, result - change)
            yield f"Check {check}, wait. Back to {letters[0]} {totals[0]}. "
            place = 0
            continue
        if rng.random() < CHECKED:
            yield f"Check {_says(style, after, -change, before)}, good. "
        place += 1


def _slips(rng: random.Random) -> Iterator[bool]:
    """Whether a step goes wrong, step by step."""
    left = RETRIES
    while True:
        slipped = left > 0 and rng.random() < SLIP
        left -= slipped
        yield slipped


def _solve(question: Question, author: Author, rng: random.Random) -> str:
    habits = habits_of(author, _TEACHER, _STUDENT)
    terms = _terms(question)
    totals = [sum(terms[: number + 1]) for number in range(OPERANDS)]
    main = pick(habits.styles, rng)
    parts = [pick(habits.openers, rng).format(first=totals[0])]
    slips = _slips(rng)
    for start, stop in pairwise([*range(0, OPERANDS - 1, ROW), OPERANDS - 1]):
        style = main
        if start and rng.random() < habits.remark_probability:
            style = pick({name: share for name, share in habits.styles.items() if name != main}, rng)
        letters = ascii_lowercase[start + 1 : stop + 1]
        parts += _row(letters, totals[start : stop + 1], style, habits, rng, slips)
    parts.append(pick(habits.closers, rng).format(answer=totals[-1]))
    return f"<think>{''.join(parts)}</think>{totals[-1]}"


def _prefix(question: Question, style: str, rng: random.Random) -> str:
    """Up to the first operator; the rows after the first may leave the style, as the teacher's do."""
    first, second = _terms(question)[:2]
    add, take, _ = _WORDING[style]
    opener = pick(_STUDENT.openers, rng).format(first=first)
    return f"<think>{opener}{pick(_STUDENT.connectors, rng)} b {first} {add if second > 0 else take}"


_STEP = {
    style: re.compile(rf"\d (?:{re.escape(add)}|{re.escape(take)}) \d+ {re.escape(equals)} -?\d")
    for style, (add, take, equals) in _WORDING.items()
}


def _style_of(text: str) -> str | None:
    counts = Counter({style: len(step.findall(text)) for style, step in _STEP.items()})
    (first, most), (_, second) = counts.most_common(2)
    return first if most > second else None


DRIFT = World(
    name="drift",
    doc="sums of 20 one-digit numbers with checks, slips and rows begun again; the student knows two of three styles",
    styles=tuple(_WORDING),
    known=("running", "words"),
    question=_question,
    solve=_solve,
    prefix=_prefix,
    style_of=_style_of,
    split_of=miniature.split_of,
    teacher=Shape(width=128, layers=4, heads=4, mlp=384, questions=10_000, epochs=1),
    student=Shape(width=64, layers=3, heads=4, mlp=192, questions=2_500, epochs=1),
    right=(0.5, 0.85),
    told_apart=(0.2, 0.6),
    least_over_cap=0.1,
    one_tokenizer=True,
)
DRIFT_WIDE = replace(
    DRIFT,
    name="drift-wide",
    doc="the same questions and responses for a student of more than twice the size",
    student=replace(DRIFT.student, width=80, mlp=240, layers=3),
    pool_of="drift",
)

"""World ``drift``: four operations done five times over, checked on the way, in which a weak student runs on.

    start 9 a +3 b -5 c -1 d +4 times 5 = ?

A response goes through the rounds step by step. A step may be checked by the inverse operation. Where the check fails,
the author goes back to the beginning of the round and works through it again:

    So a +3: 9 + 3 = 12. Check 12 - 3 = 9, good. Then b -5: 12 - 5 = 8. Check 8 + 5 = 13, wait. Back to 9. ...

Solved texts hold slips, all of them found: the teacher's few, the student's many. A model that learns from them slips
as often and finds fewer, so that answers at temperature 1 are often wrong; whoever slips often goes back often, and
runs on. Three styles differ in wording alone and mix: each round after the first leaves the response's style with
probability 0.2.

In ``drift-wide`` a larger student learns from the same teacher's same responses.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate

from benchmarks.evidence.worlds.base import Author, Shape, World, habits_of, pick
from dasd.models.miniature import world as miniature
from dasd.models.miniature.world import Habits, Question

__all__ = ["DRIFT", "DRIFT_WIDE"]

LETTERS = "abcd"
ROUNDS = 5
LARGEST = 19
"""No running total exceeds this; none is negative."""
SWITCH = 0.2
"""Chance that a round is written in another style than the response began with."""
CHECKED = 0.6
"""Chance that a right step is checked; a slip always is."""
SLIP: dict[Author, float] = {"teacher": 0.04, "student": 0.15}
"""Chance that a step of a solved text goes wrong."""
RETRIES: dict[Author, int] = {"teacher": 4, "student": 6}
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
    while True:
        start = rng.randint(0, LARGEST)
        changes = [rng.choice((-1, 1)) * rng.randint(1, 9) for _ in LETTERS]
        totals = _totals(start, changes)
        # A round that ends where it began would give the answer away.
        if sum(changes) and min(totals) >= 0 and max(totals) <= LARGEST:
            named = " ".join(f"{letter} {change:+}" for letter, change in zip(LETTERS, changes, strict=True))
            return Question(f"start {start} {named} times {ROUNDS} = ?", str(totals[-1]))


def _totals(start: int, changes: list[int]) -> list[int]:
    """Before the first step and after each."""
    return [*accumulate(changes * ROUNDS, initial=start)]


def _parsed(question: Question) -> tuple[int, list[int]]:
    """The start, and what a round does."""
    start, *changes = re.findall(r"[+-]?\d+", question.question.partition(" times ")[0])
    return int(start), [int(change) for change in changes]


def _says(style: str, left: int, change: int, result: int) -> str:
    add, take, equals = _WORDING[style]
    return f"{left} {add if change > 0 else take} {abs(change)} {equals} {result}"


def _round(
    totals: list[int], style: str, habits: Habits, rng: random.Random, slips: Iterator[bool]
) -> Iterator[str]:
    """Sentences that take the first of ``totals`` to the last, by way of every other."""
    place = 0
    while place < len(LETTERS):
        before, after = totals[place : place + 2]
        change = after - before
        slipped = next(slips)
        wrong = [each for each in range(after - 2, after + 3) if each != after and 0 <= each <= LARGEST]
        result = rng.choice(wrong) if slipped else after
        opens = f"{pick(habits.connectors, rng)} {LETTERS[place]} {change:+}"
        yield f"{opens}: {_says(style, before, change, result)}. "
        if slipped:
            yield f"Check {_says(style, result, -change, result - change)}, wait. Back to {totals[0]}. "
            place = 0
            continue
        if rng.random() < CHECKED:
            yield f"Check {_says(style, after, -change, before)}, good. "
        place += 1


def _slips(author: Author, rng: random.Random) -> Iterator[bool]:
    """Whether a step goes wrong, step by step."""
    left = RETRIES[author]
    while True:
        slipped = left > 0 and rng.random() < SLIP[author]
        left -= slipped
        yield slipped


def _solve(question: Question, author: Author, rng: random.Random) -> str:
    habits = habits_of(author, _TEACHER, _STUDENT)
    start, changes = _parsed(question)
    totals = _totals(start, changes)
    main = pick(habits.styles, rng)
    parts = [pick(habits.openers, rng).format(first=start)]
    slips = _slips(author, rng)
    for number in range(ROUNDS):
        style = main
        if number and rng.random() < habits.remark_probability:
            style = pick({name: share for name, share in habits.styles.items() if name != main}, rng)
        first = number * len(LETTERS)
        parts += _round(totals[first : first + len(LETTERS) + 1], style, habits, rng, slips)
    parts.append(pick(habits.closers, rng).format(answer=totals[-1]))
    return f"<think>{''.join(parts)}</think>{totals[-1]}"


def _prefix(question: Question, style: str, rng: random.Random) -> str:
    """Up to the first operator; the rounds after the first may leave the style, as the teacher's do."""
    start, changes = _parsed(question)
    add, take, _ = _WORDING[style]
    opener = pick(_STUDENT.openers, rng).format(first=start)
    operator = add if changes[0] > 0 else take
    return f"<think>{opener}{pick(_STUDENT.connectors, rng)} a {changes[0]:+}: {start} {operator}"


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
    doc="four operations five times over, with checks, slips and rounds begun again; two of three styles are known",
    styles=tuple(_WORDING),
    known=("running", "words"),
    question=_question,
    solve=_solve,
    prefix=_prefix,
    style_of=_style_of,
    split_of=miniature.split_of,
    teacher=Shape(width=96, layers=4, heads=4, mlp=288, questions=6_000, epochs=1, batch_size=2),
    student=Shape(width=48, layers=3, heads=4, mlp=144, questions=1_500, epochs=1, batch_size=2),
    right=(0.5, 0.85),
    told_apart=(0.2, 0.6),
    least_over_cap=0.1,
    one_tokenizer=True,
)
DRIFT_WIDE = replace(
    DRIFT,
    name="drift-wide",
    doc="the same questions and responses for a student of more than twice the size",
    student=replace(DRIFT.student, width=72, mlp=216),
    pool_of="drift",
)

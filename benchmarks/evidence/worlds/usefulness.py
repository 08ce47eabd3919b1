"""Worlds ``usefulness`` and ``decomposition``: styles of equal length, two with easy steps and two with hard ones.

A question adds and subtracts seven one-digit numbers; every running total lies between 0 and 9. A response works
through three pairs of operations. An easy style takes a pair in two steps, a hard one in a single step and fills up
with a remark that says nothing, so both write two sentences of about as many tokens:

| style | a pair of operations | steps | the student |
|---|---|---|---|
| steps | `So 3 + 4 = 7. Then 7 - 2 = 5.` | easy | knows it |
| leaps | `So 3 and 4 less 2 is 5. Fine so far.` | hard | knows it |
| walks | `So 3 up 4 to 7. Then 7 down 2 to 5.` | easy | has never seen it |
| jumps | `So 3 plus 4 minus 2 makes 5. Fine so far.` | hard | has never seen it |

There are 90 easy steps to learn and 810 hard ones. Styles mix within a response: each pair after the first leaves the
response's style for another one with probability 0.2.

In ``decomposition`` the filler is no remark but the end of the hard step's own sentence, ``So 3 plus 4 minus 2 makes 5
and done so far.``: a new easy style has twice as many sentences as a new hard one, however familiar a remark is.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from functools import partial

from benchmarks.evidence.worlds.base import Author, Shape, World, habits_of, pick
from dasd.models.miniature import world as miniature
from dasd.models.miniature.world import Habits, Question

__all__ = ["DECOMPOSITION", "USEFULNESS"]

OPERANDS = 7
LARGEST = 9
SWITCH = 0.2
"""Chance that a pair of operations is written in another style than the response began with."""

_WORDING = {
    "steps": ("+", "-", "="),
    "leaps": ("and", "less", "is"),
    "walks": ("up", "down", "to"),
    "jumps": ("plus", "minus", "makes"),
}
_EASY = ("steps", "walks")
_FILLERS = {"Fine so far. ": 0.5, "All done so far. ": 0.5}
_TAIL = " and done so far. "
_PHRASES = {
    "openers": {"Begin at {first}. ": 0.35, "Let me see. ": 0.25, "First comes {first}. ": 0.4},
    "connectors": {"So": 0.45, "Then": 0.35, "Next": 0.2},
    "closers": {"That makes {answer}. ": 0.4, "We end at {answer}. ": 0.3, "All done with {answer}. ": 0.3},
}
_TEACHER = Habits(
    styles=dict.fromkeys(_WORDING, 0.25), remarks=_FILLERS, remark_probability=SWITCH, **_PHRASES
)
_STUDENT = Habits(
    styles={"steps": 0.5, "leaps": 0.5},
    openers={"Begin at {first}. ": 0.45, "Let me see. ": 0.3, "First comes {first}. ": 0.25},
    connectors={"So": 0.5, "Then": 0.35, "Next": 0.15},
    closers={"That makes {answer}. ": 0.5, "We end at {answer}. ": 0.3, "All done with {answer}. ": 0.2},
    remarks=_FILLERS,
    remark_probability=SWITCH,
)


def _question(rng: random.Random) -> Question:
    total = rng.randint(1, LARGEST)
    text = str(total)
    for _ in range(OPERANDS - 1):
        change = rng.choice([c for c in range(-9, 10) if c and 0 <= total + c <= LARGEST])
        text += f" {'+' if change > 0 else '-'} {abs(change)}"
        total += change
    return Question(f"{text} = ?", str(total))


def _terms(question: Question) -> list[int]:
    found = re.findall(r"([+-]?) ?(\d)", question.question)
    return [int(sign + digit) for sign, digit in found]


def _pair(
    style: str, total: int, first: int, second: int, habits: Habits, rng: random.Random, *, remarks: bool
) -> str:
    """Sentences that take ``total`` past two operations: two, or one where a hard step gets no remark."""
    add, take, result = _WORDING[style]
    opens = pick(habits.connectors, rng)
    middle, end = total + first, total + first + second
    one, two = (f"{add if x > 0 else take} {abs(x)}" for x in (first, second))
    if style in _EASY:
        first_step = f"{opens} {total} {one} {result} {middle}"
        return f"{first_step}. {pick(habits.connectors, rng)} {middle} {two} {result} {end}. "
    padding = f". {pick(habits.remarks, rng)}" if remarks else _TAIL
    return f"{opens} {total} {one} {two} {result} {end}{padding}"


def _solve(question: Question, author: Author, rng: random.Random, *, remarks: bool) -> str:
    habits = habits_of(author, _TEACHER, _STUDENT)
    terms = _terms(question)
    main = pick(habits.styles, rng)
    total = terms[0]
    parts = [pick(habits.openers, rng).format(first=total)]
    for start in range(1, OPERANDS, 2):
        style = main
        if start > 1 and rng.random() < habits.remark_probability:
            style = pick({name: share for name, share in habits.styles.items() if name != main}, rng)
        first, second = terms[start : start + 2]
        parts.append(_pair(style, total, first, second, habits, rng, remarks=remarks))
        total += first + second
    parts.append(pick(habits.closers, rng).format(answer=total))
    return f"<think>{''.join(parts)}</think>{total}"


def _prefix(question: Question, style: str, rng: random.Random) -> str:
    """Up to the operator of the first pair; the pairs after it may leave the style, as the teacher's do."""
    terms = _terms(question)
    add, take, _ = _WORDING[style]
    opener = pick(_STUDENT.openers, rng).format(first=terms[0])
    return f"<think>{opener}{pick(_STUDENT.connectors, rng)} {terms[0]} {add if terms[1] > 0 else take}"


def _style_of(text: str) -> str | None:
    counts = Counter(
        {
            style: (1 if style in _EASY else 2)
            * len(
                re.findall(rf" (?:{re.escape(add)}|{re.escape(take)}) \d[^.]* {re.escape(result)} \d", text)
            )
            for style, (add, take, result) in _WORDING.items()
        }
    )
    (first, most), (_, second) = counts.most_common(2)
    return first if most > second else None


USEFULNESS = World(
    name="usefulness",
    doc="sums of seven one-digit numbers; two styles take a step at a time, two take two at once and pad",
    styles=tuple(_WORDING),
    known=("steps", "leaps"),
    question=_question,
    solve=partial(_solve, remarks=True),
    prefix=_prefix,
    style_of=_style_of,
    split_of=miniature.split_of,
    teacher=Shape(width=128, layers=4, heads=4, mlp=384, questions=16_000, epochs=2.5),
    student=Shape(width=64, layers=3, heads=4, mlp=192, questions=5_000, epochs=2),
)
DECOMPOSITION = replace(
    USEFULNESS,
    name="decomposition",
    doc="the same sums; the styles that take two steps at once write one long sentence where the others write two",
    solve=partial(_solve, remarks=False),
    apart=("walks", "jumps"),
    least_apart=1.5,
)

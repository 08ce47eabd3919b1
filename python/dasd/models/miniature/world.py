"""The procedural task of the miniature models: sums of six one-digit numbers, solved aloud.

A question is `9 + 3 - 5 + 3 + 2 - 5 = ?`. A response works it out in short sentences between think
tags and ends with the answer: `<think>Begin at 9. So 9 + 3 = 12. ... That makes 7. </think>7`.

There are four solution styles of equal length (five steps of the same shape). They differ in wording,
and two of them also in the order of the work:

| style | order of the five steps | a step |
|---|---|---|
| running | left to right | `So 9 + 3 = 12.` |
| words | left to right | `So 9 and 3 is 12.` |
| climb | every addition first, then the subtractions one by one | `So 9 up 3 to 12.` |
| piles | total of the additions, total of the subtractions, their difference | `So 9 plus 3 makes 12.` |

The opening sentence, the word that opens each step, the remarks between steps and the closing sentence are
drawn independently of the style, so two responses in one style still differ sentence by sentence. Every
intermediate result lies between 0 and 19. This module is pure Python and needs no other package.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from dasd.base.checksums import checksum

Split = Literal["train", "eval"]

OPERANDS = 6
LARGEST = 19
"""No operand, running total or partial total exceeds this; none is negative."""

EVAL_SHARE = 0.1
"""Share of all questions that the hash assigns to the evaluation split."""

STYLES: tuple[str, ...] = ("running", "words", "climb", "piles")

_WORDING: dict[str, tuple[str, str, str]] = {
    "running": ("+", "-", "="),
    "words": ("and", "less", "is"),
    "climb": ("up", "down", "to"),
    "piles": ("plus", "minus", "makes"),
}
_STEP = {
    style: re.compile(rf"\b\d+ (?:{re.escape(add)}|{re.escape(take)}) \d+ {re.escape(result)} \d+\b")
    for style, (add, take, result) in _WORDING.items()
}
_ANSWER = re.compile(r"-?[0-9]{1,9}")
_THINK_END = "</think>"


@dataclass(frozen=True)
class Question:
    """One task: `question` is what the user asks, `answer` its integer result as text."""

    question: str
    answer: str


@dataclass(frozen=True)
class Habits:
    """How an author of responses chooses: each field maps an option to its relative share.

    In `openers` and `closers`, `{first}` and `{answer}` stand for the first operand and the result.
    `remark_probability` is the chance of a remark after each step but the last.
    """

    styles: dict[str, float]
    openers: dict[str, float]
    connectors: dict[str, float]
    remarks: dict[str, float]
    closers: dict[str, float]
    remark_probability: float


TEACHER_HABITS = Habits(
    styles={"running": 0.3, "words": 0.3, "climb": 0.2, "piles": 0.2},
    openers={
        "Begin at {first}. ": 0.35,
        "Let me see. ": 0.25,
        "First comes {first}. ": 0.2,
        "Take it slowly. ": 0.2,
    },
    connectors={"So": 0.45, "Then": 0.35, "Next": 0.12, "Now": 0.08},
    remarks={"Good. ": 0.5, "Fine so far. ": 0.25, "Keep going. ": 0.25},
    closers={"That makes {answer}. ": 0.4, "We end at {answer}. ": 0.3, "All done with {answer}. ": 0.3},
    remark_probability=0.15,
)
"""What the teacher learned from: all four styles and every phrase."""

STUDENT_HABITS = Habits(
    styles={"running": 0.6, "words": 0.4},
    openers={"Begin at {first}. ": 0.6, "Let me see. ": 0.4},
    connectors={"So": 0.6, "Then": 0.4},
    remarks={"Good. ": 1.0},
    closers={"That makes {answer}. ": 0.6, "We end at {answer}. ": 0.4},
    remark_probability=0.15,
)
"""What the student knew before distillation: two of the styles and about half of the phrases."""


def split_of(question: str) -> Split:
    """Return the split that owns `question`: decided by a hash of its text, so the two never share one."""
    return "eval" if int(checksum(question.encode(), 4), 16) < EVAL_SHARE * 2**32 else "train"


def questions(count: int, seed: int, split: Split = "train") -> list[Question]:
    """Return `count` different questions of one split, the same for the same arguments.

    Raises ValueError for a negative count, an unknown split, or more than 100,000 questions (the world
    holds millions, but drawing without repetition slows down long before it runs out).
    """
    if not 0 <= count <= 100_000:
        raise ValueError(f"count must be between 0 and 100000, got {count}")
    if split not in ("train", "eval"):
        raise ValueError(f"split must be 'train' or 'eval', got {split!r}")
    rng = random.Random(f"{split}/{seed}")
    drawn: dict[str, Question] = {}
    while len(drawn) < count:
        question = random_question(rng)
        if split_of(question.question) == split:
            drawn.setdefault(question.question, question)
    return list(drawn.values())


def random_question(rng: random.Random) -> Question:
    """Draw one question of either split: two or three subtractions, every total within 0 to 19."""
    while True:
        takes = set(rng.sample(range(1, OPERANDS), rng.choice((2, 3))))
        terms = [(-1 if i in takes else 1) * rng.randint(1, 9) for i in range(OPERANDS)]
        totals = [sum(terms[: i + 1]) for i in range(OPERANDS)]
        if min(totals) >= 0 and max(totals) <= LARGEST and sum(t for t in terms if t > 0) <= LARGEST:
            text = str(terms[0]) + "".join(f" {'+' if t > 0 else '-'} {abs(t)}" for t in terms[1:])
            return Question(f"{text} = ?", str(totals[-1]))


def parse(question: str) -> list[int]:
    """Return the six signed operands of a question's text. Raises ValueError when it is not of this world."""
    if not re.fullmatch(r"\d(?: [+-] \d){5} = \?", question):
        raise ValueError(f"wanted a question such as '9 + 3 - 5 + 3 + 2 - 5 = ?', got {question!r}")
    return [int(sign + digit) for sign, digit in re.findall(r"([+-]?) ?(\d)", question)]


def solve(question: Question, style: str, rng: random.Random, habits: Habits = TEACHER_HABITS) -> str:
    """Write one full, right response to `question` in `style`; phrases are drawn from `habits` with `rng`."""
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    terms = parse(question.question)
    add, take, result = _WORDING[style]
    parts = [_draw(habits.openers, rng).format(first=terms[0])]
    steps = _steps(terms, style)
    for position, (left, right, total) in enumerate(steps):
        operator = add if total == left + right else take
        parts.append(f"{_draw(habits.connectors, rng)} {left} {operator} {right} {result} {total}. ")
        if position < len(steps) - 1 and rng.random() < habits.remark_probability:
            parts.append(_draw(habits.remarks, rng))
    parts.append(_draw(habits.closers, rng).format(answer=steps[-1][2]))
    return f"<think>{''.join(parts)}{_THINK_END}{steps[-1][2]}"


def draw_style(rng: random.Random, habits: Habits = TEACHER_HABITS) -> str:
    """Draw a style by the shares of `habits`."""
    return _draw(habits.styles, rng)


def style_prefix(question: Question, style: str, rng: random.Random, habits: Habits = TEACHER_HABITS) -> str:
    """Return the start of a response up to the first operator word, which commits its author to `style`."""
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    first = parse(question.question)[0]
    add, take, _ = _WORDING[style]
    left, right, total = _steps(parse(question.question), style)[0]
    operator = add if total == left + right else take
    opener = _draw(habits.openers, rng).format(first=first)
    return f"<think>{opener}{_draw(habits.connectors, rng)} {left} {operator}"


def style_of(text: str) -> str | None:
    """Name the style in which most steps of a response are written; None without steps or on a tie."""
    counts = Counter({style: len(step.findall(text)) for style, step in _STEP.items()})
    (first, most), (_, second) = counts.most_common(2)
    return first if most > second else None


def verify(text: str, answer: str) -> tuple[bool, str | None]:
    """Judge a response: whether its answer is right, and the answer found after the closing think tag.

    The part after the last `</think>` must be one integer of at most nine digits and nothing else; otherwise
    (False, None). Raises ValueError when `answer` is no integer.
    """
    _, tag, tail = text.rpartition(_THINK_END)
    found = tail.strip()
    if not tag or not _ANSWER.fullmatch(found):
        return False, None
    return int(found) == int(answer), found


def _steps(terms: list[int], style: str) -> list[tuple[int, int, int]]:
    """Return the five steps (left, right, total) of a style; total is left + right or left - right."""
    ups = [t for t in terms if t > 0]
    downs = [-t for t in terms if t < 0]
    if style == "piles":
        gained, lost = _chain(ups), _chain(downs)
        up, down = sum(ups), sum(downs)
        return [*gained, *lost, (up, down, up - down)]
    return _chain(ups + [-d for d in downs] if style == "climb" else terms)


def _chain(terms: list[int]) -> list[tuple[int, int, int]]:
    total, steps = terms[0], []
    for term in terms[1:]:
        steps.append((total, abs(term), total + term))
        total += term
    return steps


def _draw(shares: dict[str, float], rng: random.Random) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]

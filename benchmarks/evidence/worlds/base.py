"""What the suite needs of a world: questions, solved aloud in several styles of equal length."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dasd.models.miniature.world import Habits, Question, Split

__all__ = ["AUTHORS", "Author", "Shape", "World", "drawn"]

Author = Literal["teacher", "student"]
AUTHORS: tuple[Author, ...] = ("teacher", "student")


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama made from scratch, and how it learns to solve the world's questions before any distillation.

    ``questions`` solved once each, trained on for ``epochs``; a step takes ``batch_size`` packs of
    the scale's length.
    """

    width: int
    layers: int
    heads: int
    mlp: int
    questions: int
    epochs: float
    learning_rate: float = 1e-2
    batch_size: int = 5


@dataclass(frozen=True, slots=True)
class World:
    """A procedural task with several ways to solve it."""

    name: str
    doc: str
    styles: tuple[str, ...]
    known: tuple[str, ...]
    """Styles that the student has learned before distillation."""
    question: Callable[[random.Random], Question]
    """Draws one question of either split."""
    solve: Callable[[Question, Author, random.Random], str]
    """A right response as the author would write it."""
    prefix: Callable[[Question, str, random.Random], str]
    """The start of a response that commits its author to a style."""
    style_of: Callable[[str], str | None]
    """The style of most steps of a response; None without steps or on a tie."""
    split_of: Callable[[str], Split]
    teacher: Shape
    student: Shape
    apart: tuple[str, str] | None = None
    """Two new styles of which the first is to have at least ``least_apart`` more Teacher sentences in the mean."""
    least_apart: float = 0.0
    right: tuple[float, float] = (0.9, 1.0)
    """The teacher is right at least so often in every style, and at most so often in all."""
    told_apart: tuple[float, float] = (0.3, 0.5)
    """Share of Teacher sentences, least and most."""
    least_over_cap: float = 0.0
    """Share of the student's answers, before distillation, that are longer than 1.5 times the teacher's response."""
    one_tokenizer: bool = False
    """Whether both models have one tokenizer, of the world's own words; else those of the miniature models."""
    pool_of: str | None = None
    """World whose teacher, questions and responses this one takes, of the same seed; None: it has its own."""


def drawn(world: World, count: int, split: Split, *seed: object) -> list[Question]:
    """``count`` different questions of one split: the same for the same arguments."""
    rng = random.Random("/".join(map(str, (world.pool_of or world.name, split, *seed))))
    found: dict[str, Question] = {}
    while len(found) < count:
        question = world.question(rng)
        if world.split_of(question.question) == split:
            found.setdefault(question.question, question)
    return list(found.values())


def pick(shares: dict[str, float], rng: random.Random) -> str:
    """One key by its share."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def habits_of(author: Author, teacher: Habits, student: Habits) -> Habits:
    """The habits of an author."""
    return teacher if author == "teacher" else student

"""World ``modes``: the bundled miniature task. Four styles of equal length, none better than another by design."""

from __future__ import annotations

import random

from benchmarks.evidence.worlds.base import Author, Shape, World, habits_of
from dasd.models.miniature import world as miniature

__all__ = ["MODES", "STUDENT_HABITS"]

STUDENT_HABITS = miniature.Habits(
    styles={"running": 0.5, "words": 0.5},
    openers={"Begin at {first}. ": 0.45, "Let me see. ": 0.35, "First comes {first}. ": 0.2},
    connectors={"So": 0.5, "Then": 0.35, "Next": 0.15},
    remarks={"Good. ": 0.7, "Fine so far. ": 0.3},
    closers={"That makes {answer}. ": 0.5, "We end at {answer}. ": 0.3, "All done with {answer}. ": 0.2},
    remark_probability=0.15,
)
"""Two of the styles and most of the phrases, so that half of the sentences are new to the student, not nearly all."""


def _solve(question: miniature.Question, author: Author, rng: random.Random) -> str:
    habits = habits_of(author, miniature.TEACHER_HABITS, STUDENT_HABITS)
    return miniature.solve(question, miniature.draw_style(rng, habits), rng, habits)


def _prefix(question: miniature.Question, style: str, rng: random.Random) -> str:
    # Phrases that both models know, so that what is forced is the style alone.
    return miniature.style_prefix(question, style, rng, STUDENT_HABITS)


MODES = World(
    name="modes",
    doc="sums of six one-digit numbers in four styles of five steps each; the student knows two of them",
    styles=miniature.STYLES,
    known=("running", "words"),
    question=miniature.random_question,
    solve=_solve,
    prefix=_prefix,
    style_of=miniature.style_of,
    split_of=miniature.split_of,
    teacher=Shape(width=128, layers=4, heads=4, mlp=384, questions=12_000, epochs=2.5),
    student=Shape(width=64, layers=3, heads=4, mlp=192, questions=4_000, epochs=2),
)

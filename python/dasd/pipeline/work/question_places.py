"""Where a question is from, for messages: people find ``mine.jsonl, row 41`` and not the hash that stands for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from dasd.errors import DasdError
from dasd.pipeline.work.stage import StageContext

__all__ = ["located", "named", "places_of", "with_place"]

_WORD = re.compile(r"[^\s,;:()'\"]+")
SHOWN = 3
"""Most questions that a message tells the places of."""


def places_of(context: StageContext) -> dict[str, str]:
    """question_id -> place, of the questions whose source says it. Read when something is told, not before."""
    rows = context.inputs.frame("questions", "places").collect()
    return dict(zip(rows["question_id"], rows["place"], strict=True))


def named(context: StageContext, question_ids: list[str]) -> list[str]:
    """``with_place`` of each."""
    places = places_of(context)
    return [with_place(each, places.get(each)) for each in question_ids]


def with_place(question_id: str, place: str | None) -> str:
    """``question ID (mine.jsonl, row 41)``, or without the place where nobody knows it."""
    return f"question {question_id} ({place})" if place else f"question {question_id}"


@contextmanager
def located(context: StageContext, questions: Mapping[str, str]) -> Iterator[None]:
    """Lets errors of dasd's pass that name a sample or a question, with the question's place at their end.

    ``questions``: sample_id -> question_id of what an engine or evaluator is asked for.
    """
    try:
        yield
    except DasdError as error:
        text = str(error)
        known = set(questions.values())
        found = [questions.get(word, word) for word in _WORD.findall(text)]
        mentioned = list(dict.fromkeys(word for word in found if word in known))[:SHOWN]
        places = places_of(context) if mentioned else {}
        told = [f"question {each} is {places[each]}" for each in mentioned if each in places]
        if told and error.args == (text,):
            error.args = (f"{text} ({'; '.join(told)})",)
        raise

"""Requests to engines, with identities and seeds derived from what they ask for."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd.base.frames import messages_of
from dasd.base.records import SampleRequest
from dasd.base.seeds import digest, seed_of
from dasd.pipeline.work.units import Unit
from dasd.store import PartRows

__all__ = ["sample_id", "sample_requests", "unit_requests"]


def sample_id(question_id: str, model: str, temperature: float, candidate: int, seed: int) -> str:
    """Identity of a response, 16 bytes of blake2b in hexadecimal: the same in every run of a recipe.

    ``model``: as of ``model_identity``, so that it doesn't depend on where a model lies.
    """
    return digest(question_id, model, float(temperature), candidate, seed)


def unit_requests(
    unit: Unit,
    questions: PartRows,
    asked: pl.Series,
    model: str,
    temperature: float,
    candidates: int,
    seed: int,
) -> list[SampleRequest]:
    """Those of a unit of all ``candidates`` of the questions ``asked``, question by question.

    ``asked``: numbers of rows of ``questions`` (question_id and messages); the rest as in ``sample_requests``.
    """
    first, last = unit.start // candidates, -(-unit.stop // candidates)
    made = sample_requests(questions.take(asked[first:last]), model, temperature, candidates, seed)
    before = first * candidates
    return made[unit.start - before : unit.stop - before]


def sample_requests(
    questions: pl.DataFrame,
    model: str,
    temperature: float,
    candidates: int,
    seed: int,
    max_tokens: Sequence[int] | None = None,
) -> list[SampleRequest]:
    """One request a question and candidate, question by question in the order of ``questions``.

    ``model`` names the model in the identities, see ``sample_id``. ``max_tokens``: a cap a question, in order.
    """
    requests = []
    for row, (question, cell) in enumerate(questions.select("question_id", "messages").iter_rows()):
        messages = messages_of(cell)
        for candidate in range(candidates):
            identity = sample_id(question, model, temperature, candidate, seed)
            requests.append(
                SampleRequest(
                    sample_id=identity,
                    question_id=question,
                    messages=messages,
                    candidate=candidate,
                    seed=seed_of(identity, seed),
                    max_tokens=None if max_tokens is None else max_tokens[row],
                )
            )
    return requests

"""The verifier ``reasoning-gym``: the scorer of the procedural set that a question came from."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from dasd.base.records import Grade
from dasd.curation.sources.gym import reasoning_gym_package
from dasd.errors import InputError
from dasd.evaluation.verifiers.answers import boxed, final_text, marked

__all__ = ["GymVerifier"]

_NAME = "the verifier 'reasoning-gym'"
_RIGHT = 0.99


class _Entry(BaseModel):
    """Which question it is: enough to make it again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    seed: int
    size: int = Field(ge=1)
    index: int = Field(ge=0)
    config: dict[str, JsonValue] = Field(default_factory=dict)


class GymVerifier:
    """Right if the set scores the answer 0.99 or more.

    Tried are what is boxed, what follows the last "answer is" or "answer:", and all text after the reasoning.
    """

    def __init__(self) -> None:
        """Raises PluginError where the package isn't installed."""
        reasoning_gym_package(_NAME)

    def grade(self, response: str, answer: str, argument: str) -> Grade:  # noqa: ARG002
        """``argument``: a JSON object with dataset, seed, size, index and, where not the default, config."""
        try:
            entry = _Entry.model_validate_json(argument)
        except ValidationError as error:
            raise InputError(
                f"verifier 'reasoning-gym:{argument}': wanted a JSON object such as "
                '{"dataset": "chain_sum", "seed": 1, "size": 500, "index": 3}'
            ) from error
        made = _dataset(entry.dataset, entry.seed, entry.size, json.dumps(entry.config, sort_keys=True))
        if entry.index >= entry.size:
            raise InputError(
                f"verifier 'reasoning-gym:{argument}': index {entry.index} of {entry.size} questions"
            )
        question = made[entry.index]
        text = final_text(response)
        candidates = [c for c in (boxed(text), marked(text), text) if c]
        for candidate in candidates:
            if _score(made, candidate, question) >= _RIGHT:
                return Grade(True, candidate)
        return Grade(False, candidates[0] if candidates else None)


@lru_cache(maxsize=16)
def _dataset(name: str, seed: int, size: int, config: str) -> Any:
    package = reasoning_gym_package(_NAME)
    try:
        return package.create_dataset(name, seed=seed, size=size, **json.loads(config))
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(f"verifier 'reasoning-gym', set {name!r}: {error}") from error


def _score(dataset: Any, answer: str, entry: Any) -> float:
    try:
        return float(dataset.score_answer(answer, entry))
    except Exception:  # noqa: BLE001 - a scorer that trips over an odd answer finds it wrong
        return 0.0

"""How far a training has come, and what tells one training from another."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from dasd.base.files import canonical_json
from dasd.base.seeds import digest
from dasd.plugins.roles import TrainSpec

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Position:
    """How far a training has come."""

    step: int
    """Optimiser steps done."""
    tokens: int
    """Tokens seen, all starts together."""
    seconds: float
    """Time spent in steps, all starts together."""


def training_key(spec: TrainSpec, rows: str, weights: str) -> str:
    """Names a training by all that changes its result: a state of another key isn't resumed.

    ``rows`` and ``weights``: fingerprints of the data and of the start model. When states are saved, and on
    which device, may change between two starts.
    """
    settings = spec.settings.result_keys()
    facts = [_FORMAT, canonical_json(settings).decode(), spec.seed, rows, weights]
    if spec.on_policy is not None:
        facts.append(canonical_json([asdict(spec.on_policy), spec.part, spec.parts]).decode())
    return digest(*facts)

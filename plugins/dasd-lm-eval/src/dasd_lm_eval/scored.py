"""What a model said of each text that it was given: the ``text`` of an EVAL row, for people and to be read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

__all__ = ["Scored", "read_scored", "write_scored"]


@dataclass(frozen=True, slots=True)
class Scored:
    """One option, or a task's only text."""

    text: str
    logprob: float
    """Sum of the log-probabilities of its tokens, in nats, the end token not among them."""
    tokens: int
    greedy: bool | None
    """Whether greedy decoding gives this very text; None where no metric of the task asks."""

    @property
    def output(self) -> tuple[float, bool | int]:
        """As lm_eval's ``loglikelihood`` returns it, with -1 for not known: its metrics make an int of it, unused."""
        return self.logprob, -1 if self.greedy is None else self.greedy


def write_scored(scored: Sequence[Scored]) -> str:
    """One JSON object a line, numbers in full."""
    return "\n".join(json.dumps(asdict(each), ensure_ascii=False) for each in scored)


def read_scored(text: str) -> list[Scored]:
    """The inverse of ``write_scored``."""
    return [Scored(**json.loads(line)) for line in text.split("\n")]

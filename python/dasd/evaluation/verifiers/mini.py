"""The verifier ``miniature``: the bundled task's own."""

from __future__ import annotations

from dasd.base.records import Grade
from dasd.models.miniature.world import verify

__all__ = ["MiniatureVerifier"]


class MiniatureVerifier:
    """Right if the part after the last ``</think>`` is the expected integer and nothing else."""

    def grade(self, response: str, answer: str, argument: str) -> Grade:  # noqa: ARG002
        """``argument`` isn't used."""
        correct, extracted = verify(response, answer)
        return Grade(correct, extracted)

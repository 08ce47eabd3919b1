"""What a run says of another run whose selected responses it trains on (recipe key ``data``)."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationError

from dasd.errors import StoreError
from dasd.store.manifest import Record
from dasd.store.run import Run

__all__ = ["ORIGIN", "Origin", "origin_of"]

ORIGIN = "origin"
"""Key in the summary of stage ``questions``."""


class Origin(Record):
    """Where a run's responses come from. No path: the other run may have moved, or be gone."""

    run: str
    """Name of the run that they were taken from."""
    created: str
    """When that run's directory was made."""
    selected_in: str
    """Name of the run that selected them: another one where that run took them from elsewhere itself."""
    student: str
    """The model that they were selected for."""
    selector: str
    beta: float
    structure: Literal["think", "any"]
    """``filters.structure`` that they passed."""
    answers_filtered: bool
    """Whether answers that their question's verifier finds wrong were dropped (``filters.answer``)."""
    stages: dict[str, str]
    """Name of the other run's training stage, by this run's."""
    contents: dict[str, str]
    """Digest of what each stage of the other run wrote that was read."""

    def sentence(self) -> str:
        """For people."""
        through = "" if self.selected_in == self.run else f", which took them from {self.selected_in}"
        return (
            f"The responses are those that run {self.run} trained on{through}: they were selected for "
            f"{self.student} (selector {self.selector}), and nothing was sampled or scored again for this student."
        )


def origin_of(run: Run) -> Origin | None:
    """The run that ``run`` takes its responses from; None where it sampled its own, or has read no questions yet."""
    if "questions" not in {manifest.name for manifest in run.stages()}:
        return None
    found = run.summary("questions").get(ORIGIN)
    if found is None:
        return None
    try:
        return Origin.model_validate(found)
    except ValidationError as error:
        raise StoreError(
            f"{run.directory}: summary of stage questions: {ORIGIN} was altered: {error}"
        ) from error

"""What would be reused of an existing run: the state of each stage, and the responses that were selected."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dasd.base.chosen_lengths import chosen_lengths
from dasd.base.frames import kept_set
from dasd.errors import DasdError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan.records import Finding
from dasd.pipeline.runner import Pipeline
from dasd.store import Run
from dasd.store.directory import RUN
from dasd.store.question_lookup import QuestionLookup

__all__ = ["selected_lengths", "stage_states"]

ROWS_AT_ONCE = 4096
"""Rows whose prompts are in memory together."""


def stage_states(pipeline: Pipeline, directory: Path) -> tuple[Mapping[str, str], list[Finding]]:
    """State of every stage by name; none where the inputs that decide it can't be read.

    Where there is no run yet every stage is new, and no model is hashed to find that out.
    """
    if not (directory / RUN).is_file():
        return {stage.name: "new" for stage in pipeline.stages}, []
    try:
        return {stage.name: stage.state for stage in pipeline.plan(directory)}, []
    except DasdError as error:
        text = f"what of {directory} would be reused can't be told: {error}"
        return {}, [Finding("warning", "--run", text)]


def selected_lengths(
    directory: Path, states: Mapping[str, str], student: ChatTokenizer | None
) -> dict[str, npt.NDArray[np.int64]]:
    """Lengths of the training rows of each finished selection, in the order of its samples.

    A row is the prompt by the student's template and the response in the student's tokens, as it was scored.
    """
    chosen = [
        name
        for name, state in states.items()
        if name.startswith("select-") and state == "done" and name.replace("select-", "score-", 1) in states
    ]
    if student is None or not chosen:
        return {}
    run = Run.open(directory)
    messages = QuestionLookup.of(run.rows("questions", "questions"), None).messages
    found = {}
    for name in chosen:
        of = name.removeprefix("select-")
        kept = kept_set(run.frame("verdicts", name))
        lengths = array("q")
        for rows in chosen_lengths(
            run.frame("samples", f"sample-{of}"), run.frame("scores", f"score-{of}"), kept
        ):
            for some in rows.iter_slices(ROWS_AT_ONCE):
                asked = some.get_column("question_id").unique(maintain_order=True).to_list()
                prompts = map(len, student.prompts_ids([messages[question] for question in asked]))
                own = dict(zip(asked, prompts, strict=True))
                lengths.extend(own[question] + tokens for question, tokens in some.iter_rows())
        found[name] = np.array(lengths, dtype=np.int64)
    return found

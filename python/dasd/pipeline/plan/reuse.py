"""What would be reused of an existing run: the state of each stage, and the responses that were selected."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.base.frames import kept_ids, messages_by_question
from dasd.errors import DasdError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan.records import Finding
from dasd.pipeline.runner import Pipeline
from dasd.store import Run
from dasd.store.directory import RUN

__all__ = ["selected_lengths", "stage_states"]


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
    messages = messages_by_question(run.frame("questions", "questions"))
    found = {}
    for name in chosen:
        of = name.removeprefix("select-")
        kept = kept_ids(run.frame("verdicts", name))
        rows = (
            run.frame("scores", f"score-{of}")
            .select("sample_id", tokens=pl.col("token_ids").list.len())
            .filter(pl.col("sample_id").is_in(list(kept)))
            .join(
                run.frame("samples", f"sample-{of}").select("sample_id", "question_id"),
                on="sample_id",
                maintain_order="left",
            )
            .collect()
        )
        asked = rows.get_column("question_id").unique(maintain_order=True).to_list()
        lengths = [len(ids) for ids in student.prompts_ids([messages[question] for question in asked])]
        prompts = dict(zip(asked, lengths, strict=True))
        tokens = rows.select("question_id", "tokens").iter_rows()
        found[name] = np.array([prompts[q] + n for q, n in tokens], dtype=np.int64)
    return found

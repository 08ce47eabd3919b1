"""What the questions were loaded from, kept in the run directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from dasd.base.records import LoadedQuestions
from dasd.base.seeds import digest
from dasd.pipeline.work.stage import StageContext

__all__ = ["LOADED_FILE", "report_loaded"]

LOADED_FILE = "question-sources.jsonl"


def report_loaded(context: StageContext, loaded: Sequence[LoadedQuestions]) -> None:
    """Write the artifact ``LOADED_FILE``: a JSON object for each source that says what it read.

    ``question_ids`` is a hash of the ids in order: two runs with the same one asked the same questions.
    """
    if not loaded:
        return
    lines = [
        json.dumps(
            {
                "source": each.source,
                "files": [asdict(file) for file in each.files],
                "selection": each.selection,
                "count": len(each.questions),
                "question_ids": digest(*(question_id for question_id, _ in each.questions)),
                "questions": [
                    {"id": question_id, "remark": remark} if remark else {"id": question_id}
                    for question_id, remark in each.questions
                ],
            },
            ensure_ascii=False,
        )
        for each in loaded
    ]
    context.writer.artifact(LOADED_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")

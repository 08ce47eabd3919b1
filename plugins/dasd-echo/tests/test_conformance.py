"""``echo`` keeps what dasd asks of a teacher; what a recording lacks is declared, and refused when asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dasd.testing import TeacherSuite


class TestEcho(TeacherSuite):
    name = "echo"
    streams = False

    @classmethod
    def make_options(cls, directory: Path) -> Mapping[str, Any]:
        path = directory / "responses.jsonl"
        responses = [f"<think>Grüße 😀. So {n}. </think>{n}" for n in range(2)]
        lines = [{"question": question, "responses": responses} for question in cls.questions]
        path.write_text("\n".join(map(json.dumps, lines)))
        return {"path": str(path), "repeat": True}

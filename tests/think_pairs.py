"""One model behind chat templates that differ about the think tag: the miniature teacher, which writes the tag."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dasd.models.files import resolve_model

KINDS: dict[str, dict[str, Any]] = {"opens": {"tag": "opens"}, "doesn't": {"tag": "history"}, "no tag": {}}
"""Options of tests/chat_templates/miniature.jinja: who writes the opening think tag."""


def thinking_model(directory: Path) -> Path:
    """The miniature teacher's weights and tokenizer with that template, in ``directory``."""
    shutil.copytree(resolve_model("dasd:mini-teacher"), directory)
    template = Path(__file__).parent / "chat_templates" / "miniature.jinja"
    shutil.copy(template, directory / "chat_template.jinja")
    return directory

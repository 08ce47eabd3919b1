"""Recorded responses: read from JSON lines, found by question and temperature."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dasd.api import InputError, Message, read_small


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded response. ``temperature`` is ``None`` when the file doesn't say."""

    text: str
    ended: bool
    temperature: float | None


_LONGEST = 1 << 30
"""Bytes of a file of recordings."""


class Recordings:
    """All responses of a file."""

    def __init__(self, path: Path) -> None:
        """Read ``path``. Raises InputError for a missing file, and for a bad line by its number."""
        self.path = path
        self._by_question: dict[str, list[Recording]] = {}
        try:
            content = read_small(path, _LONGEST)
        except OSError as error:
            raise InputError(
                f"{path}: recorded responses can't be read: {error.strerror}; wanted a JSONL file"
            ) from error
        self.digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        for number, line in enumerate(content.splitlines(), 1):
            if line.strip():
                try:
                    question, recordings = _parse(json.loads(line))
                except ValueError as error:
                    raise InputError(f"{path}, line {number}: {error}") from error
                self._by_question.setdefault(question, []).extend(recordings)
        if not self._by_question:
            raise InputError(f"{path} holds no responses; wanted one JSON object a line")

    def find(self, messages: Sequence[Message], temperature: float) -> list[Recording]:
        """Responses to a conversation's last user message, recorded at ``temperature`` or at no known one."""
        known = self._by_question.get(last_question(messages), [])
        return [r for r in known if r.temperature is None or abs(r.temperature - temperature) < 1e-6]


def last_question(messages: Sequence[Message]) -> str:
    """The last user message's text, without spaces around it."""
    return next((m.content.strip() for m in reversed(messages) if m.role == "user"), "")


def _parse(value: Any) -> tuple[str, list[Recording]]:
    if not isinstance(value, dict):
        raise ValueError(f"wanted a JSON object, got {type(value).__name__}")
    question = value.get("question")
    if question is None and isinstance(value.get("messages"), list):
        users = [
            m.get("content") for m in value["messages"] if isinstance(m, dict) and m.get("role") == "user"
        ]
        question = users[-1] if users else None
    if not isinstance(question, str) or not question.strip():
        raise ValueError("wanted `question`, a text, or `messages` with a user's message")
    reason = value.get("finish_reason", "stop")
    if reason not in ("stop", "length"):
        raise ValueError(f"finish_reason: wanted stop or length, got {reason!r}")
    temperature = value.get("temperature")
    if temperature is not None and (
        isinstance(temperature, bool) or not isinstance(temperature, (int, float))
    ):
        raise ValueError(f"temperature: wanted a number, got {temperature!r}")
    return question.strip(), [Recording(text, reason == "stop", temperature) for text in _texts(value)]


def _texts(value: dict[str, Any]) -> Iterator[str]:
    texts = value.get("responses")
    texts = [value.get("response")] if texts is None else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("wanted `response`, a text, or `responses`, a list of texts")
    reasoning = value.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, str):
        raise ValueError(f"reasoning: wanted a text, got {reasoning!r}")
    for text in texts:
        yield f"<think>\n{reasoning}\n</think>\n{text}" if reasoning else text

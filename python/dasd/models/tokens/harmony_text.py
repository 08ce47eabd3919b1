"""Between harmony's messages and the text of a response: reasoning in think tags, then the answer.

Harmony (gpt-oss) writes a response as messages: a header that names a channel and perhaps a recipient, then
content. Each token stands for bytes that depend on the tokens before it alone, so that a longer response
begins with the text of a shorter one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Marks", "Step", "answer_of", "pieces_of", "steps_of"]

OPEN, CLOSE = "<think>\n", "\n</think>\n"
CALL_OPEN, CALL_CLOSE = "<tool_call>", "\n</tool_call>"
BETWEEN_ANSWERS = "\n\n"

_LONGEST_HEADER = 256
_HEADER = re.compile(
    rb"(?:<\|start\|>assistant)?"
    rb"(?:\s+to=(?P<before>[^\s<]+))?"
    rb"(?:<\|channel\|>(?P<channel>analysis|commentary|final))"
    rb"(?:\s+to=(?P<behind>[^\s<]+))?"
    rb"\s*(?:<\|constrain\|>)?[\w./+-]*\s*<\|message\|>"
)
_OPENED = re.compile(r"\s*<think>\n?")
_CLOSED = re.compile(r"\n?</think>\n?")


@dataclass(frozen=True, slots=True)
class Marks:
    """Ids of the tokens that harmony is written with."""

    start: int
    channel: int
    message: int
    constrain: int
    end: int
    """Ends a message; the next one follows."""
    return_: int
    """Ends the turn."""
    call: int
    """Ends the turn with a tool call."""

    @property
    def inside(self) -> frozenset[int]:
        """Those that a response holds; the others end it."""
        return frozenset({self.start, self.channel, self.message, self.constrain, self.end})


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of a text to encode: a tag that turns into control tokens, or content."""

    kind: str
    """``analysis``, ``final`` or ``answer`` (final behind reasoning): a header; ``end``; or ``content``."""
    text: str
    """What it covers of the text; empty for a header that no tag stands for."""


def steps_of(text: str) -> list[Step]:
    """A response's text as harmony writes it.

    Reasoning runs from a leading ``<think>`` to the first ``</think>``, each with the line break beside it;
    all that stands behind is the answer. A text without the leading tag is an answer alone.
    """
    opened = _OPENED.match(text)
    if opened is None:
        return [Step("final", ""), Step("content", text)]
    steps = [Step("analysis", opened.group())]
    closed = _CLOSED.search(text, opened.end())
    if closed is None:
        return [*steps, Step("content", text[opened.end() :])]
    return [
        *steps,
        Step("content", text[opened.end() : closed.start()]),
        Step("end", closed.group()),
        Step("answer", ""),
        Step("content", text[closed.end() :]),
    ]


def answer_of(text: str) -> str:
    """A response without its reasoning, as earlier turns of a conversation show it."""
    last = steps_of(text)[-1].text
    return last.lstrip("\n") if _CLOSED.search(text) else text


def pieces_of(
    token_ids: Sequence[int], marks: Marks, piece: Callable[[int], bytes], control: Callable[[int], bool]
) -> list[bytes]:
    """The bytes of text that each token of a response stands for.

    ``piece``: a token's own bytes, of a control token its name; ``control``: whether it is one.
    """
    reader = _Reader(marks, piece, control)
    return [reader.read(token_id) for token_id in token_ids]


class _Reader:
    """Reads a response token by token, from behind ``<|start|>assistant``."""

    def __init__(self, marks: Marks, piece: Callable[[int], bytes], control: Callable[[int], bool]) -> None:
        self._marks = marks
        self._piece = piece
        self._control = control
        self._within = "header"
        self._header = b""
        self._lead = b""
        """What a header begins with: nothing in the first one, whose beginning is in the prompt."""
        self._answered = False

    def read(self, token_id: int) -> bytes:
        """The bytes that the next token adds to the text."""
        written = self._piece(token_id)
        if self._within == "foreign":
            return written
        if self._within == "header":
            return self._read_header(token_id, written)
        if not self._control(token_id):
            return written
        if token_id in (self._marks.end, self._marks.return_, self._marks.call):
            return self._close(token_id)
        self._within = "foreign"
        return written

    def _read_header(self, token_id: int, written: bytes) -> bytes:
        self._header += written
        if token_id == self._marks.message:
            return self._open()
        allowed = token_id in (self._marks.start, self._marks.channel, self._marks.constrain)
        if (allowed or not self._control(token_id)) and self._may_become_header():
            return b""
        if not self._header.removeprefix(written) and token_id in (self._marks.return_, self._marks.call):
            self._header = b""
            return b""  # the turn ends between two messages
        return self._foreign()

    def _may_become_header(self) -> bool:
        header, lead = self._header, self._lead
        if len(header) <= len(lead):
            return lead.startswith(header)
        rest = header.removeprefix(lead)
        recipient = b" to="
        begins = rest.startswith((b"<|channel|>", recipient)) or recipient.startswith(rest)
        return header.startswith(lead) and begins and len(rest) <= _LONGEST_HEADER

    def _open(self) -> bytes:
        header = _HEADER.fullmatch(self._header)
        if header is None or not self._header.startswith(self._lead):
            return self._foreign()
        self._header = b""
        recipient = header["before"] or header["behind"]
        if recipient is not None:
            self._within = "call"
            return CALL_OPEN.encode() + recipient + b"\n"
        if header["channel"] == b"analysis":
            self._within = "analysis"
            return OPEN.encode()
        self._within = "answer"
        between = BETWEEN_ANSWERS.encode() if self._answered else b""
        self._answered = True
        return between

    def _close(self, token_id: int) -> bytes:
        within, self._within, self._lead = self._within, "header", b"<|start|>assistant"
        if within == "call":
            return CALL_CLOSE.encode()
        return CLOSE.encode() if within == "analysis" and token_id == self._marks.end else b""

    def _foreign(self) -> bytes:
        """What isn't harmony stands as it is, to its end, for the filters to see."""
        self._within = "foreign"
        return self._header

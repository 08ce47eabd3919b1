"""Filters on the form of a response: length, end, structure, tool calls."""

from __future__ import annotations

import re

import polars as pl

from dasd.base.records import Verdict
from dasd.curation.filters.verdicts import KEPT, dropped, verdict_frame

__all__ = ["LengthFilter", "StructureFilter", "ToolCallFilter", "TruncationFilter"]

OPEN, CLOSE = "<think>", "</think>"

_TOOL_CALL = re.compile(
    r"""
      <\|?/?(?:tool_calls?|tool_response|function_calls?|tool▁calls?▁begin)\b   # Qwen, Hermes, DeepSeek
    | <function=\w                                                              # Llama
    | <\|python_tag\|>
    | \[TOOL_CALLS\]                                                            # Mistral
    | \bto=functions\.\w                                                        # harmony
    | "(?:tool_calls|function_call)"\s*:\s*[\[{]                                # JSON of chat servers
    | \{\s*"name"\s*:\s*"[^"\n]{1,80}"\s*,\s*"(?:arguments|parameters)"\s*:\s*\{
    """,
    re.VERBOSE,
)

_MAYBE_TOOL_CALL = (
    r"<\|?/?(?:tool_call|tool_response|function_call|tool▁call)|<function=|<\|python_tag\|>|\[TOOL_CALLS\]"
    r'|to=functions\.|"(?:tool_calls|function_call)"[\s\x1c-\x1f]*:[\s\x1c-\x1f]*[\[{]'
    r'|"name"[\s\x1c-\x1f]*:[\s\x1c-\x1f]*"[^"\n]{1,80}"[\s\x1c-\x1f]*,'
)
"""Matches whatever ``_TOOL_CALL`` matches, and more, in polars: few responses are left for Python to search."""


class LengthFilter:
    """Drops responses that don't fit the training context together with their prompt."""

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """By columns ``prompt_tokens`` and ``student_token_ids``."""
        columns = responses.select("prompt_tokens", response=pl.col("student_token_ids").list.len())
        return verdict_frame(
            KEPT
            if prompt + response <= self._max_length
            else dropped(
                "length",
                f"{prompt} prompt and {response} response tokens of the student, {self._max_length} fit",
            )
            for prompt, response in columns.iter_rows()
        )


class TruncationFilter:
    """Drops responses that were cut off: an end that was never written can't be learned."""

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """By column ``finish_reason``."""
        return verdict_frame(
            KEPT if reason == "stop" else dropped("truncated", f"finish reason {reason!r}")
            for reason in responses.get_column("finish_reason")
        )


class StructureFilter:
    """With ``think``: reasoning between one pair of think tags, then an answer, both non-empty.

    Nothing may stand before the opening tag. Where the teacher's chat template opens it in the prompt the response
    begins behind it, and a tag of its own is a second one. With ``any`` a response need only not be empty.
    """

    def __init__(self, structure: str) -> None:
        self._think = structure == "think"

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """By columns ``text`` and ``think_opened``."""
        return verdict_frame(
            judge_think(f"{OPEN}{text}" if opened else text) if self._think else judge_any(text)
            for text, opened in responses.select("text", "think_opened").iter_rows()
        )


class ToolCallFilter:
    """Drops responses that call tools or functions in one of the usual notations."""

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """By column ``text``."""
        maybe = responses.get_column("text").str.contains(_MAYBE_TOOL_CALL)
        found = iter(responses.get_column("text").filter(maybe))
        return verdict_frame(_judge_tool_call(next(found)) if possible else KEPT for possible in maybe)


def judge_think(text: str) -> Verdict:
    """Whether ``text`` is ``<think>reasoning</think>answer`` and nothing else."""
    opened, closed = text.count(OPEN), text.count(CLOSE)
    if (opened, closed) != (1, 1):
        return dropped("structure", f"wanted one {OPEN} and one {CLOSE}, got {opened} and {closed}")
    before, _, rest = text.partition(OPEN)
    if before.strip():
        return dropped("structure", f"{len(before.strip())} characters before {OPEN}")
    reasoning, tag, answer = rest.partition(CLOSE)
    if not tag:
        return dropped("structure", f"{CLOSE} comes before {OPEN}")
    if not reasoning.strip():
        return dropped("structure", "the reasoning is empty")
    if not answer.strip():
        return dropped("structure", "the answer is empty")
    return KEPT


def judge_any(text: str) -> Verdict:
    """Whether there is any text at all."""
    return KEPT if text.strip() else dropped("structure", "the response is empty")


def _judge_tool_call(text: str) -> Verdict:
    found = _TOOL_CALL.search(text)
    return dropped("tool_calls", f"{found.group()!r} at character {found.start()}") if found else KEPT

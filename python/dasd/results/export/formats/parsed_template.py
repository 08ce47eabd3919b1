"""A chat template taken apart as LLaMA-Factory (0.9.5, ``data/template.py``) does it where none is named.

It renders single messages with a placeholder and takes what stands around it; each piece is then tokenised alone.
That works for templates that write every message alike, and goes wrong without a word for others: so dasd does it
the same way and compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dasd.errors import InputError
from dasd.plugins.exports import ExportRun
from dasd.results.export.formats.rendering import Turn

__all__ = ["by_parsed_template"]

PLACE = "{{content}}"
EMPTY_THOUGHT = "<think>\n\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class _Parsed:
    """Texts around the placeholder."""

    prefix: str
    system: str
    user: str
    assistant: str
    default_system: str
    reasoning: bool


def by_parsed_template(tokenizer: Any, run: ExportRun, messages: Sequence[Turn], response: str) -> list[int]:
    """Tokens of a conversation by the template that is taken apart. InputError where it can't be."""
    parsed = _parse(tokenizer)
    system = parsed.default_system if run.system_prompt is None else run.system_prompt
    if messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    pieces = [parsed.prefix, parsed.system.replace(PLACE, system) if system else ""]
    for turn in messages:
        slot = parsed.user if turn["role"] == "user" else parsed.assistant
        pieces.append(slot.replace(PLACE, turn["content"]))
    if parsed.reasoning and "<think>" not in response and "</think>" not in response:
        pieces.append(EMPTY_THOUGHT)
    pieces.append(parsed.assistant.replace(PLACE, response))
    return [token for piece in pieces if piece for token in tokenizer.encode(piece, add_special_tokens=False)]


def _parse(tokenizer: Any) -> _Parsed:
    prefix = tokenizer.decode(tokenizer.encode(""))
    user, assistant = {"role": "user", "content": PLACE}, {"role": "assistant", "content": PLACE}
    system = _render(tokenizer, [{"role": "system", "content": PLACE}], False)[len(prefix) :]
    without = _render(tokenizer, [{"role": "system", "content": ""}, user], True)[len(prefix) :]
    asked = _render(tokenizer, [user], True)[len(prefix) :]
    answered = _render(tokenizer, [user, assistant], False)[len(prefix) + len(asked) :]
    reasoning = "<think>" in answered
    answered = answered.replace("<think>", "").replace("</think>", "").lstrip("\n")
    default = ""
    if len(asked) > len(without):
        default = _added(without, asked)
        asked = asked[len(system.replace(PLACE, default, 1)) :]
    for name, slot in (("system", system), ("user", asked), ("assistant", answered)):
        if PLACE not in slot:
            raise InputError(f"LLaMA-Factory can't take the template apart: it finds no {name} message in it")
    return _Parsed(prefix, system, asked, answered, default, reasoning)


def _render(tokenizer: Any, turns: Sequence[Turn], ask: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask))
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise InputError(
            f"LLaMA-Factory can't take the template apart: it refuses a conversation of roles {roles} ({error})"
        ) from error


def _added(short: str, long: str) -> str:
    """Characters of ``long`` that ``short`` lacks, read from the left."""
    place = 0
    found = []
    for character in long:
        if place == len(short):
            break
        if short[place] == character:
            place += 1
        else:
            found.append(character)
    return "".join(found)

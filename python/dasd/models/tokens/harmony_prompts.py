"""Prompts in harmony, rendered token by token by OpenAI's own library with the model's own vocabulary."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from dasd.base.records import Message
from dasd.errors import InputError
from dasd.models.tokens.harmony_text import answer_of

if TYPE_CHECKING:
    from openai_harmony import HarmonyEncoding

__all__ = ["EFFORTS", "HarmonyPrompts", "check_harmony"]

EFFORTS = ("low", "medium", "high")
_LIBRARY = "openai_harmony"
_ENCODING = "HarmonyGptOss"
_DIRECTORY = "TIKTOKEN_ENCODINGS_BASE"
_FILE = "o200k_base.tiktoken"
_PLAIN_TOKENS = 199_998
_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""Of the vocabulary as tiktoken writes it: a line a token, base64 of its bytes and its number."""


def check_harmony(source: str, options: Mapping[str, JsonValue]) -> None:
    """Refuse options other than ``reasoning_effort``, and an environment without the library."""
    unknown = sorted(set(options) - {"reasoning_effort"})
    effort = options.get("reasoning_effort", "medium")
    if unknown or effort not in EFFORTS:
        got = ", ".join(unknown) or f"reasoning_effort {effort!r}"
        raise InputError(
            f"{source}: harmony's prompts take the option reasoning_effort ({', '.join(EFFORTS)}), got {got}"
        )
    if importlib.util.find_spec(_LIBRARY) is None:
        raise InputError(
            f"{source}: its tokens are harmony's (gpt-oss), whose prompts are rendered by the library "
            "openai-harmony, which isn't installed here: pip install 'dasd[harmony]'"
        )


class HarmonyPrompts:
    """Renders conversations up to ``<|start|>assistant``.

    Harmony's own system message names the model, its knowledge cut-off, the reasoning effort and the channels
    (no date: prompts would differ from day to day); a conversation's system message becomes the developer's
    instructions. Of earlier answers only the final channel is shown.
    """

    def __init__(self, source: str, pieces: Mapping[int, bytes], options: Mapping[str, JsonValue]) -> None:
        """``pieces``: bytes of the model's tokens; ``options``: what ``check_harmony`` let through.

        Raises InputError where the vocabulary isn't gpt-oss's.
        """
        self._effort = str(options.get("reasoning_effort", "medium"))
        self._source = source
        self._encoding: HarmonyEncoding = _encoding(source, _Vocabulary(pieces))

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of a conversation and of the assistant's beginning turn."""
        import openai_harmony as harmony

        identity: Any = harmony.SystemContent.new().with_reasoning_effort(
            harmony.ReasoningEffort(self._effort.capitalize())
        )
        turns = [harmony.Message.from_role_and_content(harmony.Role.SYSTEM, identity)]
        turns += [self._turn(message) for message in messages]
        conversation = harmony.Conversation.from_messages(turns)
        try:
            ids = self._encoding.render_conversation_for_completion(conversation, harmony.Role.ASSISTANT)
        except harmony.HarmonyError as error:
            roles = ", ".join(message.role for message in messages)
            raise InputError(
                f"{self._source}: harmony refuses a conversation of roles {roles}: {error}"
            ) from error
        return list(ids)

    def special_id(self, name: str) -> int:
        """The id that the library gives to a control token."""
        return int(self._encoding.encode(name, allowed_special={name})[0])

    @staticmethod
    def _turn(message: Message) -> Any:
        import openai_harmony as harmony

        if message.role == "system":
            instructions: Any = harmony.DeveloperContent.new().with_instructions(message.content)
            return harmony.Message.from_role_and_content(harmony.Role.DEVELOPER, instructions)
        if message.role == "assistant":
            answer = answer_of(message.content)
            return harmony.Message.from_role_and_content(harmony.Role.ASSISTANT, answer).with_channel("final")
        return harmony.Message.from_role_and_content(harmony.Role.USER, message.content)


class _Vocabulary:
    """A model's plain tokens, as the one argument of a cached function: all that pass the check are equal."""

    def __init__(self, pieces: Mapping[int, bytes]) -> None:
        self.lines = b"".join(
            base64.b64encode(pieces.get(rank, b"")) + b" %d\n" % rank for rank in range(_PLAIN_TOKENS)
        )
        self.sha256 = hashlib.sha256(self.lines).hexdigest()

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Vocabulary) and other.sha256 == self.sha256


def _encoding(source: str, vocabulary: _Vocabulary) -> HarmonyEncoding:
    if vocabulary.sha256 != _SHA256:
        raise InputError(
            f"{source}: its control tokens are harmony's, but its vocabulary isn't gpt-oss's (o200k; sha256 "
            f"{_SHA256[:12]}... wanted, {vocabulary.sha256[:12]}... got), so openai-harmony can't render its "
            "prompts; use the tokenizer.json that came with the model"
        )
    return _loaded(vocabulary)


@cache
def _loaded(vocabulary: _Vocabulary) -> HarmonyEncoding:
    """The library's encoding, from the model's own vocabulary instead of a download."""
    import openai_harmony as harmony

    before = os.environ.get(_DIRECTORY)
    with tempfile.TemporaryDirectory(prefix="dasd-harmony-") as directory:
        (Path(directory) / _FILE).write_bytes(vocabulary.lines)
        os.environ[_DIRECTORY] = directory
        try:
            return harmony.load_harmony_encoding(_ENCODING)
        finally:
            if before is None:
                del os.environ[_DIRECTORY]
            else:
                os.environ[_DIRECTORY] = before

"""The tokenizer of a model that speaks harmony (gpt-oss): its channels are think tags and answer in texts.

Token ids stay the raw ones that the model writes and reads; docs/chat-formats.md has the mapping.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dasd.base.records import Message
from dasd.errors import InputError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.harmony_prompts import HarmonyPrompts, check_harmony
from dasd.models.tokens.harmony_text import Marks, Step, pieces_of, steps_of
from dasd.models.tokens.token_ends import ends_by_decoding, ends_from_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["HarmonyTokenizer"]

_NAMES = {
    "start": "<|start|>",
    "channel": "<|channel|>",
    "message": "<|message|>",
    "constrain": "<|constrain|>",
    "end": "<|end|>",
    "return_": "<|return|>",
    "call": "<|call|>",
}


class HarmonyTokenizer(ChatTokenizer):
    """A chat tokenizer whose texts have think tags where its tokens have channels.

    ``<think>\\nreasoning\\n</think>\\nanswer`` is the analysis channel, then the final one. A text that breaks
    off inside the tags is a response that broke off inside its analysis. Tokens that a tag stands for cover
    its bytes (``<|message|>`` the opening one, ``<|end|>`` the closing one); the other control tokens cover
    none.
    """

    @classmethod
    def speaks(cls, tokenizer: PreTrainedTokenizerFast) -> bool:
        """Whether a tokenizer has the control tokens that harmony is written with."""
        added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
        return added.issuperset(_NAMES.values())

    def _check_rendering(self) -> None:
        """Nothing of a template: prompts are the library's, and the turn's end is the format's."""
        check_harmony(self._source, self._template_options)
        self._tokenizer.eos_token = _NAMES["return_"]

    def _rendering(self) -> list[str]:
        return ["harmony", json.dumps(self._template_options, sort_keys=True)]

    def _prepare(self) -> None:
        if self._pieces is None:
            raise InputError(
                f"{self._source}: its control tokens are harmony's, but it isn't byte-level BPE as gpt-oss's is"
            )
        self._prompts = HarmonyPrompts(self._source, self._pieces, self._template_options)
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        ids = {field: vocabulary[name] for field, name in _NAMES.items()}
        wrong = [name for field, name in _NAMES.items() if self._prompts.special_id(name) != ids[field]]
        if wrong:
            raise InputError(
                f"{self._source}: {', '.join(wrong)} have other ids than in gpt-oss; use the tokenizer.json "
                "that came with the model"
            )
        marks = self._marks = Marks(**ids)
        self.end_ids = frozenset({marks.return_, marks.call})
        word = {name: super(HarmonyTokenizer, self)._encode(name)[0] for name in _WORDS}
        analysis = [marks.channel, *word["analysis"], marks.message]
        final = [marks.channel, *word["final"], marks.message]
        self._headers = {
            "analysis": analysis,
            "final": final,
            "end": [marks.end],
            "answer": [marks.start, *word["assistant"], *final],
        }

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the conversation, rendered by openai-harmony, up to ``<|start|>assistant``."""
        return self._prompts.ids(messages)

    def prompts_ids(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """``prompt_ids`` of many conversations."""
        return [self._prompts.ids(messages) for messages in conversations]

    def encode_response(self, text: str, ended: bool) -> tuple[list[int], list[int]]:
        """Raw harmony tokens of a response's text and the byte offsets in ``text`` at which they end.

        As ``ChatTokenizer.encode_response``; an empty text has a header only where it is ``ended``.
        """
        ids: list[int] = []
        ends: list[int] = []
        for step in _steps(text, ended):
            done = ends[-1] if ends else 0
            if step.kind == "content":
                content, content_ends = self._encode(step.text)
                ids += content
                ends += [done + end for end in content_ends]
            else:
                header = self._headers[step.kind]
                ids += header
                ends += [*[done] * (len(header) - 1), done + len(step.text.encode())]
        if ended:
            ids.append(self.eos_id)
            ends.append(len(text.encode()))
        return ids, ends

    def encode_responses(self, texts: Sequence[str], ended: Sequence[bool]) -> list[list[int]]:
        """Token ids of many responses, each as ``encode_response`` gives them; contents on all cores."""
        steps = [list(_steps(text, end)) for text, end in zip(texts, ended, strict=True)]
        contents = [step.text for each in steps for step in each if step.kind == "content"]
        encoded = iter(super().encode_responses(contents, [False] * len(contents)))
        found = []
        for each, end in zip(steps, ended, strict=True):
            ids = [
                i
                for step in each
                for i in (next(encoded) if step.kind == "content" else self._headers[step.kind])
            ]
            found.append([*ids, self.eos_id] if end else ids)
        return found

    def ends_of(self, token_ids: Sequence[int], text: str) -> list[int]:
        """Byte offsets in ``text``, which is ``decode(token_ids)``, at which each of the tokens ends."""
        ends = ends_from_bytes(self._pieces_of(token_ids), text)
        return ends_by_decoding(token_ids, text, self.decode) if ends is None else ends

    def is_control(self, token_id: int) -> bool:
        """Whether this is a control token and no part of a text; channels and messages are part of one."""
        return super().is_control(token_id) and token_id not in self._marks.inside

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a response's tokens: channels as think tags and answer, tool calls behind ``<tool_call>``.

        Tokens that aren't a response in harmony, such as a prompt's, are written out as they are.
        """
        return b"".join(self._pieces_of(token_ids)).decode(errors="replace")

    def _pieces_of(self, token_ids: Sequence[int]) -> list[bytes]:
        return pieces_of(token_ids, self._marks, self._piece, self._control_ids.__contains__)


_WORDS = ("analysis", "final", "assistant")


def _steps(text: str, ended: bool) -> Iterator[Step]:
    return iter(steps_of(text) if text or ended else ())

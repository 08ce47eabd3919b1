"""A chat model's tokenizer: prompts rendered one way everywhere, responses as tokens with byte offsets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

from jinja2 import TemplateError
from pydantic import JsonValue

from dasd.base.checksums import checksum
from dasd.base.records import Message
from dasd.errors import InputError
from dasd.models.files import check_model, loading, resolve_model
from dasd.models.tokens.token_ends import ends_by_decoding, ends_from_bytes, ends_from_offsets, token_bytes
from dasd.recipe.model_settings import ModelSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["ChatTokenizer"]

_NO_LIMIT = 2**62
_BATCH = 64
"""Texts that are encoded together: enough for many cores, few enough for their encodings to stay small."""
_RESERVED = frozenset(
    {"add_generation_prompt", "continue_final_message", "conversation", "messages", "tokenize"}
)

_TEMPLATE_FAILS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What rendering a model's own chat template may raise."""


class ChatTokenizer:
    """Wraps a fast Hugging Face tokenizer that has a chat template and an end token.

    A response's text never becomes control tokens: a literal ``<|im_end|>`` in it is encoded as plain text.
    Added tokens that are not special, such as ``<think>`` in most models, are encoded as what they are.
    """

    eos_id: int
    """The end token: what the model was trained to end its turn with."""
    end_ids: frozenset[int]
    """All tokens that end the turn in its chat format, ``eos_id`` among them; a model may declare more."""
    vocab_size: int
    """Number of tokens, added ones included. A model's embedding may have more rows."""
    hash: str
    """32 hexadecimal digits over the tokenizer, its chat template with its options, and its end token."""
    _formats: ClassVar[list[type[ChatTokenizer]]] = []
    """Chat formats that are no template: subclasses, which ``load`` asks whether they speak a tokenizer."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        ChatTokenizer._formats.append(cls)

    @classmethod
    def speaks(cls, tokenizer: PreTrainedTokenizerFast) -> bool:  # noqa: ARG003 (its subclasses look)
        """Whether the format is this tokenizer's."""
        return False

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        source: str = "tokenizer",
        template_options: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """``source`` names the tokenizer in messages; ``template_options`` are variables of its chat template.

        Raises InputError where it can't serve a chat model.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise InputError(
                f"{source}: wanted a fast tokenizer, got {type(tokenizer).__name__}; convert it to a "
                "tokenizer.json (AutoTokenizer.from_pretrained(...).save_pretrained(...))"
            )
        self._source = source
        self._tokenizer = tokenizer
        self._template_options: dict[str, Any] = dict(template_options or {})
        self._check_rendering()
        if tokenizer.eos_token_id is None:
            raise InputError(
                f"{source}: the tokenizer has no end token; set eos_token in tokenizer_config.json to "
                "the token that ends the assistant's turn"
            )
        from tokenizers import Tokenizer

        # Prompts longer than what the tokenizer believes in are the engine's to judge, not to warn about.
        tokenizer.model_max_length = _NO_LIMIT
        # A copy: without truncation and padding, without a post-processor (it trims spaces from offsets).
        backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        backend.no_truncation()
        backend.no_padding()
        self._prompt_backend = backend.to_str()
        backend.post_processor = None
        backend.encode_special_tokens = True
        self._backend = backend
        self.eos_id = int(tokenizer.eos_token_id)
        self.vocab_size = int(backend.get_vocab_size(with_added_tokens=True))
        control = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
        control |= set(tokenizer.all_special_ids)
        self._control_ids = (control - {tokenizer.unk_token_id}) | {self.eos_id}
        self.end_ids = frozenset({self.eos_id})
        parts = (self._prompt_backend, *self._rendering(), str(self.eos_id))
        self.hash = checksum("\0".join(parts).encode())
        self._prepare()

    @cached_property
    def vocabulary_hash(self) -> str:
        """As ``hash``, without the template: equal where token ids mean the same and turns end alike."""
        parts = (type(self).__name__, self._backend.to_str(), str(self.eos_id))
        return checksum("\0".join(parts).encode())

    @classmethod
    def load(cls, settings: ModelSettings) -> ChatTokenizer:
        """The tokenizer of a model. Raises InputError where it is missing or can't serve a chat model."""
        from transformers import AutoTokenizer

        check_model(settings, weights=False)
        path = resolve_model(settings.model)
        with loading(f"model {settings.model}: its tokenizer"):
            tokenizer: Any = AutoTokenizer.from_pretrained(
                path, revision=settings.revision, trust_remote_code=settings.trust_remote_code
            )
        kind = next((each for each in cls._formats if each.speaks(tokenizer)), cls)
        return kind(tokenizer, f"model {settings.model}", settings.chat_template_options)

    def _check_rendering(self) -> None:
        """Refuse a tokenizer that can't render prompts."""
        if not self._tokenizer.chat_template:
            raise InputError(
                f"{self._source}: the tokenizer has no chat template, so prompts can't be rendered; use an "
                "instruct model, or put a chat_template.jinja next to its tokenizer.json"
            )
        reserved = sorted(_RESERVED.intersection(self._template_options))
        if reserved:
            raise InputError(
                f"{self._source}: {', '.join(reserved)} can't be an option of the chat template: dasd sets it"
            )

    def _rendering(self) -> list[str]:
        """What prompts are rendered by, for the hash."""
        template = json.dumps(self._tokenizer.chat_template, sort_keys=True)
        options = self._template_options
        return [template, json.dumps(options, sort_keys=True)] if options else [template]

    def _prepare(self) -> None:
        """What a chat format of its own needs, once the tokenizer is known to be usable."""

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the conversation by the chat template, up to where the assistant's answer starts."""
        try:
            ids = self._rendered([messages])[0]
        except _TEMPLATE_FAILS as error:
            roles = ", ".join(message.role for message in messages)
            raise InputError(
                f"{self._source}: its chat template refuses a conversation of roles {roles}: {error}; a "
                "template without system messages wants questions.system_prompt: null"
            ) from error
        if not ids:
            raise InputError(f"{self._source}: its chat template renders a conversation to no tokens at all")
        return list(ids)

    def prompts_ids(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """``prompt_ids`` of many conversations, on all cores."""
        if not conversations:
            return []
        try:
            ids = self._rendered(conversations)
        except _TEMPLATE_FAILS:
            ids = [[]]
        if not all(ids):  # one alone says what is wrong with it
            return [self.prompt_ids(messages) for messages in conversations]
        return [list(prompt) for prompt in ids]

    def _rendered(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        turns = [[{"role": m.role, "content": m.content} for m in messages] for messages in conversations]
        ids: Any = self._tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False, **self._template_options
        )
        found: list[list[int]] = ids
        return found

    def encode_response(self, text: str, ended: bool) -> tuple[list[int], list[int]]:
        """Token ids of a response and the byte offsets in ``text`` at which they end.

        No special tokens are added but the end token, where ``ended``, which covers no bytes. The others
        tile the text's bytes: offsets never decrease and the last is ``len(text.encode())`` (a text that the
        tokenizer turns into no tokens at all has none to hold it). Tokens that write a character together end
        inside it.
        """
        ids, ends = self._encode(text)
        if ended:
            ids.append(self.eos_id)
            ends.append(len(text.encode()))
        return ids, ends

    def encode_responses(self, texts: Sequence[str], ended: Sequence[bool]) -> list[list[int]]:
        """Token ids of many responses, each as ``encode_response`` gives them; on all cores."""
        found: list[list[int]] = []
        for start in range(0, len(texts), _BATCH):
            part = texts[start : start + _BATCH]
            for text, encoding in zip(
                part, self._backend.encode_batch_fast(part, add_special_tokens=False), strict=True
            ):
                ids = list(encoding.ids)
                found.append(ids if self._control_ids.isdisjoint(ids) else self._encode(text)[0])
        for ids, end in zip(found, ended, strict=True):
            if end:
                ids.append(self.eos_id)
        return found

    def ends_of(self, token_ids: Sequence[int], text: str) -> list[int]:
        """Byte offsets in ``text``, which is ``decode(token_ids)``, at which each of the tokens ends.

        For tokens that were sampled: they need not be the ones that ``encode_response`` would choose.
        """
        if self._pieces is not None:
            ends = ends_from_bytes([self._piece(i) for i in token_ids], text)
            if ends is not None:
                return ends
        return ends_by_decoding(token_ids, text, self.decode)

    def is_control(self, token_id: int) -> bool:
        """Whether this is a control token, such as one that ends the turn, and no part of a text."""
        return token_id in self._control_ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of tokens, special ones written out; bytes that are no UTF-8 become U+FFFD."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=False))

    def _encode(self, text: str) -> tuple[list[int], list[int]]:
        encoding = self._backend.encode(text, add_special_tokens=False)
        if not self._control_ids.isdisjoint(encoding.ids):
            return self._encode_apart(text, encoding.ids, encoding.offsets)
        return list(encoding.ids), self._ends(encoding.ids, encoding.offsets, text)

    def _encode_apart(
        self, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]
    ) -> tuple[list[int], list[int]]:
        """Where the vocabulary itself holds a control token's text: cut it after its first character."""
        cuts = [start + 1 for i, (start, end) in zip(ids, offsets, strict=True) if i in self._control_ids]
        all_ids: list[int] = []
        all_ends: list[int] = []
        done = 0
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            part = text[start:end]
            encoding = self._backend.encode(part, add_special_tokens=False)
            found = self._control_ids.intersection(encoding.ids)
            if found:
                name = self._backend.id_to_token(min(found))
                raise InputError(
                    f"{self._source}: the tokenizer turns text into its control token {name!r}; such a "
                    "response can't be told from its end"
                )
            all_ids += encoding.ids
            all_ends += [done + e for e in self._ends(encoding.ids, encoding.offsets, part)]
            done += len(part.encode())
        if all_ends:
            all_ends[-1] = done
        return all_ids, all_ends

    def _ends(self, ids: Sequence[int], offsets: Sequence[tuple[int, int]], text: str) -> list[int]:
        if self._pieces is not None:
            pieces = [self._piece(i) for i in ids]
            if b"".join(pieces) == text.encode():
                return list(accumulate(map(len, pieces)))
        return ends_from_offsets(offsets, text)

    def _piece(self, token_id: int) -> bytes:
        assert self._pieces is not None
        return self._pieces.get(token_id, b"")

    @cached_property
    def _pieces(self) -> dict[int, bytes] | None:
        """Bytes of each token of a byte-level tokenizer; None for other kinds."""
        from tokenizers.decoders import ByteLevel

        if not isinstance(self._backend.decoder, ByteLevel):
            return None
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        return {token_id: token_bytes(token) for token, token_id in vocabulary.items()}

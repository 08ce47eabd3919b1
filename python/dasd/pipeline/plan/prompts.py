"""A model's tokenizer and chat template read from its files, without loading transformers and torch.

Enough to count prompts and to see that a template renders; the run itself renders through ``dasd.models.tokens.chat``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dasd.base.checksums import checksum
from dasd.base.records import Message
from dasd.base.regular import read_json, read_small
from dasd.errors import InputError

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

__all__ = ["PromptFiles"]


class PromptFiles:
    """Tokenizer, special tokens and chat template of a model directory."""

    def __init__(self, path: Path) -> None:
        """Raises InputError for a tokenizer.json that can't be read, and for what a chat model lacks.

        FileNotFoundError where there is no tokenizer.json: the tokenizer is of a kind that only transformers
        can load.
        """
        self._path = path
        file = path / "tokenizer.json"
        if not file.is_file():
            raise FileNotFoundError(file)
        try:
            from tokenizers import Tokenizer

            text = read_small(file).decode("utf-8")
            self.tokenizer: Tokenizer = Tokenizer.from_str(text)
        except ImportError as error:
            raise InputError(
                f"package tokenizers can't be imported ({error}): pip install 'dasd[torch]'"
            ) from error
        except Exception as error:  # tokenizers raises bare Exception
            raise InputError(f"{file} can't be read: {error}; save the tokenizer again") from error
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self._config = _settings(path / "tokenizer_config.json")
        self.template = self._template()
        if not self.template:
            raise InputError(
                f"{path}: the tokenizer has no chat template; use an instruct model, or put a "
                "chat_template.jinja next to its tokenizer.json"
            )
        self.end_token = _token(self._config.get("eos_token")) or _token(
            _settings(path / "special_tokens_map.json").get("eos_token")
        )
        if not self.end_token or self.tokenizer.token_to_id(self.end_token) is None:
            raise InputError(
                f"{path}: the tokenizer has no end token; set eos_token in tokenizer_config.json to the token "
                "that ends the assistant's turn"
            )
        whole = json.loads(text)
        parts = {name: whole.get(name) for name in ("model", "added_tokens", "normalizer", "pre_tokenizer")}
        self.vocabulary = checksum(json.dumps(parts, sort_keys=True).encode())
        """Equal for two models that write every text in the same tokens."""

    def _template(self) -> str:
        file = self._path / "chat_template.jinja"
        if file.is_file():
            return read_small(file).decode("utf-8")
        found = self._config.get("chat_template")
        if isinstance(found, list):
            named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
            found = named.get("default")
        return found if isinstance(found, str) else ""

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation up to where the assistant's answer starts. Raises InputError."""
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._compiled.render(messages=turns)
        except (TemplateError, TypeError, KeyError, AttributeError) as error:
            roles = ", ".join(message.role for message in messages)
            raise InputError(f"its chat template refuses a conversation of roles {roles}: {error}") from error

    @cached_property
    def _compiled(self) -> Template:
        """The template as transformers compiles it: a sandbox with these helpers and special tokens."""
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        special = {
            name: token
            for name, value in self._config.items()
            if name.endswith("_token") and (token := _token(value)) is not None
        }
        environment.globals.update(
            special,
            raise_exception=_raise,
            strftime_now=lambda form: datetime.now().strftime(form),
            add_generation_prompt=True,
            tools=None,
            documents=None,
        )
        return environment.from_string(self.template)

    def prompts_tokens(self, conversations: Sequence[Sequence[Message]]) -> list[int]:
        """Tokens of each rendered conversation; on all cores."""
        texts = [self.render(messages) for messages in conversations]
        return [len(e.ids) for e in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} can't be read: {error}; save the tokenizer again") from error
    return found if isinstance(found, dict) else {}


def _token(value: object) -> str | None:
    """A special token's text: plain, or inside an object of an added token."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _tojson(value: object, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _raise(text: str) -> NoReturn:
    from jinja2 import TemplateError

    raise TemplateError(text)

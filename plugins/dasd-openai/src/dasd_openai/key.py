"""The server's key: read from the environment, sent with requests, and written nowhere."""

from __future__ import annotations

import os
import re
from html import escape
from urllib.parse import quote

from dasd.api import InputError

_SECRET = 8
"""Characters of a key. Shorter ones are words such as EMPTY, which a model's name may well have in it."""


class Key:
    """A key that no message, representation or pickle shows."""

    __slots__ = ("_value", "_written", "variable")

    def __init__(self, variable: str) -> None:
        """Read the environment's ``variable``. Raises InputError, without the value, where it can't be a key."""
        self.variable = variable
        self._value = os.environ.get(variable, "").strip()
        if not (self._value.isascii() and all(" " < character <= "~" for character in self._value)):
            raise InputError(
                f"environment variable {variable} holds characters that no key has (spaces, line breaks or "
                "letters outside ASCII); set it to the key alone"
            )
        self._written = _written(self._value)

    @property
    def given(self) -> bool:
        """Whether the variable is set."""
        return bool(self._value)

    def headers(self) -> dict[str, str]:
        """What is sent with every request."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hidden(self, text: str) -> str:
        """``text`` without the key, which servers repeat in messages, as it is or as addresses and pages write it."""
        return self._written.sub("[key]", text) if self._value else text

    def hidden_in_name(self, name: str) -> str:
        """The same of what is kept in a run: a short key stays where it is a part of a name."""
        return self.hidden(name) if len(self._value) >= _SECRET else name

    def __repr__(self) -> str:
        return f"Key({self.variable})"

    def __reduce__(self) -> tuple[type[Key], tuple[str]]:
        return Key, (self.variable,)


def _written(value: str) -> re.Pattern[str]:
    """A key as messages, addresses, pages and JSON have it."""
    forms = {value, quote(value), quote(value, safe=""), escape(value), value.replace("/", "\\/")}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True))), re.IGNORECASE)

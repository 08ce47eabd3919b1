"""The server's key: read from the environment, sent with requests, and written nowhere."""

from __future__ import annotations

import os

from dasd.api import InputError


class Key:
    """A key that no message, representation or pickle shows."""

    __slots__ = ("_value", "variable")

    def __init__(self, variable: str) -> None:
        """Read the environment's ``variable``. Raises InputError, without the value, where it can't be a key."""
        self.variable = variable
        self._value = os.environ.get(variable, "").strip()
        if not (self._value.isascii() and all(" " < character <= "~" for character in self._value)):
            raise InputError(
                f"environment variable {variable} holds characters that no key has (spaces, line breaks or "
                "letters outside ASCII); set it to the key alone"
            )

    @property
    def given(self) -> bool:
        """Whether the variable is set."""
        return bool(self._value)

    def headers(self) -> dict[str, str]:
        """What is sent with every request."""
        return {"Authorization": f"Bearer {self._value}"} if self._value else {}

    def hidden(self, text: str) -> str:
        """``text`` without the key: servers repeat it in their messages."""
        return text.replace(self._value, "[key]") if self._value else text

    def __repr__(self) -> str:
        return f"Key({self.variable})"

    def __reduce__(self) -> tuple[type[Key], tuple[str]]:
        return Key, (self.variable,)

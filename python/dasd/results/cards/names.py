"""What a card may say of the machine that it was made on: names, never paths, addresses or secrets."""

from __future__ import annotations

import re
from pathlib import Path, PurePath, PureWindowsPath

from pydantic import JsonValue

__all__ = ["NO_ADDRESS", "hub_name", "leaks", "public", "public_text"]

NO_ADDRESS = "(address left out)"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>|]+")
_PUBLIC_HOSTS = ("huggingface.co", "github.com", "arxiv.org", "doi.org")
_PATH = re.compile(
    r"(?<![\w:/.<>~\\-])(?:~[\w.-]*)?/(?:[^\s/'\"`|<>]+/)+[^\s/'\"`|<>]*|(?<![\w/])~[\w.-]*/\S+"
)
_WINDOWS_PATH = re.compile(r"(?<!\w)[A-Za-z]:\\[^\s'\"`|<>]+")
_SECRET = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|ghp_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,})|Bearer [\w.~+/-]{12,}"
)


def hub_name(model: str) -> str | None:
    """``OWNER/NAME`` where a recipe's model is that of a hub; None for a directory or a bundled model."""
    if model.startswith((".", "/", "~")) or Path(model).is_dir() or not _HUB_NAME.fullmatch(model):
        return None
    return model


def public(value: JsonValue) -> JsonValue:
    """A value of a recipe with every path in it cut to its last name and every private address left out."""
    if isinstance(value, dict):
        return {key: public(item) for key, item in value.items()}
    if isinstance(value, list):
        return [public(item) for item in value]
    if isinstance(value, str):
        # A value that is a path as a whole may have spaces in it.
        if value.startswith("/") and "\n" not in value and len(PurePath(value).parts) > 1:
            return PurePath(value).name
        return public_text(value)
    return value


def public_text(text: str) -> str:
    """Text with every absolute path cut to its last name, private addresses and secrets left out."""
    text = _SECRET.sub("(secret left out)", text)
    text = _URL.sub(lambda found: found[0] if _is_public(found[0]) else NO_ADDRESS, text)
    text = _WINDOWS_PATH.sub(lambda found: PureWindowsPath(found[0]).name, text)
    # The addresses that stay look like paths from their third stroke on.
    pieces = re.split(rf"({_URL.pattern})", text)
    return "".join(
        piece if index % 2 else _PATH.sub(lambda found: PurePath(found[0]).name, piece)
        for index, piece in enumerate(pieces)
    )


def leaks(text: str, private: tuple[Path, ...] = ()) -> list[str]:
    """Why a text must not be published: secrets in it, the home directory, and the ``private`` directories.

    A secret itself is not in what comes back.
    """
    found = ["something that looks like a token"] if _SECRET.search(text) else []
    for path in (Path.home(), *private):
        name = str(path.absolute())
        if len(path.absolute().parts) > 1 and re.search(rf"{re.escape(name)}(?![\w-])", text):
            found.append(f"the path {name}")
    return list(dict.fromkeys(found))


def _is_public(url: str) -> bool:
    host = url.partition("://")[2].partition("/")[0]
    return any(host == known or host.endswith(f".{known}") for known in _PUBLIC_HOSTS)

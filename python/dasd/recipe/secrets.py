"""Keys and passwords have no place in a recipe: it is copied into every run directory and report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from dasd.errors import RecipeError
from dasd.recipe.yaml import KeyPath, dotted

_SECRET_KEY = re.compile(
    r"^((.*_)?(api_?key|secret|secret_?key|pass(word|wd|phrase)|credentials?|private_?key"
    r"|(access|auth|hf|bearer|api)_?token|bearer|authorization)|token)$"
)
_SECRET_VALUE = re.compile(r"^(sk-|hf_|ghp_|Bearer )[A-Za-z0-9_\-.]{12,}$")


def refuse_secrets(data: object, where: Callable[[KeyPath], str]) -> None:
    """RecipeError, without the value, when a key or a value looks like a secret.

    A key that names an environment variable (``api_key_env: OPENAI_API_KEY``) is fine.
    """
    for path, value in _leaves(data, ()):
        key = str(path[-1]).lower().replace("-", "_") if path else ""
        named = bool(_SECRET_KEY.match(key)) and value not in (None, "", False) and "options" in path[:-1]
        if named or (isinstance(value, str) and _SECRET_VALUE.match(value)):
            raise RecipeError(
                f"{where(path)}{dotted(path)}: this looks like a secret, and a recipe is copied into every "
                "run directory. Take it out and use the environment variable that the plugin documents."
            )


def _leaves(data: object, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, (*path, key))
    elif isinstance(data, (list, tuple)):
        for index, value in enumerate(data):
            yield from _leaves(value, (*path, index))
    else:
        yield path, data

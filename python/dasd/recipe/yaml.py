"""YAML with line numbers: plain data of bounded size, no tags, aliases or duplicate keys, words as in YAML 1.2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from dasd.errors import RecipeError

KeyPath = tuple[str | int, ...]

# Far beyond any recipe: what is larger was made to fill the memory, or is no recipe.
_BYTES = 1 << 20
LEVELS = 50
UNWRITABLE = re.compile("[\\0\\ud800-\\udfff]")
"""Characters that escapes (or ``-o``) can write and that no file, path or terminal takes."""
_VALUES = 10_000
_DIGITS = 100
_KEY = 200
_QUOTED = 200
"""Characters of a YAML error that are shown; it may quote the text."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-5`` as text and ``no`` as false; this loader reads them as YAML 1.2 does."""

    depth = values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """As PyYAML's, which follows aliases, tags and brackets without end."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self.values += 1
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "no aliases (*name) here; write the values out")
        if getattr(event, "tag", None) is not None:
            self._refuse(event, "no tags (!name) here; write the plain value")
        if self.depth >= LEVELS:
            self._refuse(event, f"wanted at most {LEVELS} levels of lists and keys inside one another")
        if self.values > _VALUES:
            self._refuse(event, f"wanted at most {_VALUES} keys and values")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """As PyYAML's, which takes any character and numbers of any length."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if UNWRITABLE.search(event.value):
            self._refuse(event, "a text with a NUL character or half of a surrogate pair; take it out")
        node = super().compose_scalar_node(anchor)
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > _DIGITS:
            self._refuse(event, f"a number of {len(node.value)} digits; wanted at most {_DIGITS}")
        return node

    def _refuse(self, event: Any, problem: str) -> None:
        raise RecipeError(f"{self.name}, line {event.start_mark.line + 1}: {problem}")


class _PlainLoader(yaml.SafeLoader):
    """PyYAML's own, without aliases: a few lines of them are more values than any machine can walk through."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise RecipeError("no aliases (*name) here")
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _starts in (
    ("bool", r"true|True|TRUE|false|False|FALSE", [*"tTfF"]),
    ("null", r"~|null|Null|NULL|", [*"~nN", ""]),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+", [*"-+0123456789"]),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf)|\.(?:nan|NaN)",
        [*"-+.0123456789"],
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _starts)


def _int(_loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value).replace("_", "")
    return int(text, 16) if text.lower().startswith("0x") else int(text)  # 010 is ten, not eight


_Loader.add_constructor("tag:yaml.org,2002:int", _int)


def read(path: Path, name: str) -> tuple[Any, dict[KeyPath, int]]:
    """``parse`` of a file. Raises RecipeError for one that can't be read, is no UTF-8 or is too large."""
    return parse(read_text(path, name), name)


def read_text(path: Path, name: str) -> str:
    """Text of a recipe, which may come through a pipe. Raises RecipeError as ``read`` does."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES + 1)
        if len(content) > _BYTES:
            raise RecipeError(f"{name}: wanted a recipe of at most {_BYTES} bytes; this file is larger")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{name} can't be read: {error}") from error


def parse(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    """The data in ``text``, and the line (from 1) on which each key path starts.

    ``name`` is the file's, for messages. Raises RecipeError for text that isn't YAML, duplicate keys, keys
    that aren't text, tags, aliases, and what is nested deeper or is larger than any recipe.
    """
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(
            f"{name}, line {line}: this isn't YAML: the character {error.character:#06x} is not allowed"
        ) from error
    loader.name = name
    try:
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        if node is None:
            return None, lines
        _walk(node, (), lines, name)
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        hint = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise RecipeError(f"{where}: this isn't YAML: {str(error.problem)[:_QUOTED]}{hint}") from error
    finally:
        loader.dispose()


def plain(text: str) -> Any:
    """``yaml.safe_load`` of what a tool wrote (a run's recipe, a card). Raises YAMLError, RecipeError for aliases."""
    return yaml.load(text, _PlainLoader)  # noqa: S506 (a SafeLoader)


def value(text: str) -> Any:
    """The value of ``-o key=TEXT``, read as YAML; text that isn't YAML stands for itself."""
    try:
        return parse(text, "-o")[0]
    except RecipeError:
        return text


def _walk(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{name}, line {line}: a key must be text")
            if len(key.value) > _KEY or not key.value.isprintable():
                raise RecipeError(
                    f"{name}, line {line}: a key of {len(key.value)} characters; wanted at most {_KEY}, all printable"
                )
            if key.tag == "tag:yaml.org,2002:merge" or key.value == "<<":
                raise RecipeError(f"{name}, line {line}: no merge keys (<<) here; write the keys out")
            if key.tag != "tag:yaml.org,2002:str":
                key.tag = "tag:yaml.org,2002:str"
            below = (*path, str(key.value))
            if below in lines:
                raise RecipeError(
                    f"{name}, line {line}: {dotted(below)} is there twice; it was set on line {lines[below]}"
                )
            lines[below] = line
            _walk(child, below, lines, name)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _walk(child, (*path, index), lines, name)


def dotted(path: KeyPath) -> str:
    """A key path as it is written with ``-o``: ``stages.1.temperature``."""
    return ".".join(str(part) for part in path) or "the recipe"

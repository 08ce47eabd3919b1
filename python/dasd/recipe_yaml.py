"""YAML with line numbers: plain data, no tags, no duplicate keys, numbers and truth values as in YAML 1.2."""

from __future__ import annotations

import re
from typing import Any

import yaml

from dasd.errors import RecipeError

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads ``1e-5`` as text and ``no`` as false; this loader reads them as YAML 1.2 does."""


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


def parse(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    """The data in ``text``, and the line (from 1) on which each key path starts.

    ``name`` is the file's, for messages. Raises RecipeError for text that isn't YAML, duplicate keys, keys
    that aren't text, and tags or aliases that would make objects.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        if node is None:
            return None, lines
        _walk(node, (), lines, name, set())
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        hint = "; indent with spaces" if "'\\t'" in str(error.problem) else ""
        raise RecipeError(f"{where}: this isn't YAML: {error.problem}{hint}") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"{name}: this isn't YAML: {error}") from error
    finally:
        loader.dispose()


def value(text: str) -> Any:
    """The value of ``-o key=TEXT``, read as YAML; text that isn't YAML stands for itself."""
    try:
        return parse(text, "-o")[0]
    except RecipeError:
        return text


def _walk(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], name: str, above: set[int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if id(node) in above:
        raise RecipeError(f"{name}, line {node.start_mark.line + 1}: an alias that contains itself")
    above = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise RecipeError(f"{name}, line {line}: a key must be text")
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
            _walk(child, below, lines, name, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _walk(child, (*path, index), lines, name, above)


def dotted(path: KeyPath) -> str:
    """A key path as it is written with ``-o``: ``stages.1.temperature``."""
    return ".".join(str(part) for part in path) or "the recipe"

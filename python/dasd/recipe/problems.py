"""Turns pydantic's problems into lines that say where, what was wanted, what came, and what was meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from dasd.base.suggest import did_you_mean, nearest
from dasd.recipe.yaml import KeyPath, dotted

_LONGEST_VALUE = 60
MOST_PROBLEMS = 30
"""Problems that are told; of more there is a count."""
_WORDS = (
    ("greater than or equal to", "at least"),
    ("less than or equal to", "at most"),
    ("greater than", "more than"),
    ("a valid ", "a "),
    ("a integer", "an integer"),
    ("tuple", "list"),
    ("dictionary", "mapping of keys to values"),
)


class Where(Protocol):
    """Tells where a key path was set: file and line, or ``-o``, with a colon for the message."""

    def __call__(self, path: KeyPath, across: bool = False) -> str:
        """``across``: the problem is of several keys of a section, and ``path`` is that of one of them."""
        ...


def describe(
    error: ValidationError,
    model: type[BaseModel],
    prefix: str | KeyPath = (),
    where: Where | None = None,
    root: type[BaseModel] | None = None,
) -> list[str]:
    """One line a problem: ``WHERE: key.path: wanted ..., got ...; did you mean ...?``.

    ``prefix`` stands before every key path; ``where`` gives the place (file and line) of a full key path;
    ``root`` is the model of the whole recipe, to find an unknown key that lives in another section.
    """
    start: KeyPath = tuple(prefix.split(".")) if isinstance(prefix, str) and prefix else tuple(prefix)
    lines = []
    problems = error.errors(include_url=False)
    for problem in problems[:MOST_PROBLEMS]:
        if problem["type"] == "too_short" and any(
            other is not problem and other["loc"][: len(problem["loc"])] == problem["loc"]
            for other in problems
        ):
            continue  # pydantic counts items that failed as absent
        inner = without_tags(problem["loc"], model)
        if problem["type"] == "finite_number":
            inner = _without_kinds(inner)
        path = (*start, *inner)
        place = where(path, across=problem["type"] == "value_error") if where else ""
        lines.append(f"  {place}{dotted(path)}: {_explain(problem, inner, model, root)}")
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"  and {len(problems) - MOST_PROBLEMS} more")
    return lines


def _explain(
    problem: Mapping[str, Any], path: KeyPath, model: type[BaseModel], root: type[BaseModel] | None
) -> str:
    kind, got = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), model_at(model, path[:-1]), root)
    if kind == "missing":
        return "this key is needed" + _meaning(model, path)
    if kind == "union_tag_invalid":
        context = problem["ctx"]
        wanted = str(context["expected_tags"])
        return f"kind: wanted {wanted}, got {show(context['tag'])}" + _close(context["tag"], _words(wanted))
    message = str(problem["msg"])
    if kind == "literal_error":
        wanted = str(problem["ctx"]["expected"])
        return f"wanted {wanted}, got {show(got)}" + _close(got, _words(wanted))
    if kind == "model_type" or kind == "dict_type":
        return f"wanted keys and values, got {show(got)}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "string_pattern_mismatch":
        return f"wanted text that matches {problem['ctx']['pattern']}, got {show(got)}"
    if kind.startswith("bool"):
        return f"wanted true or false, got {show(got)}"
    if kind == "too_short":
        return f"wanted at least {problem['ctx']['min_length']} item, got {show(got)}"
    if kind == "too_long":
        return f"wanted at most {problem['ctx']['max_length']} items, got {show(got)}"
    if kind == "string_too_long":
        return f"wanted at most {problem['ctx']['max_length']} characters, got {len(str(got))}: {show(got)}"
    if message.startswith("Input should be "):
        wanted = message.removeprefix("Input should be ").split(", unable")[0]
        for pydantics, ours in _WORDS:
            wanted = wanted.replace(pydantics, ours)
        return f"wanted {wanted}, got {show(got)}"
    return f"{message}, got {show(got)}"


def _unknown_key(key: str, section: type[BaseModel] | None, root: type[BaseModel] | None) -> str:
    known = list(section.model_fields) if section else []
    if key in known:  # the first of several sections that may stand here
        return "unknown key in a section of this `kind`; one of another kind has it"
    if nearest(key, known):
        return f"unknown key{did_you_mean(key, known)}"
    if root is not None:
        elsewhere = list(dict.fromkeys(dotted(path) for path, _ in all_keys(root) if path[-1] == key))
        if elsewhere:
            return f"unknown key here; it belongs at {' or '.join(elsewhere[:3])}"
    return f"unknown key; known here: {', '.join(known)}"


def all_keys(model: type[BaseModel], path: KeyPath = ()) -> Iterator[tuple[KeyPath, type[BaseModel]]]:
    """Every key path below ``model`` (list items as ``N``), with the section that holds the key."""
    for name, field in model.model_fields.items():
        below = (*path, name)
        yield below, model
        for item, many in _models(field.annotation):
            yield from all_keys(item, (*below, "N") if many else below)


def model_at(model: type[BaseModel] | None, path: KeyPath) -> type[BaseModel] | None:
    """The section at a key path; of several possible ones the first that has the rest of the path."""
    if model is None or not path:
        return model
    if isinstance(path[0], int):
        return model_at(model, path[1:])
    field = model.model_fields.get(path[0])
    if field is None:
        return None
    rest = path[1:]
    for item, many in _models(field.annotation):
        found = model_at(item, rest[1:] if many and rest else rest)
        if found is not None:
            return found
    return None


def _models(annotation: Any) -> list[tuple[type[BaseModel], bool]]:
    """Sections inside an annotation, and whether they are items of a list."""
    origin = get_origin(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(annotation, False)]
    if origin is Annotated:
        return _models(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [found for part in get_args(annotation) for found in _models(part)]
    if origin in (tuple, list):
        return [(model, True) for part in get_args(annotation) for model, _ in _models(part)]
    return []


def without_tags(loc: Sequence[str | int], model: type[BaseModel]) -> KeyPath:
    """pydantic puts the tag of a union (``off-policy``) into the path; nobody wrote it there."""
    path: list[str | int] = []
    for index, part in enumerate(loc):
        after_item = index > 0 and isinstance(loc[index - 1], int)
        if after_item and isinstance(part, str) and part in _tags(model):
            continue
        path.append(part)
    return tuple(path)


def _without_kinds(path: KeyPath) -> KeyPath:
    """pydantic puts the kind of every value of a free option behind its key: ``options.a.list.0.float``."""
    kept, at = list(path), len(path) - 1
    while at > 0 and path[at] in ({"float"} if at == len(path) - 1 else {"dict", "list"}):
        del kept[at]
        at -= 2
    return tuple(kept)


def _tags(model: type[BaseModel]) -> set[str]:
    tags: set[str] = set()
    for _, section in all_keys(model):
        kind = section.model_fields.get("kind")
        if kind is not None and get_origin(kind.annotation) is Literal:
            tags.update(get_args(kind.annotation))
    return tags


def _meaning(model: type[BaseModel], path: KeyPath) -> str:
    section = model_at(model, path[:-1])
    field = section.model_fields.get(str(path[-1])) if section else None
    return f": {field.description}" if field is not None and field.description else ""


def _words(wanted: str) -> list[str]:
    return [word.strip(" '") for word in wanted.replace(" or ", ",").split(",")]


def _close(got: object, known: Sequence[str]) -> str:
    return did_you_mean(got, known, "") if isinstance(got, str) else ""


def show(value: object) -> str:
    """A value for a message, cut to a readable length."""
    text = repr(value)
    kind = "" if isinstance(value, (str, int, float, bool)) or value is None else f" ({type(value).__name__})"
    return (text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "...") + kind

"""Options of plugins taken as they are written: ``true`` is no number, ``"5"`` and ``inf`` are none either.

A plugin's model takes them all where it isn't strict, and strict mode would refuse a list where it wants a tuple;
so this looks at scalars alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails

__all__ = ["check_values"]

Path = tuple[str | int, ...]

_NAMES: dict[object, str] = {float: "float_type", int: "int_type", bool: "bool_type"}
"""What pydantic calls the problem where one of these is wanted and something of another kind came."""


def check_values(model: type[BaseModel], values: Mapping[str, Any]) -> None:
    """Hold each of ``values`` against its field of ``model``. Raises ValidationError with every problem's path."""
    found = []
    for name, value in values.items():
        field = model.model_fields.get(name)
        problems = _problems(field.annotation if field is not None else Any, value, (name,))
        found += [InitErrorDetails(type=problem, loc=loc, input=got) for loc, problem, got in problems]
    if found:
        raise ValidationError.from_exception_data(model.__name__, found)


def _problems(annotation: object, value: object, path: Path) -> Iterator[tuple[Path, str, object]]:
    if isinstance(value, (dict, list, tuple)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _problems(annotation, item, (*path, key))
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, "finite_number", value
    elif isinstance(value, (bool, int, float, str)):
        wanted = set(_scalars(annotation))
        kinds = [kind for kind in _NAMES if kind in wanted]
        if kinds and not _fits(value, wanted):
            yield path, _NAMES[kinds[0]], value


def _fits(value: bool | float | str, wanted: set[object]) -> bool:
    """Whether ``value`` may stand where one of the types ``wanted`` is; all but numbers is pydantic's to judge."""
    others = wanted - _NAMES.keys() - {type(None)}
    if isinstance(value, bool):
        return bool in wanted or any(
            not isinstance(other, type) and get_origin(other) is None for other in others
        )
    return (
        bool(others)
        or (isinstance(value, int) and int in wanted)
        or (not isinstance(value, str) and float in wanted)
    )


def _scalars(annotation: object) -> Iterator[object]:
    """The types of single values in an annotation: of lists, and of the values of dictionaries, those of the items."""
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is Annotated:
        yield from _scalars(arguments[0])
    elif origin in (Union, UnionType, tuple, list):
        for part in arguments:
            if part is not Ellipsis:
                yield from _scalars(part)
    elif origin is dict:
        yield from _scalars(arguments[1])
    else:
        yield annotation

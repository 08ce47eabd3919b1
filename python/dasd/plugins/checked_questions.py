"""A source of questions, held to what it must give; sources written for older versions of ``dasd.api`` among them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl
from pydantic import ConfigDict, JsonValue, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from dasd.base.records import LoadedQuestions, QuestionRows, RowsSetAside, SetAside
from dasd.base.schemas import QUESTIONS
from dasd.errors import SchemaError
from dasd.plugins.blame import Origin
from dasd.plugins.checked import Checked
from dasd.plugins.checked_rows import as_rows, check_messages
from dasd.plugins.roles import Questions
from dasd.recipe.question_settings import QuestionSource

__all__ = ["CheckedQuestions"]

_SAID: TypeAdapter[object] = TypeAdapter(
    tuple[tuple[SetAside, ...], Mapping[str, str], LoadedQuestions | None],
    config=ConfigDict(strict=True, revalidate_instances="always"),
)
"""``set_aside``, ``places`` and ``loaded`` of a ``QuestionRows``; dataclasses themselves check nothing."""


class CheckedQuestions(Checked[Questions]):
    """A source of questions whose options and rows are checked; it always gives a ``QuestionRows``."""

    methods = ("load",)

    def __init__(
        self,
        inner: Questions,
        origin: Origin,
        options: Callable[[Mapping[str, JsonValue]], dict[str, JsonValue]],
    ) -> None:
        super().__init__(inner, origin)
        self._options = options

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows:
        """As ``Questions.load``."""
        source = source.model_copy(update={"options": self._options(source.options)})
        with self._origin.blamed():
            loaded = _load(self._inner, source, split, seed)
        rows = as_rows(loaded.rows, QUESTIONS, self._origin.label)
        wrong = rows.filter(pl.col("split") != split)
        if wrong.height:
            got = wrong["split"][0]
            raise SchemaError(f"{self._origin} returned a question of split {got!r}; wanted {split!r}")
        check_messages(rows, self._origin.label)
        try:
            _SAID.validate_python((loaded.set_aside, loaded.places, loaded.loaded))
            _SAID.dump_json((loaded.set_aside, {**loaded.places}, loaded.loaded))
        except PydanticSerializationError as error:  # a lone surrogate, which no file of the run can hold
            raise SchemaError(
                f"{self._origin} says of its rows what can't be written ({error}); wanted text"
            ) from error
        except ValidationError as error:
            wrong_one = error.errors(include_url=False)[0]
            of, *inside = wrong_one["loc"]
            steps = [str(step) for step in inside if "[" not in str(step)]  # others are pydantic's own
            name = ".".join([("set_aside", "places", "loaded")[int(of)], *steps])
            got = f"{wrong_one['input']!r:.80}"
            raise SchemaError(f"{self._origin} has {got} as `{name}`: {wrong_one['msg']}") from error
        return replace(loaded, rows=rows, set_aside=tuple(each for each in loaded.set_aside if each.rows))


def _load(inner: Questions, source: QuestionSource, split: str, seed: int) -> QuestionRows:
    """What the source returns; a frame alone becomes a record.

    Before there was ``QuestionRows``, sources returned a frame, warned ``RowsSetAside`` and had the attributes
    ``loaded`` and ``places`` afterwards. Such a source is understood still. Every other warning passes.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        given = inner.load(source, split, seed)
    set_aside: list[SetAside] = []
    for warning in caught:
        message = warning.message
        if isinstance(message, RowsSetAside) and not isinstance(given, QuestionRows):
            set_aside.append(SetAside(message.path, message.rows))
        else:
            warnings.warn_explicit(message, warning.category, warning.filename, warning.lineno)
    if isinstance(given, QuestionRows):
        return given
    places, loaded = getattr(inner, "places", {}), getattr(inner, "loaded", None)
    return QuestionRows(given, tuple(set_aside), places, loaded)

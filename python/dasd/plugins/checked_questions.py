"""A source of questions, held to what it must give; sources written for older versions of ``dasd.api`` among them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace

import polars as pl
from pydantic import JsonValue

from dasd.base.records import BadRow, LoadedQuestions, QuestionRows, RowsSetAside, SetAside
from dasd.base.schemas import QUESTIONS
from dasd.errors import SchemaError
from dasd.plugins.blame import Origin
from dasd.plugins.checked_rows import as_rows
from dasd.plugins.roles import Questions
from dasd.recipe.question_settings import QuestionSource

__all__ = ["CheckedQuestions"]


class CheckedQuestions:
    """A source of questions whose options and rows are checked; it always gives a ``QuestionRows``."""

    def __init__(
        self,
        inner: Questions,
        origin: Origin,
        options: Callable[[Mapping[str, JsonValue]], dict[str, JsonValue]],
    ) -> None:
        self._inner = inner
        self._origin = origin
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
        if loaded.loaded is not None and not isinstance(loaded.loaded, LoadedQuestions):
            raise self._wrong(loaded.loaded, "loaded", "a LoadedQuestions or None")
        if not isinstance(loaded.places, Mapping):
            raise self._wrong(loaded.places, "places", "a mapping")
        if not isinstance(loaded.set_aside, tuple):
            raise self._wrong(loaded.set_aside, "set_aside", "a tuple of SetAside")
        for each in loaded.set_aside:
            if not isinstance(each, SetAside):
                raise self._wrong(each, "set_aside", "a tuple of SetAside")
            for row in each.rows:
                if not isinstance(row, BadRow):
                    raise self._wrong(row, "set_aside", "BadRow as its rows")
        return replace(loaded, rows=rows, set_aside=tuple(each for each in loaded.set_aside if each.rows))

    def _wrong(self, value: object, name: str, wanted: str) -> SchemaError:
        return SchemaError(f"{self._origin} has a {type(value).__name__} as `{name}`; wanted {wanted}")


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

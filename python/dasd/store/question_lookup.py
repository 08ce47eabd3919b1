"""Questions by their id, in any order, in memory that hardly grows with them: 16 bytes a question."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import polars as pl

from dasd.base.records import Message
from dasd.store.parts import PartRows

__all__ = ["QuestionLookup"]

ValueT = TypeVar("ValueT")
_BATCH = 4096
_HELD = 1024
"""Questions that are kept as they were read: candidates of one question come after one another."""


class QuestionLookup:
    """Messages, answers and domains of QUESTIONS rows, each a mapping by question_id.

    They lie in a file without a name, which is gone with this process however that ends.
    """

    columns = ("question_id", "messages", "answer", "verifier", "domain")
    """Of a record."""

    def __init__(self, questions: Iterable[pl.DataFrame], directory: Path | None = None) -> None:
        """``questions``: QUESTIONS rows, of ids that occur once; ``directory``: where the file is to lie."""
        hashes, starts = array("Q"), array("Q", [0])
        with tempfile.TemporaryFile(dir=directory) as file:
            for rows in questions:
                for record in rows.select(self.columns).iter_rows():
                    line = json.dumps(record).encode()
                    file.write(line)
                    hashes.append(int(_hash(record[0])))
                    starts.append(starts[-1] + len(line))
            file.flush()
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        found = np.frombuffer(hashes, np.uint64)
        self._order = np.argsort(found, kind="stable").astype(np.uint32)
        self._hashes = found[self._order]
        self._starts = np.frombuffer(starts, np.uint64)
        self._held: dict[str, tuple[Any, ...]] = {}
        self.messages: Mapping[str, tuple[Message, ...]] = _View(self, _messages)
        """The conversation of each question."""
        self.answers: Mapping[str, tuple[str, str]] = _View(self, _answer)
        """Answer and verifier of every question that has both."""
        self.domains: Mapping[str, str] = _View(self, lambda record: str(record[4]))

    @classmethod
    def of(cls, questions: PartRows, directory: Path | None) -> QuestionLookup:
        """Over the frame of stage ``questions``."""
        return cls(questions.select(cls.columns).batches(_BATCH), directory)

    def __len__(self) -> int:
        return len(self._order)

    def record(self, question_id: str) -> tuple[Any, ...] | None:
        """The columns of a question; None where there is none of this id."""
        held = self._held.get(question_id)
        if held is None:
            held = self._find(question_id)
            if held is not None:
                if len(self._held) >= _HELD:
                    self._held.clear()
                self._held[question_id] = held
        return held

    def _find(self, question_id: str) -> tuple[Any, ...] | None:
        wanted = _hash(question_id)
        place = int(np.searchsorted(self._hashes, wanted))
        while place < len(self._order) and self._hashes[place] == wanted:
            record = self._read(int(self._order[place]))
            if record[0] == question_id:
                return record
            place += 1
        return None

    def _read(self, row: int) -> tuple[Any, ...]:
        start, stop = int(self._starts[row]), int(self._starts[row + 1])
        return tuple(json.loads(os.pread(self._file, stop - start, start)))

    def ids(self) -> Iterator[str]:
        """All of them, in order."""
        for row in range(len(self)):
            yield self._read(row)[0]


class _View(Mapping[str, ValueT], Generic[ValueT]):
    """One thing that is known of questions; those of which it isn't known are left out."""

    def __init__(self, lookup: QuestionLookup, value: Callable[[tuple[Any, ...]], ValueT | None]) -> None:
        self._lookup = lookup
        self._value = value

    def __getitem__(self, question_id: str) -> ValueT:
        record = self._lookup.record(question_id)
        value = None if record is None else self._value(record)
        if value is None:
            raise KeyError(question_id)
        return value

    def __iter__(self) -> Iterator[str]:
        return (question for question in self._lookup.ids() if question in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _hash(question_id: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(question_id.encode(), digest_size=8).digest(), "little"))


def _messages(record: tuple[Any, ...]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in record[1])


def _answer(record: tuple[Any, ...]) -> tuple[str, str] | None:
    answer, verifier = record[2:4]
    return None if answer is None or verifier is None else (answer, verifier)

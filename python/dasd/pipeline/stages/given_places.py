"""Where the good responses of a user's files lie: columns of numbers, 17 bytes a response."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dasd.base.id_numbers import IdNumbers
from dasd.base.records import SetAside
from dasd.curation.sources.values import ValueFile
from dasd.pipeline.stages.from_files_rows import GivenReader
from dasd.pipeline.work.units import Unit

__all__ = ["Places", "find_places"]

_HAS_LOGPROBS, _DOUBLED = 1, 2


@dataclass(frozen=True, slots=True)
class Places:
    """Of N responses in the order in which they are written: by question, then by candidate."""

    file: NDArray[np.uint32]
    row: NDArray[np.uint32]
    question: NDArray[np.uint32]
    """Number of its question."""
    candidate: NDArray[np.uint32]
    flags: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def bare(self) -> NDArray[np.int64]:
        """Numbers of those without log-probabilities."""
        return np.flatnonzero(self.flags & _HAS_LOGPROBS == 0)

    @property
    def doubled(self) -> int:
        """How many began with the think tag that the teacher's prompt ends with; they are read without."""
        return int(np.count_nonzero(self.flags & _DOUBLED))

    @property
    def questions(self) -> int:
        """How many questions they answer."""
        return len(np.unique(self.question))

    def rows(self, files: Sequence[ValueFile], reader: GivenReader, unit: Unit) -> list[dict[str, object]]:
        """Rows of SAMPLES of a unit, file by file."""
        here = slice(unit.start, unit.stop)
        of_file, rows, candidates = self.file[here], self.row[here], self.candidate[here]
        found = []
        for number, file in enumerate(files):
            own = np.flatnonzero(of_file == number)
            values = file.take(rows[own].tolist())
            for candidate, value in zip(candidates[own].tolist(), values, strict=True):
                assert isinstance(value, dict)
                found.append(reader.sample(value, candidate)[0])
        return found


def find_places(files: Sequence[ValueFile], reader: GivenReader) -> tuple[Places, list[SetAside]]:
    """The good rows of all files, and the others of each."""
    found = _Found(files, reader)
    bad = [(file.path, file.read(partial(found.add, number))) for number, file in enumerate(files)]
    return found.places(), [SetAside(path, tuple(rows)) for path, rows in bad if rows]


class _Found:
    """The good rows so far, in the order in which they were read."""

    def __init__(self, files: Sequence[ValueFile], reader: GivenReader) -> None:
        self._files = files
        self._reader = reader
        self._ids = IdNumbers()
        self._file, self._row, self._question, self._candidate = (array("I") for _ in range(4))
        self._flags = array("B")
        self._answered = np.zeros(reader.questions, np.uint32)

    def add(self, number: int, row: int, value: Mapping[str, object]) -> None:
        """Take a row of file ``number``; ValueError says why it can't be used."""
        question = self._reader.question(value)
        sample, doubled = self._reader.sample(value, int(self._answered[question]))
        earlier = self._ids.add(str(sample["sample_id"]))
        if earlier is not None:
            raise ValueError(
                f"the same sample_id, or else all of question, model, temperature, candidate and seed, as row "
                f"{self._row[earlier]} of {self._files[self._file[earlier]].path.name}"
            )
        self._answered[question] += 1
        self._file.append(number)
        self._row.append(row)
        self._question.append(question)
        self._candidate.append(int(str(sample["candidate"])))
        self._flags.append(_HAS_LOGPROBS * (sample["logprobs"] is not None) + _DOUBLED * doubled)

    def places(self) -> Places:
        """All of them, in the order in which they are written."""
        question, candidate = (np.frombuffer(each, np.uint32) for each in (self._question, self._candidate))
        order = np.lexsort((candidate, question)).astype(np.uint32)
        file, row = (np.frombuffer(each, np.uint32) for each in (self._file, self._row))
        flags = np.frombuffer(self._flags, np.uint8)
        return Places(file[order], row[order], question[order], candidate[order], flags[order])

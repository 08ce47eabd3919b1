"""Sentence probabilities of two models and their difference, as others compute them.

Finding which tokens make up a sentence is most of the work. The peers are spared it: they get the tokens of each
sentence ready, one sentence after the other (a token on a boundary stands in both).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.corpus import Corpus, Floats, Ints, Ragged
from benchmarks.peers.available import gather
from benchmarks.table import Contender

Doubles = npt.NDArray[np.float64]


def ready_sentences(logprobs: Ragged, token_ends: Ragged, sentence_ends: Ragged) -> Ragged:
    """Logprobs of the tokens that cover each sentence, one row a sentence."""
    bytes_of_rows = token_ends.values[token_ends.offsets[1:] - 1].astype(np.int64)
    starts = np.cumsum(bytes_of_rows) - bytes_of_rows

    def line(ends: Ragged) -> Ints:
        return ends.values.astype(np.int64) + np.repeat(starts, np.diff(ends.offsets))

    tokens, ends = line(token_ends), line(sentence_ends)
    first = np.searchsorted(tokens, np.concatenate([[0], ends[:-1]]), side="right")
    last = np.searchsorted(tokens, ends, side="left")
    offsets = np.concatenate([[0], np.cumsum(last - first + 1)])
    places = np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], last - first + 1)
    return Ragged(logprobs.values[places], offsets)


@dataclass(frozen=True)
class Ready:
    """Both models' sentences [S, .] with flat views for numpy and numba."""

    teacher: Ragged
    student: Ragged
    sums: tuple[Floats, ...]  # as many bytes as the kernel reads, as float32

    @classmethod
    def of(cls, corpus: Corpus) -> Ready:
        """From the corpus; takes as much memory as its scores once more."""
        read = (
            corpus.teacher_logprobs,
            corpus.teacher_token_ends,
            corpus.student_logprobs,
            corpus.student_token_ends,
            corpus.sentence_ends,
        )
        return cls(
            ready_sentences(corpus.teacher_logprobs, corpus.teacher_token_ends, corpus.sentence_ends),
            ready_sentences(corpus.student_logprobs, corpus.student_token_ends, corpus.sentence_ends),
            # Byte offsets read as float32 would be denormal numbers, which some processors add slowly.
            tuple(column.values.astype(np.float32) for column in read),
        )


def exact_probabilities(sentences: Ragged) -> Doubles:
    """What all are checked against: means in float64."""
    sums = np.add.reduceat(sentences.values.astype(np.float64), sentences.offsets[:-1])
    return np.asarray(np.exp(sums / np.diff(sentences.offsets)))


def plain_sum(ready: Ready) -> list[float]:
    """One addition a value: what reading the memory costs."""
    return [float(np.sum(values)) for values in ready.sums]


def numpy_reduceat(ready: Ready) -> tuple[Floats, Floats, Floats]:
    """Sums by ``numpy.add.reduceat``; teacher, student, difference [S]."""
    means = []
    for sentences in (ready.teacher, ready.student):
        sums = np.add.reduceat(sentences.values, sentences.offsets[:-1])
        means.append(np.exp(sums / np.diff(sentences.offsets).astype(np.float32)))
    return means[0], means[1], means[0] - means[1]


def polars_list_mean(teacher: pl.Series, student: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series]:
    """``list.mean`` and ``exp`` over one list a sentence."""
    p_teacher, p_student = teacher.list.mean().exp(), student.list.mean().exp()
    return p_teacher, p_student, p_teacher - p_student


def polars_group_by(frame: pl.DataFrame) -> pl.DataFrame:
    """Mean and ``exp`` by the number of the sentence, one model."""
    return frame.group_by("sentence").agg(pl.col("logprob").mean().exp())


def numba_parallel() -> Callable[..., object]:
    """A compiled loop over sentences on all threads: f(teacher, teacher offsets, student, student offsets)."""
    import numba

    @numba.njit(parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
    def compare(teacher, teacher_offsets, student, student_offsets):  # type: ignore[no-untyped-def]
        count = len(teacher_offsets) - 1
        p_teacher, p_student = np.empty(count, np.float32), np.empty(count, np.float32)
        delta = np.empty(count, np.float32)
        for sentence in numba.prange(count):
            total = 0.0
            for place in range(teacher_offsets[sentence], teacher_offsets[sentence + 1]):
                total += teacher[place]
            p_teacher[sentence] = np.exp(total / (teacher_offsets[sentence + 1] - teacher_offsets[sentence]))
            total = 0.0
            for place in range(student_offsets[sentence], student_offsets[sentence + 1]):
                total += student[place]
            p_student[sentence] = np.exp(total / (student_offsets[sentence + 1] - student_offsets[sentence]))
            delta[sentence] = p_teacher[sentence] - p_student[sentence]
        return p_teacher, p_student, delta

    compiled: Callable[..., object] = compare
    return compiled


def _numba_sum() -> Callable[..., object]:
    import numba

    @numba.njit(parallel=True, fastmath=True)  # type: ignore[untyped-decorator, unused-ignore]
    def total(values):  # type: ignore[no-untyped-def]
        out = np.float32(0.0)
        for place in numba.prange(len(values)):
            out += values[place]
        return out

    compiled: Callable[..., object] = total
    return compiled


def contenders(ready: Ready, left_out: list[str]) -> list[Contender]:
    """All of them, the slow ones in fewer rounds."""
    teacher, student = ready.teacher.series(), ready.student.series()
    frames = [
        pl.DataFrame(
            {
                "sentence": np.repeat(np.arange(len(sentences), dtype=np.uint32), np.diff(sentences.offsets)),
                "logprob": sentences.values,
            }
        )
        for sentences in (ready.teacher, ready.student)
    ]

    def compiled() -> list[Contender]:
        loop, total = numba_parallel(), _numba_sum()
        arguments = (ready.teacher.values, ready.teacher.offsets, ready.student.values, ready.student.offsets)
        return [
            Contender("numba, parallel", lambda: loop(*arguments), note="sentences ready, no counts"),
            Contender(
                "numba sum on all threads",
                lambda: [total(values) for values in ready.sums],
                note="the same bytes; no target, shows the distance to memory",
            ),
        ]

    return [
        Contender(
            "numpy float32 sum", lambda: plain_sum(ready), target=0.5, note="the same bytes, one thread"
        ),
        Contender(
            "polars list.mean + exp",
            lambda: polars_list_mean(teacher, student),
            target=4.0,
            note="sentences ready as lists, no counts",
        ),
        Contender(
            "numpy add.reduceat + exp", lambda: numpy_reduceat(ready), note="sentences ready, no counts"
        ),
        Contender(
            "polars group_by",
            lambda: [polars_group_by(frame) for frame in frames],
            rounds=2,
            note="sentence numbers ready, no counts",
        ),
        *gather({"numba": compiled}, left_out),
    ]

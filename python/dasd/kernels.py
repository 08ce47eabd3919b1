"""The kernels: sentences, probabilities, duplicates, repetition, packing; written in Rust.

Every argument is a polars Series, a pyarrow array, or any other object that exports Arrow through
the PyCapsule interface (``__arrow_c_stream__`` or ``__arrow_c_array__``), chunked or sliced as it
may be; its memory is read in place. Every result is a polars Series with one row a row of input.
Shapes in the docstrings: N rows, T tokens and S sentences a row (both ragged).

Token ids, offsets and lengths are u32; other integer types are accepted where every value fits.
Logprobs and probabilities are f32; f64 is rounded.

All kernels raise ``TypeError`` for an argument of another type (a plain Python list: wrap it in
``polars.Series``), ``ValueError`` for a malformed row, which is named, or a setting out of range,
and ``KeyboardInterrupt`` within a tenth of a second of Ctrl-C. They release the GIL and use as many
threads as ``RAYON_NUM_THREADS`` says, or as there are cores; results do not depend on that number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import polars as pl

from dasd import _native

if TYPE_CHECKING:
    from polars._typing import PolarsDataType


class ArrowStream(Protocol):
    """What exports a stream of Arrow arrays: a polars Series, a pyarrow ChunkedArray."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class ArrowArray(Protocol):
    """What exports one Arrow array: a pyarrow Array."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...


Arrow = ArrowStream | ArrowArray


def _typed(value: Arrow, dtype: PolarsDataType) -> Arrow:
    """The value itself; a Series that holds only nulls or empty lists, which has no type yet, gets one."""
    if isinstance(value, pl.Series) and value.dtype in (pl.Null, pl.List(pl.Null)):
        return value.cast(dtype)
    return value


def _lists(value: Arrow) -> Arrow:
    return _typed(value, pl.List(pl.UInt32))


def _floats(value: Arrow) -> Arrow:
    return _typed(value, pl.List(pl.Float32))


def _series(name: str, column: _native.Column) -> pl.Series:
    return pl.Series(column).alias(name)


def sentence_ends(text: Arrow) -> pl.Series:
    """Byte offsets where the sentences of each text end, by the rules of docs/sentences.md.

    Args:
        text: text, N rows.

    Returns:
        list<u32>, N rows of S UTF-8 byte offsets, strictly increasing, on character boundaries; the
        last is the text's length. Sentence s spans bytes ``ends[s - 1]..ends[s]`` and includes the
        white space behind it. An empty text has no sentences; null gives null.
    """
    return _series("sentence_ends", _native.sentence_ends(_typed(text, pl.String)))


def sentence_probabilities(logprobs: Arrow, token_ends: Arrow, sentence_ends: Arrow) -> pl.Series:
    """Geometric-mean probability of each sentence under one model.

    ``p(s) = exp(mean of the logprobs of the tokens that cover s)``, as in divergence-aware sampling
    (arXiv 2601.09088; arXiv 2512.20908). Token i spans bytes ``token_ends[i - 1]..token_ends[i]`` and
    covers every sentence that its span intersects: a token that straddles a boundary counts on both
    sides, so every sentence has a token whatever the tokenizer. A token without width (an end token,
    a chat format's header) is no part of the text and counts for no sentence. A logprob of -inf makes its
    sentences 0, NaN makes them NaN. Sums are f64.

    Args:
        logprobs: list<f32>, N rows of T natural-log probabilities of the tokens.
        token_ends: list<u32>, N rows of T byte offsets, never decreasing.
        sentence_ends: list<u32>, N rows of S byte offsets, as :func:`sentence_ends` gives them.

    Returns:
        list<f32>, N rows of S probabilities; null where any argument is null.

    Raises:
        ValueError: different numbers of rows; in a row, different numbers of logprobs and
            token_ends, offsets out of order, tokens and sentences that end at different bytes,
            sentences without tokens, or a null inside a list.
    """
    column = _native.sentence_probabilities(_floats(logprobs), _lists(token_ends), _lists(sentence_ends))
    return _series("sentence_probabilities", column)


def divergence(teacher_probabilities: Arrow, student_probabilities: Arrow, beta: float = 0.1) -> pl.Series:
    """Counts of Teacher, Student and common sentences by ``delta = p_teacher - p_student``.

    Teacher sentence: ``delta > beta``. Student sentence: ``delta < -beta``. Common: otherwise
    (arXiv 2512.20908, used by arXiv 2601.09088). A sentence whose delta is not finite is counted
    nowhere and is not in the mean.

    Args:
        teacher_probabilities: list<f32>, N rows of S probabilities under the teacher.
        student_probabilities: list<f32>, N rows of S probabilities under the student.
        beta: difference of probabilities, finite and at least 0.

    Returns:
        struct, N rows: teacher, student, common (u32, sentences) and mean_delta (f32, difference of
        probabilities; null in a row without a finite delta); null where an argument is null.

    Raises:
        ValueError: different numbers of rows, or of sentences in a row; beta out of range.
    """
    column = _native.divergence(_floats(teacher_probabilities), _floats(student_probabilities), beta)
    return _series("divergence", column)


def compare_sentences(
    teacher_logprobs: Arrow,
    teacher_token_ends: Arrow,
    student_logprobs: Arrow,
    student_token_ends: Arrow,
    sentence_ends: Arrow,
    beta: float = 0.1,
) -> pl.DataFrame:
    """Both models' :func:`sentence_probabilities` and their :func:`divergence`, in one pass over the rows.

    Each model brings its own tokens (T of the teacher, U of the student); the sentences are the same.

    Args:
        teacher_logprobs: list<f32>, N rows of T natural-log probabilities.
        teacher_token_ends: list<u32>, N rows of T byte offsets, never decreasing.
        student_logprobs: list<f32>, N rows of U natural-log probabilities.
        student_token_ends: list<u32>, N rows of U byte offsets, never decreasing.
        sentence_ends: list<u32>, N rows of S byte offsets, as :func:`sentence_ends` gives them.
        beta: difference of probabilities, finite and at least 0.

    Returns:
        A frame of N rows: p_teacher and p_student (list<f32>, S probabilities; null where that model's
        tokens or the sentences are null), teacher, student, common (u32, sentences) and mean_delta (f32),
        null where either list is.

    Raises:
        ValueError: as :func:`sentence_probabilities` and :func:`divergence`.
    """
    column = _native.compare_sentences(
        _floats(teacher_logprobs),
        _lists(teacher_token_ends),
        _floats(student_logprobs),
        _lists(student_token_ends),
        _lists(sentence_ends),
        beta,
    )
    return _series("comparison", column).struct.unnest()


def exact_duplicates(tokens: Arrow) -> pl.Series:
    """Clusters of equal rows. Rows are hashed, then really compared.

    Args:
        tokens: list<u32>, N rows of T token ids.

    Returns:
        u32, N rows: the row number of the first row equal to this one (itself, if it is the first).
        Empty rows are equal to one another. Null gives null.
    """
    return _series("cluster", _native.exact_duplicates(_lists(tokens)))


def near_duplicates(
    tokens: Arrow, threshold: float = 0.8, ngram: int = 5, num_hashes: int = 128, seed: int = 0
) -> pl.Series:
    """Clusters of rows that are alike: linked pairs have a Jaccard similarity of at least threshold.

    A row is the set of its token n-grams (a shorter row: one shingle, the whole row), compared by
    64-bit hash. One-permutation MinHash (Li, Owen, Zhang 2012) with optimal densification
    (Shrivastava 2017) and banding propose pairs; the exact Jaccard similarity of each is computed
    before the two are linked, so no cluster rests on an estimate. With the default settings a pair at
    the threshold itself is proposed with probability 0.998. Clusters are connected components.
    In a band's bucket of up to 256 rows a row's sketch is compared with all others, and the likeliest
    pairs exactly, one refusal a row and band. A crowd (a larger bucket, or a corpus in which refused
    comparisons have cost half as much as sketching it) is told apart by finer sketches of 768 bins and
    a shorter reach in the bucket, which bounds the time; there, pairs near the threshold may be missed.
    Results depend on the seed and on nothing else.

    Args:
        tokens: list<u32>, N rows of T token ids.
        threshold: Jaccard similarity above 0, at most 1.
        ngram: tokens in an n-gram, at least 1.
        num_hashes: length of a sketch, 1 to 4096.
        seed: of the hash functions, 0 to 2**64 - 1.

    Returns:
        u32, N rows: the smallest row number of the row's cluster. An empty row is alike to none.
        Null gives null.

    Raises:
        ValueError: a setting out of range.
    """
    return _series("cluster", _native.near_duplicates(_lists(tokens), threshold, ngram, num_hashes, seed))


def repetition(tokens: Arrow) -> pl.Series:
    """How much each row repeats itself.

    Args:
        tokens: list<u32>, N rows of T token ids.

    Returns:
        struct, N rows (null for null):

        - longest_run (u32, tokens): the longest stretch in which every token equals the one p tokens
          before it, for a period p that is not longer than the stretch; that is, the length of what
          was said again right after being said: 3 in ``a b c a b c``, 2 in ``a a a``, 0 without any.
        - repeated_share (f32, 0 to 1): share of the tokens that lie inside an 8-gram which also
          began earlier in the row. 0 in rows shorter than 9 tokens.
        - loop_period (u32, tokens): the smallest p such that the row ends in at least three repeats
          of a block of p tokens (the last 3 p tokens have period p); 0 without such an ending.
          Three equal tokens at the end (dots, zeros) already are a loop of period 1.
        - loop_tokens (u32, tokens): the length of that ending, its first block included: 3 in
          ``a b b b``, 7 in ``b a b a b a b``; 0 where loop_period is 0. How long a loop is too long
          is the caller's to say (the filter ``repetition`` has ``filters.loop_tokens``).
    """
    return _series("repetition", _native.repetition(_lists(tokens)))


def overlap(tokens: Arrow, reference: Arrow, ngram: int = 13) -> pl.Series:
    """Contamination: the share of each row's n-grams that occur in the reference rows.

    N-grams found by hash are compared token by token, so none is found by collision.

    Args:
        tokens: list<u32>, N rows of T token ids.
        reference: list<u32>, any number of rows, from the same tokenizer; null rows are passed over.
        ngram: tokens in an n-gram, at least 1.

    Returns:
        f32, N rows, 0 to 1: n-grams found / n-grams of the row, each position counted. A row
        shorter than ngram has no n-gram and gets 0, as a short reference row finds nothing:
        choose ngram no longer than what must be found. Null gives null.

    Raises:
        ValueError: ngram out of range.
    """
    return _series("overlap", _native.overlap(_lists(tokens), _lists(reference), ngram))


def pack(lengths: Arrow, capacity: int) -> pl.Series:
    """Bins for sequences, by best-fit decreasing.

    Longest first (equal lengths in row order), each into the bin with the least room that still
    takes it (of equal bins the oldest), or into a new one.

    Args:
        lengths: u32, N rows, tokens of each sequence.
        capacity: tokens that a bin holds.

    Returns:
        u32, N rows: the bin of each sequence; bins are numbered in order of creation.

    Raises:
        ValueError: a length above capacity, or null; the row is named. A capacity out of u32.
    """
    return _series("bin", _native.pack(_typed(lengths, pl.UInt32), capacity))

"""Near and exact duplicates, as others find them. Near: 5-grams, 128 hashes, 16 bands of 8 where one can choose.

rensa and FastSketchLSH flag rows that share a band with another row: estimates, with nothing verified.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.corpus import Corpus, Ints, Ragged
from benchmarks.jaccard import NGRAM, shingle_hashes
from benchmarks.peers.available import gather
from benchmarks.table import Contender

HASHES, BANDS = 128, 16
THRESHOLD = 0.8
SAMPLE_PAIRS = 60  # datasketch looks at the rows of this many planted pairs

Flags = npt.NDArray[np.bool_]


def numpy_shingles(tokens: Ragged) -> Ragged:
    """Hashes of all 5-grams of each row, row by row so that the arithmetic stays in the cache."""
    counts = np.diff(tokens.offsets) - NGRAM + 1
    offsets = np.concatenate([[0], np.cumsum(counts)])
    hashes = np.empty(int(offsets[-1]), np.uint64)
    for row in range(len(tokens)):
        hashes[offsets[row] : offsets[row + 1]] = shingle_hashes(tokens.row(row))
    return Ragged(hashes, offsets)


def rensa_flags(hashes: Ragged) -> Flags:
    """Sketches and one-shot LSH of rensa from ready-made hashes."""
    import rensa

    offsets = hashes.offsets.astype(np.uint64)
    sketches = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes.values, offsets, HASHES, 0)
    index = rensa.RMinHashLSH(THRESHOLD, HASHES, BANDS)
    return np.asarray(index.query_duplicate_flags_matrix_one_shot(sketches), bool)


def fastsketch_flags(hashes: Ragged) -> Flags:
    """Sketches and LSH of FastSketchLSH from ready-made hashes."""
    import FastSketchLSH

    sketcher = FastSketchLSH.FastSimilaritySketch(HASHES)
    sketches = sketcher.batch_csr(hashes.values, hashes.offsets.astype(np.uint64), True)
    return np.asarray(FastSketchLSH.LSH(HASHES, BANDS).insert_and_query_duplicates(sketches), bool)


def datasketch_matches(hashes: dict[int, list[int]]) -> dict[int, set[int]]:
    """MinHash and MinHashLSH of datasketch from ready-made hashes: the rows proposed for each row."""
    import datasketch

    sketches = datasketch.MinHash.bulk(
        hashes.values(), num_perm=HASHES, hashfunc=lambda value: value & 0xFFFFFFFF
    )
    index = datasketch.MinHashLSH(threshold=THRESHOLD, num_perm=HASHES)
    for row, sketch in zip(hashes, sketches, strict=True):
        index.insert(row, sketch)
    return {row: set(index.query(sketch)) - {row} for row, sketch in zip(hashes, sketches, strict=True)}


def sample_rows(corpus: Corpus, hashes: Ragged) -> dict[int, list[int]]:
    """Distinct hashes of the rows of some planted pairs, shorter ones first, by row number."""
    pairs = corpus.planted.near_pairs
    order = np.argsort(np.diff(corpus.tokens.offsets)[pairs[:, 0]])
    middle = order[len(order) // 4 :][:SAMPLE_PAIRS]
    return {int(row): np.unique(hashes.row(int(row))).tolist() for row in pairs[middle].ravel()}


def contenders(corpus: Corpus, hashes: Ragged, left_out: list[str]) -> list[Contender]:
    """Against near_duplicates, which starts from token ids and verifies what it links."""

    def rensa() -> list[Contender]:
        return [
            Contender(
                "rensa sketch + LSH",
                lambda: rensa_flags(hashes),
                target=1.0,
                note="from ready-made hashes, nothing verified",
            ),
            Contender(
                "numpy shingles + rensa",
                lambda: rensa_flags(numpy_shingles(corpus.tokens)),
                target=10.0,
                rounds=3,
                note="from token ids, nothing verified",
            ),
        ]

    def fastsketch() -> list[Contender]:
        return [
            Contender(
                "FastSketchLSH",
                lambda: fastsketch_flags(hashes),
                rounds=3,
                note="from ready-made hashes, nothing verified",
            )
        ]

    def datasketch() -> list[Contender]:
        sample = sample_rows(corpus, hashes)
        tokens = sum(len(corpus.tokens.row(row)) for row in sample)
        return [
            Contender(
                "datasketch",
                lambda: datasketch_matches(sample),
                scale=len(corpus.tokens.values) / tokens,
                rounds=1,
                note="from ready-made hashes, nothing verified",
            )
        ]

    return gather({"rensa": rensa, "FastSketchLSH": fastsketch, "datasketch": datasketch}, left_out)


def recall(corpus: Corpus, found: Flags, at_least: float) -> float:
    """Share of the planted pairs of at least that similarity that are found [P]."""
    wanted = corpus.planted.near_jaccard >= at_least
    return float(found[wanted].mean())


def datasketch_recall(corpus: Corpus, hashes: Ragged, at_least: float) -> tuple[float, int]:
    """The same for the pairs in datasketch's sample, and their number."""
    matches = datasketch_matches(sample_rows(corpus, hashes))
    pairs = zip(corpus.planted.near_pairs.tolist(), corpus.planted.near_jaccard.tolist(), strict=True)
    wanted = [pair for pair, similarity in pairs if similarity >= at_least and pair[0] in matches]
    return sum(b in matches[a] for a, b in wanted) / max(1, len(wanted)), len(wanted)


def pairs_flagged(corpus: Corpus, flags: Flags) -> Flags:
    """Planted pairs whose rows are both flagged [P]."""
    both = flags[corpus.planted.near_pairs]
    return np.asarray(both.all(axis=1), bool)


def flagged_alone(corpus: Corpus, flags: Flags) -> int:
    """Flagged rows that no other row resembles to the threshold."""
    planted = corpus.planted
    alike = np.zeros(len(flags), bool)
    alike[planted.near_pairs[planted.near_jaccard >= THRESHOLD]] = True
    repeated: Ints = np.bincount(planted.first_equal, minlength=len(flags))
    alike |= repeated[planted.first_equal] > 1
    return int((flags & ~alike).sum())


def polars_unique(frame: pl.DataFrame) -> pl.DataFrame:
    """``unique`` over a list column."""
    return frame.unique("tokens")


def exact_contenders(frame: pl.DataFrame) -> list[Contender]:
    """Against exact_duplicates; polars keeps one row of each and does not say which rows were equal."""
    rows = frame.get_column("tokens")

    def dictionary() -> list[int]:
        first: dict[bytes, int] = {}
        return [first.setdefault(row.to_numpy().tobytes(), place) for place, row in enumerate(rows)]

    return [
        Contender("polars unique", lambda: polars_unique(frame), target=3.0),
        Contender("dict of bytes", dictionary, rounds=2),
    ]

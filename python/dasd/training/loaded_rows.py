"""TRAIN shards as one memory-mapped array of tokens, with what is small kept in memory.

Training needs rows in random order, which Parquet can't give; so the shards are streamed once into a flat
file of the training's state directory. Lengths, masks and weights stay in memory: tens of bytes a row.
That file is made anew at every start, so resume rests on the shards and a checksum, never on it; it goes with
the state directory when the stage ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.base.checksums import hasher
from dasd.base.schemas import ON_POLICY_TRAIN, TRAIN, Schema, check
from dasd.training.own_rows import OwnRows, OwnRowsWriter

_READ_ROWS = 4096
"""Rows read from a shard at once: bounds the memory at this many of the longest rows."""


@dataclass(frozen=True)
class TrainRows:
    """All rows of a training: N rows, T tokens in all, R runs of the masks.

    Row ``i`` is ``tokens_T[starts[i]:starts[i + 1]]``; its mask is the run lengths (masked, trained,
    masked, ...) ``runs_R[run_starts[i]:run_starts[i + 1]]``.
    """

    tokens_T: npt.NDArray[np.uint32]  # noqa: N815 (shape suffix)
    starts: npt.NDArray[np.int64]
    runs_R: npt.NDArray[np.uint32]  # noqa: N815 (shape suffix)
    run_starts: npt.NDArray[np.int64]
    weights_N: npt.NDArray[np.float32]  # noqa: N815 (shape suffix)
    trained_N: npt.NDArray[np.int64]  # noqa: N815 (shape suffix)
    """Trained tokens of each row."""
    sample_ids: pl.Series
    fingerprint: str
    """Hash of everything; the same shards give the same one."""
    own: OwnRows | None = None
    """Of ON_POLICY_TRAIN rows: what is known of the student's own tokens."""

    def __len__(self) -> int:
        return len(self.weights_N)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each row, shape (N,)."""
        return np.diff(self.starts)

    def tokens(self, row: int) -> npt.NDArray[np.uint32]:
        """Token ids of one row, prompt first."""
        return self.tokens_T[self.starts[row] : self.starts[row + 1]]

    def mask(self, row: int) -> npt.NDArray[np.bool_]:
        """Whether each token of one row is trained."""
        return expand_runs(self.runs_R[self.run_starts[row] : self.run_starts[row + 1]])

    def own_row(self, row: int) -> tuple[npt.NDArray[Any], ...]:
        """As ``OwnRows.row``."""
        assert self.own is not None, "rows of TRAIN have no tokens of the student's"
        return self.own.row(row, int(self.trained_N[row]))


def expand_runs(runs: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Run lengths (masked, trained, masked, ...) to one bool a token, true where trained."""
    lengths = np.asarray(runs, dtype=np.int64)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def load_rows(shards: Sequence[Path], directory: Path, *, written: bool = False) -> TrainRows:
    """Read TRAIN or ON_POLICY_TRAIN rows from the Parquet files ``shards``, in order.

    What is as long as their tokens goes to files in ``directory``.

    ``written``: another process of this training has just written that file; it is only mapped.
    The rows must have passed ``preflight``: there is at least one, and none is empty.
    Raises SchemaError for a frame that is neither, and for files of both.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "tokens.u32"
    digest = hasher()
    lengths: list[npt.NDArray[Any]] = []
    runs: list[npt.NDArray[Any]] = []
    run_counts: list[npt.NDArray[Any]] = []
    weights: list[npt.NDArray[Any]] = []
    sample_ids: list[pl.Series] = []
    schema = _schema_of(shards)
    own = OwnRowsWriter(directory, digest, written=written) if schema is ON_POLICY_TRAIN else None
    with Path(os.devnull if written else path).open("wb") as file, own or nullcontext():
        for frame in _frames(shards, schema):
            tokens = np.ascontiguousarray(frame.get_column("token_ids").explode().to_numpy(), dtype="<u4")
            file.write(tokens.data)
            lengths.append(frame.get_column("token_ids").list.len().to_numpy())
            runs.append(frame.get_column("loss_mask").explode().to_numpy())
            run_counts.append(frame.get_column("loss_mask").list.len().to_numpy())
            weights.append(frame.get_column("weight").to_numpy())
            sample_ids.append(frame.get_column("sample_id"))
            for array in (tokens, lengths[-1], runs[-1], run_counts[-1], weights[-1]):
                digest.update(np.ascontiguousarray(array).data)
            digest.update("\n".join(sample_ids[-1]).encode())
            if own is not None:
                own.add(frame)
    all_runs = np.concatenate(runs).astype(np.uint32)
    run_starts = _offsets(run_counts)
    place = np.arange(len(all_runs)) - np.repeat(run_starts[:-1], np.diff(run_starts))
    trained = np.add.reduceat(np.where(place % 2 == 1, all_runs, 0).astype(np.int64), run_starts[:-1])
    return TrainRows(
        tokens_T=np.memmap(path, dtype="<u4", mode="r"),
        starts=_offsets(lengths),
        runs_R=all_runs,
        run_starts=run_starts,
        weights_N=np.concatenate(weights).astype(np.float32),
        trained_N=trained,
        sample_ids=pl.concat(sample_ids),
        fingerprint=digest.hexdigest(),
        own=None if own is None else own.rows(),
    )


def _schema_of(shards: Sequence[Path]) -> Schema:
    """Which of the two the first file has, by its columns."""
    own = "sampled_logprobs" in pl.read_parquet_schema(shards[0])
    return ON_POLICY_TRAIN if own else TRAIN


def _frames(shards: Sequence[Path], schema: Schema) -> Iterator[pl.DataFrame]:
    import pyarrow.parquet as pq

    for shard in shards:
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(batch_size=_READ_ROWS):
                frame = pl.DataFrame(batch)
                if frame.height:
                    yield check(frame, schema, f"shard {shard.name}")


def _offsets(counts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Where each of the items begins, and at the end the total."""
    return np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)])

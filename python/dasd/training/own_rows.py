"""What ON_POLICY_TRAIN rows say of the student's own tokens, as memory-mapped arrays beside their token ids."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.errors import SchemaError

__all__ = ["OwnRows", "OwnRowsWriter"]

_FILES = {
    "sampled_logprobs": "<f4",
    "token_weights": "<f4",
    "top_ids": "<u4",
    "top_logprobs": "<f4",
}


@dataclass(frozen=True)
class OwnRows:
    """Of N rows with M trained tokens in all of those that the student wrote, K likeliest tokens at each position."""

    own_N: npt.NDArray[np.bool_]  # noqa: N815 (shape suffix)
    """Whether the student wrote the row."""
    starts: npt.NDArray[np.int64]
    """Where each row begins in the arrays of M; N + 1 entries, equal ones for a row of the teacher's."""
    sampled_M: npt.NDArray[np.float32]  # noqa: N815 (shape suffix)
    weights_M: npt.NDArray[np.float32]  # noqa: N815 (shape suffix)
    top_ids_M_K: npt.NDArray[np.uint32] | None  # noqa: N815 (shape suffix)
    top_logprobs_M_K: npt.NDArray[np.float32] | None  # noqa: N815 (shape suffix)

    def row(self, row: int, trained: int) -> tuple[npt.NDArray[Any], ...]:
        """Of each of its ``trained`` tokens: whether the student sampled it, ``sampled_logprobs``, ``token_weights``,
        and in the dense forms ``top_ids`` (trained, K) i64 and ``top_logprobs``. Zeros in a row of the teacher's.
        """
        known = slice(self.starts[row], self.starts[row + 1])
        own = bool(self.own_N[row])
        arrays: list[npt.NDArray[Any]] = [self.sampled_M, self.weights_M]
        if self.top_ids_M_K is not None and self.top_logprobs_M_K is not None:
            arrays += [self.top_ids_M_K, self.top_logprobs_M_K]
        found = [
            np.array(array[known]) if own else np.zeros((trained, *array.shape[1:]), array.dtype)
            for array in arrays
        ]
        if len(found) > 2:
            found[2] = found[2].astype(np.int64)
        return np.full(trained, own), *found


class _Digest(Protocol):
    def update(self, data: Any, /) -> object: ...


class OwnRowsWriter:
    """Takes frames of ON_POLICY_TRAIN and lays their lists end to end in files of ``directory``."""

    def __init__(self, directory: Path, digest: _Digest, *, written: bool) -> None:
        """``digest`` is told of all that comes; ``written``: the files are there, nothing is written."""
        self._paths = {name: directory / f"{name}.bin" for name in _FILES}
        self._files = ExitStack()
        self._open: dict[str, BinaryIO] = {}
        for name, path in self._paths.items():
            file = Path(os.devnull if written else path).open("wb")  # noqa: SIM115 (the stack closes it)
            self._open[name] = self._files.enter_context(file)
        self._digest = digest
        self._own: list[npt.NDArray[np.bool_]] = []
        self._tokens: list[npt.NDArray[np.int64]] = []
        self._width: int | None = None
        """K; 0 in the sampled form."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, frame: pl.DataFrame) -> None:
        """Raises SchemaError where lists of a row don't fit its trained tokens or those of another row."""
        own = frame.get_column("sampled_logprobs").is_not_null()
        trained = frame.get_column("loss_mask").list.gather_every(2, 1).list.sum().cast(pl.Int64)
        rows = frame.filter(own)
        counts = trained.filter(own)
        self._check(rows, counts)
        for name, kind in _FILES.items():
            values = np.ascontiguousarray(rows.get_column(name).explode().drop_nulls().to_numpy(), dtype=kind)
            self._open[name].write(values.data)
            self._digest.update(values.data)
        self._own.append(own.to_numpy())
        self._tokens.append((trained * own).to_numpy())

    def rows(self) -> OwnRows:
        """The rows so far. Nothing can be added afterwards."""
        self._files.close()
        starts = np.concatenate([[0], np.cumsum(np.concatenate(self._tokens), dtype=np.int64)])
        arrays = {
            name: np.memmap(path, dtype=_FILES[name], mode="r") if path.stat().st_size else None
            for name, path in self._paths.items()
        }
        empty = np.empty(0, np.float32)
        tops = (arrays[name] for name in ("top_ids", "top_logprobs"))
        sampled, weights = (arrays[name] for name in ("sampled_logprobs", "token_weights"))
        return OwnRows(
            np.concatenate(self._own),
            starts,
            empty if sampled is None else sampled,
            empty if weights is None else weights,
            *(None if top is None else top.reshape(-1, self._width or 1) for top in tops),
        )

    def _check(self, rows: pl.DataFrame, trained: pl.Series) -> None:
        for name in ("sampled_logprobs", "token_weights"):
            self._refuse(
                rows, rows.get_column(name).list.len().cast(pl.Int64).eq_missing(trained), name, trained
            )
        widths = {name: rows.get_column(name).list.len().cast(pl.Int64).fill_null(0) for name in _FILES}
        for name in ("top_ids", "top_logprobs"):
            if self._width is None and rows.height:
                self._width = int(widths[name][0]) // max(1, int(trained[0]))
            self._refuse(
                rows, widths[name] == trained * (self._width or 0), name, trained * (self._width or 0)
            )

    @staticmethod
    def _refuse(rows: pl.DataFrame, fits: pl.Series, name: str, wanted: pl.Series) -> None:
        if not fits.all():
            row = int((~fits).arg_max() or 0)
            came = rows.get_column(name).list.len()[row]
            raise SchemaError(
                f"sample {rows['sample_id'][row]} has {came or 0} values in {name}; wanted {wanted[row]}: as many "
                "for each of its trained tokens as the other rows have"
            )

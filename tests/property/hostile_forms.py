"""Rows in every form that Arrow has for them, and in forms that no kernel takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

WHOLE = [pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.int8(), pa.int16(), pa.int32(), pa.int64()]
REAL = [pa.float32(), pa.float64()]
TEXT = [pa.string(), pa.large_string(), pa.string_view()]


class Exporter:
    """Hands out what it was given, whatever that is."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def __arrow_c_array__(self, requested_schema: object | None = None) -> Any:
        return self.given


def _holds(item: pa.DataType, rows: list[Any]) -> bool:
    numbers = [
        number for row in rows if row is not None for number in (row if isinstance(row, list) else [row])
    ]
    if pa.types.is_integer(item):
        low, high = np.iinfo(item.to_pandas_dtype()).min, np.iinfo(item.to_pandas_dtype()).max
        return all(low <= number <= high for number in numbers if number is not None)
    return True


@st.composite
def _item(draw: st.DrawFn, rows: list[Any], items: list[pa.DataType]) -> pa.DataType:
    return draw(st.sampled_from([item for item in items if _holds(item, rows)]))


@st.composite
def _arrow_type(draw: st.DrawFn, rows: list[Any], kind: str) -> pa.DataType:
    if kind == "text":
        return draw(st.sampled_from(TEXT))
    item = draw(_item(rows, REAL if kind == "floats" else WHOLE))
    if kind == "counts":
        return item
    lengths = {len(row) for row in rows if row is not None}
    choices = [pa.list_(item), pa.large_list(item)]
    if len(lengths) == 1 and lengths != {0}:
        choices.append(pa.list_(item, lengths.pop()))
    return draw(st.sampled_from(choices))


def _apart(rows: list[Any], arrow_type: pa.DataType) -> pa.Array:
    """Lists whose values begin behind others and whose offsets don't begin at 0, itself a slice."""
    item = arrow_type.value_type
    lengths = [0 if row is None else len(row) for row in rows]
    offsets = np.cumsum([3, *lengths])
    whole = [1, 1, 1, *(number for row in rows if row is not None for number in row), 1]
    values = pa.array([1, *whole], item).slice(1)
    of_offsets = pa.int64() if pa.types.is_large_list(arrow_type) else pa.int32()
    array_of = pa.LargeListArray if pa.types.is_large_list(arrow_type) else pa.ListArray
    mask = pa.array([row is None for row in rows], pa.bool_())
    return array_of.from_arrays(pa.array(offsets, of_offsets), values, mask=mask)


@st.composite
def good_forms(draw: st.DrawFn, rows: list[Any], kind: str) -> Any:
    """The rows in a form that every kernel must take; ``kind``: tokens, floats, text or counts."""
    if rows and kind != "counts" and all(row is None for row in rows) and draw(st.booleans()):
        return draw(st.sampled_from([pa.nulls(len(rows)), pl.Series([None] * len(rows))]))
    arrow_type = draw(_arrow_type(rows, kind))
    shape = draw(
        st.sampled_from(["array", "slice", "chunks", "series", "series of chunks", "apart", "twice"])
    )
    # Around a slice lies what must not be seen.
    around: list[Any] = rows[:1]
    if shape == "slice":
        return pa.array(around + rows + around, arrow_type).slice(len(around), len(rows))
    if shape == "apart" and (pa.types.is_list(arrow_type) or pa.types.is_large_list(arrow_type)):
        return _apart(rows, arrow_type)
    if shape in ("chunks", "series of chunks"):
        # Cuts come twice at times, which makes empty chunks.
        cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=5)))
        bounds = zip([0, *cuts], [*cuts, len(rows)], strict=True)
        chunked = pa.chunked_array([pa.array(rows[a:b], arrow_type) for a, b in bounds], arrow_type)
        return pl.Series(chunked) if shape == "series of chunks" else chunked
    array = pa.array(rows, arrow_type)
    if shape == "series":
        return pl.Series(array)
    return Exporter(array.__arrow_c_array__()) if shape == "twice" else array


def bad_forms(kind: str) -> list[Any]:
    """What is no column of this kind."""
    used = pa.array([[1]], pa.list_(pa.uint32())).__arrow_c_array__()
    pa.array(Exporter(used))
    schema, array = pa.array([1]).__arrow_c_array__()
    anyway: list[Any] = [
        *([], [[1]], None, 1, "text", np.array([1]), object()),
        *(pl.DataFrame({"a": [[1]]}), pl.Series([{"a": 1}]), pl.Series([b"a"]), pl.Series([True])),
        *(pl.Series(["a"], dtype=pl.Categorical), pa.array(["a", "b", "a"]).dictionary_encode()),
        *(pa.array([[[1]]]), pa.array([["a"]]), pa.array([[1]], pa.list_view(pa.uint32()))),
        *(pa.array([1, 1, 2]).dictionary_encode(), pa.array([[True]]), pa.array([{"a": 1}])),
        pa.array([[1]], pa.list_(pa.decimal128(5))),
        pa.RunEndEncodedArray.from_arrays([2], [3]),
        *(Exporter(used), Exporter((array, schema)), Exporter((schema,)), Exporter(3), Exporter((3, 4))),
    ]
    others = {
        "tokens": [
            pa.array([[1.0]]),
            pa.array([1]),
            pa.array(["a"]),
            pa.array([[1, None]]),
            pa.array([[-1]]),
        ],
        "floats": [pa.array([[1]]), pa.array([1.0]), pa.array(["a"]), pa.array([[1.0, None]])],
        "text": [pa.array([1]), pa.array([[1]]), pa.array([b"a"]), *broken_texts()],
        "counts": [pa.array([1.0]), pa.array(["a"]), pa.array([1, None]), pa.array([-1]), pa.array([2**32])],
    }
    return anyway + others[kind]


def broken_texts() -> list[pa.Array]:
    """Text that is no UTF-8, or does not lie where it says."""

    def texts(offsets: list[int], values: bytes, large: bool = False) -> pa.Array:
        places = pa.array(offsets, pa.int64() if large else pa.int32()).buffers()[1]
        dtype = pa.large_string() if large else pa.string()
        return pa.Array.from_buffers(dtype, len(offsets) - 1, [None, places, pa.py_buffer(values)])

    def view(length: int, rest: bytes, *buffers: bytes) -> pa.Array:
        views = pa.py_buffer(length.to_bytes(4, "little") + rest)
        return pa.Array.from_buffers(pa.string_view(), 1, [None, views, *map(pa.py_buffer, buffers)])

    return [
        *(
            texts([0, 4], b"a. \xe3"),
            texts([0, 3], b"\xff\xfe."),
            texts([0, 1, 4], b"a\xe3\x80\xff"),
        ),
        *(texts([0, 5, 2], b"abcdefgh"), texts([0, 5, 2], b"abcdefgh", large=True)),
        view(3, b"a. \xe3"[1:4] + b"\xff" * 9),
        view(20, b"abcd" + (0).to_bytes(4, "little") + (5).to_bytes(4, "little"), b"abcdefgh"),
        view(20, b"abcd" + (7).to_bytes(4, "little") + (0).to_bytes(4, "little"), b"abcdefgh" * 4),
    ]

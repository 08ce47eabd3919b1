"""The same rows in every form in which they may reach a kernel."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

TOKENS = pl.List(pl.UInt32)
FLOATS = pl.List(pl.Float32)

_ARROW = {TOKENS: pa.uint32(), FLOATS: pa.float32(), pl.String: pa.string(), pl.UInt32: pa.uint32()}


def _arrow_type(dtype: Any, large: bool) -> pa.DataType:
    item = _ARROW[dtype]
    if dtype == pl.String:
        return pa.large_string() if large else item
    if dtype == pl.UInt32:
        return item
    return pa.large_list(item) if large else pa.list_(item)


@st.composite
def forms(draw: st.DrawFn, rows: list[Any], dtype: Any) -> Any:
    """A Series or an Arrow array of these rows: plain, chunked or sliced, with small or large offsets."""
    form = draw(
        st.sampled_from(["series", "series chunks", "series slice", "array", "array slice", "chunks"])
    )
    large = draw(st.booleans())
    cut = draw(st.integers(0, len(rows)))
    # Around a slice lies what the kernel must not see.
    around = rows[:2] if rows else [None]
    if form == "series":
        return pl.Series(rows, dtype=dtype)
    if form == "series chunks":
        first, second = pl.Series(rows[:cut], dtype=dtype), pl.Series(rows[cut:], dtype=dtype)
        return first.append(second)
    if form == "series slice":
        return pl.Series(around + rows + around, dtype=dtype).slice(len(around), len(rows))
    arrow_type = _arrow_type(dtype, large)
    if form == "array":
        return pa.array(rows, arrow_type)
    if form == "array slice":
        return pa.array(around + rows + around, arrow_type).slice(len(around), len(rows))
    return pa.chunked_array([pa.array(rows[:cut], arrow_type), pa.array(rows[cut:], arrow_type)], arrow_type)


def token_rows(vocabulary: int, longest: int, most_rows: int = 8) -> st.SearchStrategy[list[Any]]:
    """Rows of tokens out of a small vocabulary, some null, some empty."""
    row = st.lists(st.integers(0, vocabulary - 1), max_size=longest)
    return st.lists(st.one_of(st.none(), row, row, row), max_size=most_rows)

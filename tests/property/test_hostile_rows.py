"""Files of questions and responses made to hurt: read, rows set aside, or the file refused; never anything else."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzzing import fuzz

from dasd.curation.sources import values
from dasd.curation.sources.file import FileQuestions
from dasd.errors import DasdError, InputError
from dasd.pipeline.stages.from_files_rows import GivenRow
from dasd.recipe.question_settings import QuestionSource

SECONDS = 5
"""Of processor time, far more than these few rows take."""

ROW: dict[str, Any] = {
    "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2 + 2?"}],
    "answer": "4",
    "id": "q1",
    "domain": "math",
    "verifier": {"name": "math", "options": {"a": 1}},
    "text": "It is 4.",
    "token_ids": [1, 2],
    "logprobs": [-0.5, -0.1],
    "candidate": 0,
    "temperature": 0.7,
    "top_p": 1.0,
    "seed": 3,
    "finish_reason": "stop",
}
RAW = st.sampled_from(
    [
        "9" * 5000,
        "1e999",
        "-1e999",
        "NaN",
        "Infinity",
        '"\\ud800"',
        '"\\u0000"',
        "[" * 60 + "]" * 60,
        "-0",
        "{}",
    ]
    + [
        "[" * 30_000 + "]" * 30_000,
        '"{' + '\\"a\\":{' * 3000 + '"',
        '{"a":1,"a":2}',
        "18446744073709551616",
        "nul",
    ]
    + [
        "\x00",
        "\ufeff",
        '[{"role":[],"content":{}}]',
        '{"\\udfff":1}',
        "true",
        "[[1],[2,null]]",
        '"' + "x" * 9999,
    ]
)
"""JSON, or nearly, in place of a value."""


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """JSON lines: good rows with a few values replaced, and with bytes put in."""
    written = []
    for number in range(draw(st.integers(1, 4))):
        row = {**ROW, "id": f"q{number}"}
        parts = {key: json.dumps(value) for key, value in row.items() if draw(st.integers(0, 9))}
        for _ in range(draw(st.integers(0, 2))):
            parts[draw(st.sampled_from([*ROW, "question", "response"]))] = draw(RAW)
        written.append("{" + ", ".join(f"{json.dumps(key)}: {text}" for key, text in parts.items()) + "}")
    content = "\n".join(written).encode()
    if draw(st.booleans()):
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=6)) + content[at + draw(st.integers(0, 9)) :]
    return content


def table(compression: Any) -> bytes:
    file = io.BytesIO()
    rows = [{key: value for key, value in ROW.items() if key != "verifier"}] * 20
    pl.DataFrame(rows).with_columns(id=pl.int_range(20).cast(pl.String)).write_parquet(
        file, compression=compression
    )
    return file.getvalue()


TABLES = tuple(table(compression) for compression in ("zstd", "uncompressed", "snappy"))


@st.composite
def damaged_tables(draw: st.DrawFn) -> bytes:
    """A Parquet file with a few bytes changed, most of them in its footer."""
    content = bytearray(draw(st.sampled_from(TABLES)))
    for _ in range(draw(st.integers(1, 4))):
        size = len(content)
        at = draw(st.integers(size // 2, size - 1) | st.integers(0, size - 1))
        content[at : at + draw(st.sampled_from([0, 1, 1, 1, 8]))] = draw(
            st.sampled_from([b"\x00", b"\x7f", b"\x80", b"\xff", b""]) | st.binary(max_size=8)
        )
    return bytes(content)


def read(path: Path) -> None:
    """As source ``file`` and as responses."""
    start = time.process_time()
    try:
        FileQuestions().load(QuestionSource(source="file", options={"path": str(path)}), "train", 0)
    except DasdError as error:
        assert error.exit_code == 2
    try:
        values.ValueFile(path, "response").read(
            lambda _number, row: GivenRow.of(row, {"temperature": 1.0, "top_p": 1.0, "model": "x"}) and None
        )
    except DasdError as error:
        assert error.exit_code == 2
    assert time.process_time() - start < SECONDS


@fuzz(examples=150)
@given(content=lines())
def test_any_json_lines_are_read_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl"
    path.write_bytes(content)
    read(path)


@fuzz(examples=100)
@given(content=damaged_tables())
def test_any_damaged_table_is_read_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.parquet"
    path.write_bytes(content)
    read(path)


def test_a_table_that_polars_panics_over_is_refused(tmp_path: Path) -> None:
    footer = TABLES[1].rindex(b"ARROW:schema")
    for at in range(footer - 400, footer):
        path = tmp_path / "t.parquet"
        content = bytearray(TABLES[1])
        content[at] = 0x7F
        path.write_bytes(content)
        try:
            list(values.ValueFile(path, "question"))
        except InputError as error:
            if "its content is damaged" in str(error):
                return
    pytest.fail("no change of a byte made polars panic")


def test_a_deep_verifier_in_a_text_is_one_bad_row(tmp_path: Path) -> None:
    deep = {"question": "deep?", "answer": "1", "verifier": '{"a":' * 3000}
    rows = [deep, {"question": "a?"}, {"question": "b?"}]
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = FileQuestions().load(_source(path), "train", 0)
    assert read.rows.height == 2
    assert "nested too deeply" in str(read.set_aside[0])


def test_an_endless_line_is_one_bad_row_and_never_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "_LONGEST_LINE", 1000)
    path = tmp_path / "q.jsonl"
    path.write_bytes(
        b'{"question": "a?"}\n{"question": "' + b"x" * 5000 + b'"}\n{"question": "c?"}\n' + b"y" * 2500
    )
    file = values.ValueFile(path, "question")
    found = list(file)
    assert [number for number, _ in found] == [1, 2, 3, 4]
    for place in (1, 3):
        assert "at most 1000 bytes" in str(found[place][1])
    assert file.take([3, 1]) == [{"question": "c?"}, {"question": "a?"}]


def _source(path: Path) -> QuestionSource:
    return QuestionSource(source="file", options={"path": str(path)})

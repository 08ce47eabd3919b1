"""LiveCodeBench: windows of dates, packed tests, and pickles that would run code."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zlib
from pathlib import Path
from typing import Any

import pytest
from benchmark_rows import jsonl, lcb_calls, lcb_stdin, load, load_all, packed, parquet, prompt

from dasd.api import InputError, RecipeError
from dasd_benchmarks import private_tests


def pack(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


def test_both_ends_of_a_window_are_in_it(tmp_path: Path) -> None:
    dates = ["2024-09-30", "2024-10-01", "2024-12-31", "2025-02-01", "2025-02-02", "2025-05-01", "2025-05-02"]
    path = jsonl(tmp_path / "test.jsonl", [lcb_stdin(f"abc{n}_a", date) for n, date in enumerate(dates)])
    rows, loaded = load("livecodebench-v5", path=path, expected=3)
    assert loaded.questions == (("abc1_a", "2024-10-01"), ("abc2_a", "2024-12-31"), ("abc3_a", "2025-02-01"))
    assert loaded.selection == "contest dates from 2024-10-01 to 2025-02-01, both included"
    assert rows["question_id"].to_list() == ["abc1_a", "abc2_a", "abc3_a"]
    assert set(rows["domain"]) == {"code"}
    _, loaded = load("livecodebench-v6", path=path, expected=3)
    assert [date for _, date in loaded.questions] == ["2025-02-01", "2025-02-02", "2025-05-01"]
    _, loaded = load("livecodebench-v6", path=path, expected=0, since="2024-12-01", until="2024-12-31")
    assert [date for _, date in loaded.questions] == ["2024-12-31"]
    with pytest.raises(InputError, match=r"none of the 7 rows .*contest dates from 2026-01-01 to 2026-02-01"):
        load("livecodebench-v6", path=path, since="2026-01-01", until="2026-02-01")
    with pytest.raises(RecipeError, match="is after until"):
        load("livecodebench-v6", path=path, since="2026-01-01")
    with pytest.raises(InputError, match="holds 7 questions; wanted 175 or 1055"):
        load("livecodebench-v6", path=path)


def test_a_dated_column_of_a_table_is_read_too(tmp_path: Path) -> None:
    import polars as pl

    path = parquet(tmp_path / "lcb.parquet", [lcb_stdin("abc1_a", "2025-03-01")])
    dated = pl.read_parquet(path).with_columns(pl.col("contest_date").str.to_datetime())
    dated.write_parquet(path)
    assert load("livecodebench-v6", path=path, expected=1)[1].questions == (("abc1_a", "2025-03-01"),)


def test_public_and_private_tests_become_the_sandboxs(tmp_path: Path) -> None:
    plain = lcb_stdin(
        "abc2_a", "2025-03-02", json.dumps([{"input": "1 1", "output": "2", "testtype": "stdin"}])
    )
    rows, _ = load(
        "livecodebench-v6",
        path=jsonl(
            tmp_path / "a.jsonl", [lcb_stdin("abc1_a", "2025-03-01"), plain, lcb_calls("3701", "2025-03-03")]
        ),
        expected=3,
    )
    first, second, third = map(json.loads, rows["answer"])
    assert [case["input"] for case in first["cases"]] == ["2 3\n", "0 -1\n", "1 -1\n", "2 -1\n"]
    assert (first["type"], first["cpu_seconds"]) == ("stdin", 6)
    assert [case["output"] for case in second["cases"]] == ["5\n", "2"]
    assert (third["type"], third["function"]) == ("calls", "Solution.countFrom")
    assert third["cases"] == [{"args": [[1, 5, 7], 5], "expected": 2}, {"args": [[], 1], "expected": 0}]
    assert "Read the inputs from stdin" in prompt(rows, 0)
    assert "class Solution:\n    def countFrom" in prompt(rows, 2)
    assert "Read the inputs from stdin" not in prompt(rows, 2)


class Runs:
    """What a malicious file would hold: unpickling it runs a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "ran"
    evil = pack(pickle.dumps(Runs(trace), protocol))
    path = jsonl(
        tmp_path / "a.jsonl",
        [
            lcb_stdin("abc1_a", "2025-03-01"),
            lcb_stdin("abc2_a", "2025-03-01", evil),
            lcb_stdin("abc3_a", "2025-03-01"),
        ],
    )
    read = load_all("livecodebench-v6", path=path, expected=0)
    assert "row 2 (tests: wanted the pickle of one text and nothing else" in str(read.set_aside[0])
    assert read.rows["question_id"].to_list() == ["abc1_a", "abc3_a"]
    assert not trace.exists()
    pickle.loads(zlib.decompress(base64.b64decode(evil)))
    assert trace.exists()  # it would have


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (pack(pickle.dumps(["a", "b"])), "nothing else"),
        (pack(pickle.dumps(7)), "nothing else"),
        (pack(pickle.dumps("[]")[:-3]), "nothing else"),
        (pack(b"\x8c\x02[]\x8c\x02[]."), "got 2 texts"),
        (pack(pickle.dumps("no json")), "Expecting value"),
        (base64.b64encode(b"not compressed").decode(), "not compressed"),
        (base64.b64encode(zlib.compress(pickle.dumps("[]" * 500))[:20]).decode(), "their end is missing"),
        ("(not base64)", "neither JSON nor base64"),
    ],
)
def test_tests_that_are_no_tests_are_refused(cell: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        private_tests.decoded(cell)


def test_a_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_tests, "LARGEST_BYTES", 1000)
    assert private_tests.decoded(packed([1])) == [1]
    with pytest.raises(ValueError, match="more than 1,000 bytes once unpacked"):
        private_tests.decoded(packed(list(range(1000))))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_long_texts_of_every_protocol_are_read(protocol: int) -> None:
    tests = ["ü\n'\\x" * 50_000]
    assert private_tests.decoded(pack(pickle.dumps(json.dumps(tests), protocol))) == tests
    assert private_tests.decoded(pack(pickle.dumps(json.dumps(tests, ensure_ascii=False), protocol))) == tests


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"contest_date": "soon"}, "contest_date: wanted a date"),
        ({"metadata": "{}", "starter_code": "x"}, "no func_name"),
        ({"public_test_cases": '[{"input": "[1", "output": "2", "testtype": "functional"}]'}, "aren't JSON"),
        (
            {"public_test_cases": '[{"input": "1", "testtype": "functional"}]'},
            "wanted texts as input, output",
        ),
        ({"public_test_cases": '[{"input": "1", "output": "2", "testtype": "other"}]'}, "functional, other"),
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "it has no tests"),
    ],
)
def test_bad_tasks_are_set_aside(tmp_path: Path, change: dict[str, str], reason: str) -> None:
    rows = [lcb_calls("1", "2025-03-01"), {**lcb_calls("2", "2025-03-01"), **change}]
    read = load_all("livecodebench-v6", path=jsonl(tmp_path / "a.jsonl", rows), expected=0)
    assert reason in str(read.set_aside[0])

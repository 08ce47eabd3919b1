"""Rows as the hub's files have them, column for column; the questions are our own."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from dasd.api import LoadedQuestions, QuestionRows, QuestionSource
from dasd.plugins.host import PluginHost

Row = dict[str, Any]

SUMS = [(f"What is {n} + {n + 1}? Give it as a whole number.", str(2 * n + 1)) for n in range(1, 31)]


def aime_h4(year: int = 2024) -> list[Row]:
    """HuggingFaceH4/aime_2024."""
    return [
        {"id": 59 + n, "problem": p, "solution": "Add.", "answer": a.zfill(3), "url": "-", "year": str(year)}
        for n, (p, a) in enumerate(SUMS, 1)
    ]


def aime_maxwell() -> list[Row]:
    """Maxwell-Jia/AIME_2024."""
    return [
        {"ID": f"2024-{'I' * (1 + (n > 15))}-{n}", "Problem": p, "Solution": "Add.", "Answer": int(a)}
        for n, (p, a) in enumerate(SUMS, 1)
    ]


def aime_math_ai() -> list[Row]:
    """math-ai/aime25."""
    return [{"problem": p, "answer": a, "id": str(n)} for n, (p, a) in enumerate(SUMS)]


def aime_opencompass() -> list[Row]:
    """opencompass/AIME2025, both files after another."""
    return [{"question": p, "answer": a} for p, a in SUMS]


def gpqa(count: int = 12) -> list[Row]:
    """Idavidrein/gpqa, the columns that matter and one that doesn't."""
    return [
        {
            "Pre-Revision Question": 'an earlier one, "quoted"',
            "Question": f"A stone falls for {n} s.\nHow long did it fall?",
            "Correct Answer": f"{n} s\n",
            "Incorrect Answer 1": f"{n + 1} s",
            "Incorrect Answer 2": f"{n + 2} s, or so",
            "Incorrect Answer 3": f"{n + 3} s",
            "Explanation": "x" * 200_000 if n == 1 else "It fell.",
            "Record ID": f"rec{n:03}",
            "High-level domain": "Physics",
        }
        for n in range(1, count + 1)
    ]


def packed(tests: object) -> str:
    """Private tests as LiveCodeBench packs them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def lcb_stdin(identifier: str, date: str, private: object = None) -> Row:
    """A task of livecodebench/code_generation_lite that reads two numbers and prints their sum."""
    return {
        "question_title": "Sum",
        "question_content": f"Two numbers are given on a line. Print their sum. ({identifier})",
        "platform": "atcoder",
        "question_id": identifier,
        "contest_id": identifier.split("_", maxsplit=1)[0],
        "contest_date": f"{date}T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "2 3\n", "output": "5\n", "testtype": "stdin"}]),
        "private_test_cases": private
        or packed([{"input": f"{n} -1\n", "output": f"{n - 1}\n", "testtype": "stdin"} for n in range(3)]),
        "metadata": "{}",
    }


def lcb_calls(identifier: str, date: str) -> Row:
    """A task of the same set with starter code: how many of the numbers are at least the bound."""
    test = {"input": "[1, 5, 7]\n5", "output": "2", "testtype": "functional"}
    return {
        **lcb_stdin(identifier, date),
        "question_content": "Count the numbers that are at least `bound`.",
        "platform": "leetcode",
        "starter_code": "class Solution:\n    def countFrom(self, nums: List[int], bound: int) -> int:\n        ",
        "public_test_cases": json.dumps([test]),
        "private_test_cases": packed([{**test, "input": "[]\n1", "output": "0"}]),
        "metadata": json.dumps({"func_name": "countFrom"}),
    }


def math500(count: int = 5) -> list[Row]:
    """HuggingFaceH4/MATH-500."""
    return [
        {
            "problem": f"Write $\\frac{{{n}}}{{{2 * n}}}$ in lowest terms.",
            "solution": "Divide.",
            "answer": "\\frac{1}{2}",
            "subject": "Prealgebra",
            "level": 1,
            "unique_id": f"test/prealgebra/{n}.json",
        }
        for n in range(1, count + 1)
    ]


def jsonl(path: Path, rows: Sequence[Row | str]) -> Path:
    """JSON lines; a text is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def parquet(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(list(rows)).write_parquet(path)
    return path


def csv(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(list(rows)).write_csv(path)
    return path


def load(
    name: str, *, count: int | None = None, seed: int = 0, split: str = "eval", **options: Any
) -> tuple[pl.DataFrame, LoadedQuestions]:
    """Rows through the plugin host, and what they were read from."""
    read = load_all(name, count=count, seed=seed, split=split, **options)
    assert read.loaded is not None
    return read.rows, read.loaded


def load_all(
    name: str, *, count: int | None = None, seed: int = 0, split: str = "eval", **options: Any
) -> QuestionRows:
    """All that the source gives, through the plugin host."""
    questions = PluginHost.load(["benchmarks"]).registry.make_questions(name)
    given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    return questions.load(QuestionSource(source=name, count=count, options=given), split, seed)


def prompt(rows: pl.DataFrame, number: int = 0) -> str:
    """The user's message of one row."""
    return str(rows["messages"][number][0]["content"])

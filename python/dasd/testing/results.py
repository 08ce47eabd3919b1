"""A plugin of pytest that writes what came of each check: one JSON object a line.

pytest -p dasd.testing.results --results-file results.jsonl test_mine.py
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["pytest_addoption", "pytest_runtest_makereport"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--results-file PATH``."""
    parser.addoption("--results-file", help="Append the result of each check to this file, as JSON.")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write one line a check: file, suite, check, its line of documentation, outcome, reason, seconds."""
    report = yield
    if report.when == "call" or not report.passed:
        cls = getattr(item, "cls", None)
        record = {
            "file": item.nodeid.partition("::")[0],
            "suite": cls.__name__ if cls is not None else "",
            "check": item.name,
            "doc": _first_line(getattr(getattr(item, "function", None), "__doc__", None)),
            "outcome": report.outcome if report.when == "call" or report.skipped else "failed",
            "reason": _reason(report, call),
            "seconds": round(report.duration, 3),
        }
        path = item.config.getoption("--results-file")
        if path:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
    return report


def _reason(report: pytest.TestReport, call: pytest.CallInfo[Any]) -> str:
    if report.passed or call.excinfo is None:
        return ""
    error = call.excinfo.value
    text = str(error).strip() or "no message"
    if isinstance(error, (AssertionError, pytest.skip.Exception, pytest.fail.Exception)):
        return text
    return f"{type(error).__name__}: {text}"


def _first_line(doc: str | None) -> str:
    return (doc or "").strip().split("\n", 1)[0]

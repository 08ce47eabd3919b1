"""The verifier ``code``: which block counts, and how tests grade it."""

from __future__ import annotations

import json
import shutil

import pytest

from dasd.base.records import Grade
from dasd.errors import InputError
from dasd.evaluation.sandbox import SandboxError, bubblewrap
from dasd.evaluation.sandbox.permission import allow_without_sandbox
from dasd.evaluation.verifiers import dasd_register
from dasd.evaluation.verifiers.code import CodeVerifier, last_program
from dasd.plugins.registry import Registry
from dasd.testing import VerifierSuite

needs_bwrap = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")

TESTS = json.dumps({"type": "assertions", "code": "assert f(2) == 4\nassert f(3) == 9", "cpu_seconds": 1})
RIGHT = "```python\ndef f(x):\n    return x * x\n```"
WRONG = "```python\ndef f(x):\n    return x + x\n```"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\n```\n```python\nb\n```", "b\n"),
        ("```python\na\n```\n```\noutput\n```", "a\n"),
        ("```\na\n```", "a\n"),
        ("```bash\nrm\n```", None),
        ("```py\na\n```\nand\n```json\n{}\n```", "a\n"),
        ("~~~Python3\na\n~~~", "a\n"),
        ("````python\n```\na\n````", "```\na\n"),
        ("  ```python\n  a\n    b\n  ```", "a\n  b\n"),
        ("```python\na\n```\n```python\nnever closed", "a\n"),
        ("```python\nnever closed", None),
        ("def f(x): return x", None),
        ("", None),
    ],
)
def test_the_last_closed_python_block_counts(text: str, program: str | None) -> None:
    assert last_program(text) == program


@needs_bwrap
def test_grades() -> None:
    verifier = CodeVerifier()
    grades = verifier.grade_many(
        [
            (f"<think>{WRONG}</think>\nSo:\n{RIGHT}", TESTS, ""),
            (f"<think>{RIGHT}</think>\nSo:\n{WRONG}", TESTS, ""),
            (f"<think>{RIGHT}", TESTS, ""),
            ("```python\nwhile True: pass\n```", TESTS, ""),
            ("```python\nx = [0] * 10**12\n```", TESTS, ""),
        ]
    )
    assert [grade.correct for grade in grades] == [True, False, False, False, False]
    assert grades[2] == Grade(False, None)
    assert [grade.failure for grade in grades] == [None, None, None, "timed out", "out of memory"]
    assert grades[0].extracted == "def f(x):\n    return x * x\n"


def test_an_argument_and_an_unreadable_answer_are_refused() -> None:
    allow_without_sandbox(True)
    try:
        with pytest.raises(InputError, match="wanted 'code'"):
            CodeVerifier().grade(RIGHT, TESTS, "fast")
        with pytest.raises(InputError, match="tests of verifier"):
            CodeVerifier().grade(RIGHT, "4", "")
    finally:
        allow_without_sandbox(False)


def test_without_bubblewrap_it_refuses_unless_the_recipe_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_which", lambda _: None)
    with pytest.raises(SandboxError, match="install bubblewrap"):
        CodeVerifier().grade(RIGHT, TESTS, "")
    allow_without_sandbox(True)
    try:
        assert CodeVerifier().grade(RIGHT, TESTS, "").correct
    finally:
        allow_without_sandbox(False)


def test_it_is_registered() -> None:
    registry = Registry()
    dasd_register(registry)
    assert "code" in registry.names("verifier")


@needs_bwrap
class TestCodeConforms(VerifierSuite):
    name = "code"
    right = ((RIGHT, TESTS, ""),)
    wrong = ((WRONG, TESTS, ""),)

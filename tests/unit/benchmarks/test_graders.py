"""The graded set, and the workers that compare expressions: cut off, replaced, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from benchmarks.grader_layers import LAYERS
from benchmarks.grader_layers import main as main_of_layers
from benchmarks.graders import Pair, grade_pairs, main, read_pairs, table
from benchmarks.math_verify_tests import main as main_of_tests
from benchmarks.math_verify_tests import pairs_of_tests

from dasd.base.records import Grade
from dasd.errors import SchemaError
from dasd.evaluation.verifiers.math import MathVerifier
from dasd.evaluation.verifiers.pool import Pool
from dasd.pipeline.work.grading import Grader
from dasd.plugins.registry import Registry

GRADED = Path(__file__).parents[2] / "data" / "graded.jsonl"
REFUSED = {"number-43", "numeric-27", "second-round-008"}
"""Right answers that are refused; docs/graders.md names them."""
TOWER = r"\boxed{9^{9^{9^{9}}}}"


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    made = Pool(cpu_seconds=1.0)
    yield made
    made.shut()


@pytest.fixture(scope="module")
def graded(pool: Pool) -> list[tuple[Pair, Grade]]:
    pairs = read_pairs(GRADED)
    return list(zip(pairs, grade_pairs(pairs, pool), strict=True))


def test_the_set_is_large_and_has_both_kinds(graded: list[tuple[Pair, Grade]]) -> None:
    pairs = [pair for pair, _ in graded]
    assert len(pairs) >= 300
    assert len({pair.id for pair in pairs}) == len(pairs)
    assert sum(pair.correct for pair in pairs) > 100 < sum(not pair.correct for pair in pairs)
    assert all(pair.note for pair in pairs)


def test_no_wrong_answer_is_accepted(graded: list[tuple[Pair, Grade]]) -> None:
    assert [pair.id for pair, grade in graded if grade.correct and not pair.correct] == []


def test_the_right_answers_that_are_refused_are_those_named(graded: list[tuple[Pair, Grade]]) -> None:
    refused = {pair.id for pair, grade in graded if pair.correct and not grade.correct}
    assert refused == REFUSED
    assert len(refused) <= 0.01 * sum(pair.correct for pair, _ in graded)
    page = (GRADED.parent.parent.parent / "docs" / "graders.md").read_text()
    assert all(f"`{name}`" in page for name in refused)


def test_what_hangs_is_cut_off_and_told(graded: list[tuple[Pair, Grade]]) -> None:
    cut = {pair.id for pair, grade in graded if grade.failure is not None}
    assert cut and all(name.startswith("hostile") for name in cut)
    assert {grade.failure for _, grade in graded} <= {None, "timed out", "out of memory"}


def test_the_page_has_the_table_of_the_command(graded: list[tuple[Pair, Grade]]) -> None:
    page = (GRADED.parent.parent.parent / "docs" / "graders.md").read_text()
    shown = table([pair for pair, _ in graded], [grade for _, grade in graded])
    for line in shown.splitlines():
        # Which hostile answers are cut off depends on the limit, which is lower here.
        assert line.rpartition("| ")[0].rpartition(" |")[0] in page, line


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    some = tmp_path / "some.jsonl"
    right = '{"id": "a-1", "category": "a", "response": "4", "answer": "4", "verifier": "number", "correct": %s, "note": "x"}\n'
    some.write_text(right % "true")
    assert main([str(some)]) == 0
    assert "| all | 1 | 1 | 0 | 0 | 0 |" in capsys.readouterr().out
    some.write_text(right % "false")
    assert main([str(some)]) == 1
    assert "false accepts: 1\n  a-1" in capsys.readouterr().out
    assert main([]) == 2


def test_the_pairs_of_parametrised_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_some.py").write_text(
        textwrap.dedent(r"""
            raise SystemExit("it is not run")
            import pytest
            @pytest.mark.parametrize("gold,pred,expected", [("$4$", "4", 1), (f"{2}", "2", 1), ("$4$", "5", 0)])
            def test_plain(gold, pred, expected): ...
            @pytest.mark.parametrize("gold, pred, strict, result", [("a", "b", True, 0), ("a", "b", False, 1)])
            def test_strict(gold, pred, strict, result): ...
            @pytest.mark.parametrize("pred,expected", [("a", ["a"])])
            def test_other(pred, expected): ...
            @pytest.mark.parametrize("gold,pred,expected", [(r"So \boxed{7} it is.", "7", 1)])
            def test_solution(gold, pred, expected): ...
        """)
    )
    found = [(pair.answer, pair.response, pair.correct) for pair in pairs_of_tests(tmp_path)]
    assert found == [("$4$", "4", True), ("$4$", "5", False), ("a", "b", False), ("7", "7", True)]
    assert main_of_tests([str(tmp_path)]) == 0
    assert "| all | 2 | 2 | 2 | 2 | 0 |" in capsys.readouterr().out
    assert main_of_tests([]) == 2


def test_what_a_layer_earns_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, theirs = tmp_path / "own.jsonl", tmp_path / "test_theirs.py"
    line = '{"id": "%s", "category": "%s", "response": "%s", "answer": "%s", "verifier": "math", "correct": %s, "note": "x"}\n'
    own.write_text(
        line % ("a", "unit", "The answer is 5 km.", "5000 m", "true")
        + line % ("b", "expression", "Answer: x", "X", "false")
        + line % ("c", "hostile", "9^9^9^9", "4", "false")
    )
    rows = '[("$(0,1)$", "$0<x<1$", 1), ("$4$", "5", 0)]'
    theirs.write_text(f'@pytest.mark.parametrize("gold,pred,expected", {rows})\ndef test_it(): ...\n')
    assert main_of_layers([str(own), str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert len(told.splitlines()) == 2 + len(LAYERS)
    assert "| without | own right (1) | own wrong (1) | theirs equal (1) | theirs not (1) |" in told
    assert "| none | 1 | 0 | 1 | 0 |" in told
    assert "| quantity: conversion of units | 0 | 0 | 1 | 0 |" in told
    assert "| shapes: intervals and inequalities | 1 | 0 | 0 | 0 |" in told
    assert main_of_layers([]) == 2


def test_a_worker_that_is_cut_off_is_replaced(pool: Pool) -> None:
    verifier = MathVerifier(pool)
    assert verifier.grade(TOWER, "4", "") == Grade(False, "9^{9^{9^{9}}}", "timed out")
    assert verifier.grade(r"\boxed{1+x}", "x+1", "").correct


def test_wall_time_is_limited_too() -> None:
    pool = Pool(size=1, cpu_seconds=1000, wall_seconds=0.5)
    try:
        assert pool.compare("4", "9^{9^{9^{9}}}") == "timed out"
        assert pool.processes() == []
    finally:
        pool.shut()


def test_workers_start_when_needed_and_end_with_the_pool() -> None:
    pool = Pool(size=2)
    verifier = MathVerifier(pool)
    assert verifier.grade(r"\boxed{\frac{1}{2}}", "0.5", "").correct
    assert pool.processes() == [], "numbers need no worker"
    assert verifier.grade(r"\boxed{1+x}", "x+1", "").correct
    (pid,) = pool.processes()
    loaded = Path(f"/proc/{pid}/maps")
    if loaded.exists():
        assert "libtorch" not in loaded.read_text()
    os.kill(pid, signal.SIGKILL)
    assert verifier.grade(r"\boxed{1+y}", "y+1", "").correct, "one that died is replaced"
    assert pool.processes() != [pid]
    pool.shut()
    assert pool.processes() == []


def test_threads_share_the_workers(pool: Pool) -> None:
    verifier = MathVerifier(pool)
    found: list[bool] = []

    def work(n: int) -> None:
        found.append(verifier.grade(rf"\boxed{{{n}+x}}", f"x+{n}", "").correct)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert found == [True] * 6
    assert len(pool.processes()) <= pool.size


def test_many_at_once_are_graded_in_order(pool: Pool) -> None:
    rows = [(rf"\boxed{{{n}+x}}", f"x+{n % 3}", "") for n in range(8)]
    assert [g.correct for g in MathVerifier(pool).grade_many(rows)] == [n == n % 3 for n in range(8)]


class _CutOff:
    """Finds every third answer too hard, and forgets one of four or more."""

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        return Grade(response == answer, response, "timed out" if response == "hard" else None)

    def grade_many(self, rows: Sequence[tuple[str, str, str]]) -> list[Grade]:
        return [self.grade(*row) for row in rows[:3]]


def test_what_could_not_be_graded_is_counted_by_the_stages() -> None:
    registry = Registry()
    registry.verifier("cut-off", _CutOff, doc="For this test.")
    grader = Grader(registry)
    answers = {"a": ("4", "cut-off"), "b": ("5", "cut-off")}
    correct = grader.correct_rows([("a", "4"), ("none", "x"), ("b", "hard"), ("b", "4")], answers)
    assert correct.to_list() == [True, None, False, False]
    assert grader.failures == {"timed out": 1}
    assert grader.correct("4", "4", "cut-off") is True
    with pytest.raises(SchemaError, match="3 grades for 4 responses"):
        grader.correct_rows([("a", "4")] * 4, answers)


def _run(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_has_workers_of_its_own_and_both_end() -> None:
    process = _run(
        r"""
        import os
        from dasd.evaluation.verifiers.math import MathVerifier
        from dasd.evaluation.verifiers.pool import shared_pool
        verifier = MathVerifier()
        assert verifier.grade(r"\boxed{1+x}", "x+1", "").correct
        mine = shared_pool().processes()
        child = os.fork()
        if not child:
            right = verifier.grade(r"\boxed{2+x}", "x+2", "").correct
            other = shared_pool().processes()
            shared_pool().shut()
            os._exit(0 if right and not set(mine) & set(other) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert verifier.grade(r"\boxed{3+x}", "x+3", "").correct
        assert shared_pool().processes() == mine
        print(*mine)
        """
    )
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert err == ""
    assert all(_gone(int(pid)) for pid in out.split())


def test_ctrl_c_ends_a_comparison_and_the_workers() -> None:
    process = _run(
        r"""
        import sys
        from dasd.evaluation.verifiers.pool import Pool
        pool = Pool(size=2, cpu_seconds=200, wall_seconds=200)
        assert pool.compare("x+1", "1+x") == "right"
        try:
            print(*pool.processes(), flush=True)
            pool.compare_all([("4", "9^{9^{9^{9}}}")] * 4)
        except KeyboardInterrupt:
            pool.shut()
            sys.exit(7)
        """
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    before = _ticks(pid)
    while _ticks(pid) < before + 20:  # 0.2 s of its processor: it compares
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (7, "", "")
    assert _gone(pid)


def _ticks(pid: int) -> int:
    """Processor time of a process, in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True

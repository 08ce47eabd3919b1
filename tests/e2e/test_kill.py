"""Runs killed at drawn moments, and disks that fill up in the middle of a stage: the result is that of a run left alone.

KILLS: how many kills, in tens (10); KILL_SEED: another draw of moments (0). `make test-kills` does a hundred and prints
what came of them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.in_memory import in_memory
from tests.killing import (
    Moment,
    Outcome,
    Whole,
    content,
    differences,
    kill,
    kill_often,
    print_table,
    run_whole,
)
from tests.launcher import Launcher, Watch
from tests.small_disk import fill, small_disk

KILLS = int(os.environ.get("KILLS", "10"))
SEED = int(os.environ.get("KILL_SEED", "0"))
AT_ONCE = 10
"""Kills of one run."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SMALL = (
    "questions.train.0.count=16",
    "questions.eval.0.count=8",
    "sampling.candidates=3",
    "sampling.chunk=16",
    "teacher.batch_size=16",
    "trainer.epochs=2",
    "trainer.batch_size=2",
    "trainer.micro_batch_size=2",
    "trainer.save_every=1",
    "stages.mixed.questions=16",
    "evaluation.attempts=1",
    "evaluation.heldout=8",
)
"""Overrides of the demo recipe: every kind of stage, each in several pieces, within seconds."""
ON_DISK = ("01-questions", "02-sample-low", "05-filter-low", "07-dedup-low", "09-score-low", "11-select-low")
ON_DISK += ("13-evaluate-before", "14-train-low", "18-mix-mixed", "21-report")
PAGE = 4096


def pipeline(directory: Path, *overrides: str, until: str | None = None) -> list[object]:
    options = [part for override in (*SMALL, *overrides) for part in ("-o", override)]
    return ["pipeline", "demo", "--run", directory, *options, *(["--until", until] if until else [])]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with Launcher(tmp_path_factory.mktemp("commands")) as started:
        yield started


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory."""
    with in_memory() as place:
        yield place


@pytest.fixture(scope="module")
def whole(launcher: Launcher) -> Iterator[Whole]:
    with in_memory() as place:
        yield run_whole(launcher, place / "whole", pipeline(place / "whole"))


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[Outcome]]:
    """What the kills of this file came to; printed at the end (pytest -s)."""
    found: list[Outcome] = []
    yield found
    print_table(found)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(max(1, KILLS // AT_ONCE)))
def test_kills_change_nothing(
    launcher: Launcher, whole: Whole, outcomes: list[Outcome], tmp_path: Path, number: int
) -> None:
    chance = random.Random(f"{SEED} {number}")
    stages = whole.timeline.stages
    # Every stage gets its turn over two chains, every signal its third of the kills.
    chosen = [stages[(AT_ONCE * number + place) * 2 % len(stages)] for place in range(AT_ONCE)]
    moments = [
        whole.timeline.draw(chance, stage, SIGNALS[(place + number) % 3])
        for place, stage in enumerate(chosen)
    ]
    directory = tmp_path / "killed"
    found = kill_often(launcher, whole, directory, pipeline(directory), moments)
    outcomes += found
    assert sum(outcome.hit for outcome in found) >= AT_ONCE // 2


ROUNDS = (
    "questions.train.0.count=24",
    "questions.eval.0.count=6",
    "sampling.chunk=8",
    "teacher.batch_size=16",
    "trainer.batch_size=1",
    "trainer.micro_batch_size=1",
    "trainer.save_every=1",
    "trainer.max_length=128",
    "stages.high.trainer.epochs=1",
    "stages.own.rounds=2",
    "stages.own.questions=16",
    "stages.own.off_policy_share=0.3",
    "stages.own.max_kl=50",
    "evaluation.attempts=1",
    "evaluation.heldout=6",
)
"""Overrides of the recipe on-policy."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_of_rounds_change_nothing(launcher: Launcher, outcomes: list[Outcome], tmp_path: Path) -> None:
    def command(directory: Path) -> list[object]:
        options = [part for override in ROUNDS for part in ("-o", override)]
        return ["pipeline", "on-policy", "--run", directory, *options, "--until", "evaluate-own"]

    whole = run_whole(launcher, tmp_path / "whole", command(tmp_path / "whole"))
    stages = [stage for stage in whole.timeline.stages if "own" in stage]
    chance = random.Random(f"{SEED} rounds")
    for shift in range(2):
        moments = [
            whole.timeline.draw(chance, stages[place % len(stages)], SIGNALS[(place + shift) % 3])
            for place in range(AT_ONCE)
        ]
        directory = tmp_path / f"killed-{shift}"
        found = kill_often(launcher, whole, directory, command(directory), moments)
        outcomes += found
        assert sum(outcome.hit for outcome in found) >= AT_ONCE // 2


# -- processes below the run's own ---------------------------------------------------------------


def graded_recipe(directory: Path) -> Path:
    """A recipe whose filter runs programs in sandboxes and compares expressions in worker processes."""
    questions, responses = [], []
    for number in range(6):
        right = number % 2
        tests = json.dumps({"type": "stdin", "cases": [{"input": "", "output": f"{number}\n"}]})
        program = f"import time\nwhile time.process_time() < 0.3: pass\nprint({number if right else -1})"
        expanded = f"x^2+{2 * number if right else 77}x+{number**2}"
        for question, answer, verifier, text in (
            (f"program {number}", tests, "code", f"```python\n{program}\n```"),
            (f"expression {number}", f"(x+{number})^2", "math", f"\\boxed{{{expanded}}}"),
        ):
            questions.append({"question": question, "answer": answer, "verifier": verifier})
            responses.append({"question": question, "output": f"<think>so</think>{text}"})
    for name, rows in (("questions", questions), ("responses", responses)):
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "graded",
        "teacher": {"model": "dasd:mini-teacher"},
        "student": {"model": "dasd:mini-student"},
        "questions": {"train": [{"source": "file", "options": {"path": str(directory / "questions.jsonl")}}]},
        "filters": {"answer": True},
        "stages": [{"name": "low", "temperature": 0.6, "samples": str(directory / "responses.jsonl")}],
    }
    path = directory / "recipe.yaml"
    path.write_text(json.dumps(recipe))
    return path


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_killed_graders_change_no_verdict(
    launcher: Launcher, outcomes: list[Outcome], tmp_path: Path
) -> None:
    recipe = graded_recipe(tmp_path)

    def arguments(directory: Path) -> list[object]:
        return ["pipeline", recipe, "--run", directory, "--until", "filter-low"]

    directory = tmp_path / "whole"
    whole = run_whole(launcher, directory, arguments(directory))
    verdicts = json.loads((directory / "stages/03-filter-low/manifest.json").read_text())["summary"]
    assert verdicts["kept"] == 6, verdicts
    for target, seconds in (("dasd.evaluation.verifiers.worker", 0.05), ("bwrap", 0.0), ("dasd", 0.05)):
        moment = Moment("03-filter-low", 3, seconds, signal.SIGKILL, target)
        place = tmp_path / target
        found = kill_often(launcher, whole, place, arguments(place), [moment])
        assert found[0].moment.target == target
        outcomes += found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_teacher_elsewhere_changes_nothing(
    launcher: Launcher, outcomes: list[Outcome], tmp_path: Path
) -> None:
    elsewhere = f"teacher.python={sys.executable}"
    directory = tmp_path / "whole"
    whole = run_whole(launcher, directory, pipeline(directory, elsewhere))
    stages = [s for s in whole.timeline.stages if s.split("-")[1] in ("sample", "mix", "report")]
    chance = random.Random(f"{SEED} elsewhere")
    moments = [
        whole.timeline.draw(chance, stage, SIGNALS[place % 3], "dasd.models.remote.worker")
        for place, stage in enumerate(stages)
    ]
    place = tmp_path / "killed"
    outcomes += kill_often(launcher, whole, place, pipeline(place, elsewhere), moments)


# -- exports -------------------------------------------------------------------------------------


def test_a_killed_export_is_whole_or_not_there(
    launcher: Launcher, whole: Whole, outcomes: list[Outcome], tmp_path: Path
) -> None:
    def arguments(place: Path) -> list[object]:
        return ["export", whole.directory, "--to", "trl", "--output", place / "data"]

    (tmp_path / "whole").mkdir()
    log = tmp_path / "log"
    done = launcher.run(
        arguments(tmp_path / "whole"), watch=Watch(str(tmp_path / "whole"), str(log), "", None)
    )
    assert done.code == 0, done.said
    wanted = content(tmp_path / "whole")
    changes = len(log.read_text().splitlines())
    place = tmp_path / "killed"
    place.mkdir()
    chance = random.Random(f"{SEED} export")
    for number, change in enumerate(sorted(chance.sample(range(1, changes + 1), min(changes, KILLS // 2)))):
        outcomes.append(kill(launcher, arguments(place), place, Moment("", change, 0.0, SIGNALS[number % 3])))
        if (place / "data").exists():
            assert content(place / "data") == content(tmp_path / "whole" / "data"), change
    assert launcher.run(arguments(place)).code == 0
    assert differences(content(place), wanted) == []


# -- full disks ----------------------------------------------------------------------------------


def before(whole: Whole, stage: str, place: Path) -> None:
    """The run as a kill right before that stage leaves it."""
    shutil.copytree(whole.directory, place)
    for later in (place / "stages").iterdir():
        if later.name >= stage:
            for artifact in json.loads((later / "manifest.json").read_text())["artifacts"]:
                path = place / artifact["path"]
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            shutil.rmtree(later)
    for folder in (place / "checkpoints",):
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()


def pages(directory: Path) -> int:
    """Of the files below."""
    return sum(-(-path.stat().st_size // PAGE) for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "stage",
    [
        pytest.param(
            stage, marks=[] if stage in ("02-sample-low", "14-train-low", "21-report") else [pytest.mark.slow]
        )
        for stage in ON_DISK
    ],
)
def test_a_disk_that_fills_up_in_the_middle_of_a_stage(
    launcher: Launcher, whole: Whole, tmp_path: Path, stage: str
) -> None:
    name = stage.partition("-")[2]
    reached, place = tmp_path / "reached", tmp_path / "before"
    following = next((s for s in whole.timeline.stages if s > stage), None)
    before(whole, stage, place)
    if following is not None:
        before(whole, following, reached)
    wanted = content(reached) if following is not None else whole.content
    need = pages(reached if following is not None else whole.directory) - pages(place)
    chance = random.Random(f"{SEED} {stage}")
    with small_disk(tmp_path / "disk", 100) as disk:
        shutil.copytree(place, disk / "run")
        arguments = pipeline(disk / "run", until=name)
        command = launcher.start(arguments, Watch(str(disk), None, stage, 1))
        assert command.wait() is None, command.said
        fill(disk / "other", PAGE * chance.randrange(need))
        command.go_on()
        assert command.wait() == 1, command.said
        said = command.said
        assert "Traceback" not in said, said
        assert "error: the disk is full" in said and str(disk / "run") in said and "same command" in said, (
            said
        )
        assert not (disk / "run/stages" / stage / "manifest.json").exists()
        assert launcher.left_behind() == []
        (disk / "other").unlink()
        again = launcher.run(arguments)
        assert again.code == 0, again.said
        assert differences(content(disk / "run"), wanted) == []

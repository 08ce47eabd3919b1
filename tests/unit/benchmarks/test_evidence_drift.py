"""The campaign where answers run on: its world, its arms' steps and rates, and what it measures besides."""

from __future__ import annotations

import random
import re
from itertools import pairwise
from pathlib import Path
from statistics import median

import polars as pl
import pytest
from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.calibration import calibration
from benchmarks.evidence.drift_hypotheses import DRIFT_HYPOTHESES
from benchmarks.evidence.measure import passes
from benchmarks.evidence.places import Place, write_json
from benchmarks.evidence.rates import rate_lines, tuned
from benchmarks.evidence.recipes import cell_recipe
from benchmarks.evidence.results import COLUMNS
from benchmarks.evidence.run import jobs, next_job
from benchmarks.evidence.scale import DRIFT, DRIFT_TUNE
from benchmarks.evidence.tokenizer import world_tokenizer
from benchmarks.evidence.worlds import AUTHORS, WORLDS, Author, drawn

from dasd.models.miniature.world import verify
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import MixedPolicyStage, OnPolicyStage

WORLD = WORLDS["drift"]
_STEP = re.compile(
    r"([a-d]) [+-]\d: (\d+) (?:[+]|and|up|-|less|down) (\d) (?:=|is|to) (\d+)\. (?:Check ([^.]*), (good|wait)\. )?"
)


def _responses(count: int, author: Author = "teacher") -> list[tuple[str, str]]:
    """Text and answer."""
    questions = drawn(WORLD, count, "train", 5)
    rng = random.Random(5)
    return [(WORLD.solve(each, author, rng), each.answer) for each in questions]


def test_every_slip_is_found_and_the_round_begun_again() -> None:
    slips = 0
    for text, answer in _responses(200):
        assert verify(text, answer) == (True, answer)
        steps = [(step.group(1), step.group(6), text[step.end() :]) for step in _STEP.finditer(text)]
        assert sum(verdict != "wait" for _, verdict, _ in steps) >= 20
        assert steps[-1][0] == "d"
        for (letter, verdict, rest), (following, _, _) in pairwise(steps):
            if verdict == "wait":
                slips += 1
                again = re.match(r"Back to (\d+)\. \w+ (.) [+-]\d: (\d+) ", rest)
                assert again is not None
                assert again.group(1) == again.group(3)
                assert following == again.group(2) == "a"
            else:
                assert following == "bcda"["abcd".index(letter)]
    assert 40 < slips < 400


def test_checks_say_whether_the_step_was_right() -> None:
    for text, _ in _responses(50):
        for letter, left, term, result, check, verdict in _STEP.findall(text):
            if check:
                numbers = [int(each) for each in re.findall(r"-?\b\d+", check.replace("- ", ""))]
                assert numbers[0] == int(result), letter
                assert (numbers[-1] == int(left)) == (verdict == "good"), (left, term, check)


def test_answers_are_long_and_fit_the_context() -> None:
    tokenizer = world_tokenizer(WORLD, DRIFT.max_length)
    texts = [text for text, _ in _responses(200)]
    lengths = [len(tokenizer(text)["input_ids"]) for text in texts]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": drawn(WORLD, 1, "train", 5)[0].question}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert sum(lengths) / len(lengths) > 280
    assert max(lengths) + len(prompt) < DRIFT.max_length
    by_student = [len(tokenizer(text)["input_ids"]) for text, _ in _responses(200, "student")]
    assert sum(each > 1.5 * median(lengths) for each in by_student) > 30
    assert len(tokenizer) <= 200
    again = world_tokenizer(WORLDS["drift-wide"], DRIFT.max_length)
    assert tokenizer.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
    assert tokenizer.decode(tokenizer(texts[0])["input_ids"]) == texts[0]


def test_arms_take_equal_steps_and_their_rates_are_multiplied_alike(tmp_path: Path) -> None:
    place = Place(tmp_path, "drift", 0)
    arms = [arm for arm in ARMS if DRIFT.takes(arm)]
    assert len(arms) == len(DRIFT.arms) == 17
    for arm in arms:
        for scale in (DRIFT, DRIFT_TUNE):
            rates = {}
            for budget, steps in scale.steps.items():
                settings = Recipe.load(cell_recipe(place, scale, arm, budget)).settings
                trainers = [(settings.trainer_for(stage), stage) for stage in settings.stages]
                taken = [
                    (trainer.max_steps or 0) * (stage.rounds if isinstance(stage, OnPolicyStage) else 1)
                    for trainer, stage in trainers
                ]
                assert sum(taken) == pytest.approx(steps, abs=scale.rounds / 2)
                assert {trainer.batch_size for trainer, _ in trainers} == {scale.batch_size}
                assert all(
                    stage.cap == 1.5 for stage in settings.stages if isinstance(stage, MixedPolicyStage)
                )
                rates[budget] = [trainer.learning_rate for trainer, _ in trainers]
            for budget, factor in scale.tried.items():
                assert rates[budget] == pytest.approx([factor * each for each in rates["3x"]])


def test_the_wider_student_waits_for_the_pool_that_it_shares(tmp_path: Path) -> None:
    todo = [job for job in jobs(tmp_path, DRIFT, seeds=[0]) if job.place.world == "drift-wide"]
    cells = {(job.arm.name, job.budget) for job in todo if job.arm is not None}
    assert cells == set(DRIFT.fewer["drift-wide"])
    assert next_job(todo) is None
    write_json(Place(tmp_path, "drift", 0).prepared, {})
    assert next_job(todo) is todo[0]
    for author in AUTHORS:
        todo[0].place.model(author).mkdir(parents=True)
    assert next_job(todo[2:]) is todo[2]
    assert drawn(WORLDS["drift-wide"], 5, "train", 1) == drawn(WORLD, 5, "train", 1)


def test_hypotheses_name_cells_of_the_campaign() -> None:
    arms = {arm.name: arm for arm in ARMS}
    assert len({each.name for each in DRIFT_HYPOTHESES}) == len(DRIFT_HYPOTHESES)
    for each in DRIFT_HYPOTHESES:
        assert each.seeds == len(DRIFT.seeds)
        for world in each.worlds:
            assert all(DRIFT.has(world, arms[name], each.budget) for name in (each.arm, each.than))


def test_chance_that_one_of_several_attempts_is_right() -> None:
    rows = pl.DataFrame(
        {"question_id": ["a"] * 4 + ["b"] * 4, "correct": [True, False, False, False] + [False] * 4}
    )
    assert passes(rows) == pytest.approx({"pass_at_2": 0.25, "pass_at_3": 0.375, "pass_at_4": 0.5})


def test_calibration_of_answers() -> None:
    found = calibration([0.0, -0.5, -0.5, -1.0], [True, True, False, False])
    assert found["calibration.auroc"] == pytest.approx(7 / 8)
    assert found["calibration.brier"] == pytest.approx(
        (0 + (1 - 0.60653) ** 2 + 0.60653**2 + 0.36788**2) / 4, abs=1e-4
    )
    assert "calibration.auroc" not in calibration([-0.1, -0.2], [True, True])
    assert calibration([], []) == {}


def test_each_arm_gets_the_rate_that_was_best_on_the_pilot_seeds() -> None:
    accuracies = {
        ("high", "3x-slow"): (0.5, 0.5),
        ("high", "3x"): (0.7, 0.5),
        ("high", "3x-fast"): (0.7, 0.5),
        ("own", "3x-slow"): (0.6, 0.8),
        ("own", "3x"): (0.6, 0.7),
        ("own", "3x-fast"): (0.9, 0.1),
        ("longest", "3x"): (0.5, 0.5),
    }
    rows = [
        ("drift", 100 + number, arm, budget, "accuracy", value)
        for (arm, budget), values in accuracies.items()
        for number, value in enumerate(values)
    ]
    table = pl.DataFrame(rows, schema=COLUMNS, orient="row")
    assert tuned(table, DRIFT_TUNE.tried) == {"high": 1.0, "own": pytest.approx(1 / 3)}
    assert list(rate_lines(table, DRIFT_TUNE.tried)) == [
        "high: 0.33: 0.500, 1: 0.600, 3: 0.600; taken 1",
        "longest: 1: 0.500; unfinished",
        "own: 0.33: 0.700, 1: 0.650, 3: 0.500; taken 0.33",
    ]

"""The evidence suite's worlds, arms and verdicts; the quick suite itself is in tests/e2e/test_evidence_quick.py."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import median

import polars as pl
import pytest
from benchmarks.evidence.answers import shares_of_kinds
from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.hypotheses import HYPOTHESES
from benchmarks.evidence.measure import coverage, effective
from benchmarks.evidence.places import Place
from benchmarks.evidence.recipes import cell_recipe, measure_recipe
from benchmarks.evidence.results import COLUMNS
from benchmarks.evidence.scale import DRIFT, FULL, QUICK, SELECTION
from benchmarks.evidence.verdicts import held_against
from benchmarks.evidence.worlds import WORLDS, World, drawn

from dasd.models.miniature.world import Question, verify
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import OnPolicyStage, TrainingStage

DOCS = Path(__file__).parents[3] / "docs"
worlds = pytest.mark.parametrize("world", WORLDS.values(), ids=list(WORLDS))


@worlds
def test_solutions_are_right_and_styles_of_equal_length(world: World) -> None:
    words: dict[str, list[int]] = {style: [] for style in world.styles}
    for number, question in enumerate(drawn(world, 400, "train", 1)):
        response = world.solve(question, "teacher", random.Random(number))
        assert verify(response, question.answer) == (True, question.answer)
        style = world.style_of(response)
        if style is not None:
            words[style].append(len(response.split()))
    middle = [median(counts) for counts in words.values()]
    assert max(middle) / min(middle) < 1.05


@worlds
def test_the_student_writes_what_it_knows(world: World) -> None:
    for number, question in enumerate(drawn(world, 100, "train", 1)):
        assert world.style_of(world.solve(question, "student", random.Random(number))) in {*world.known, None}


@worlds
def test_a_prefix_commits_to_its_style(world: World) -> None:
    for number, question in enumerate(drawn(world, 50, "eval", 1)):
        for style in world.styles:
            begun = world.prefix(question, style, random.Random(number))
            assert begun.startswith("<think>")
            own = [world.solve(question, "teacher", random.Random(seed)) for seed in range(40)]
            operator = begun.rsplit(" ", 1)[1]
            assert any(f" {operator} " in text for text in own if world.style_of(text) == style)


@worlds
def test_splits_share_no_question(world: World) -> None:
    train, asked = (drawn(world, 200, split, 3) for split in ("train", "eval"))  # type: ignore[arg-type]
    assert not {each.question for each in train} & {each.question for each in asked}
    assert isinstance(train[0], Question)


def test_every_recipe_is_one(tmp_path: Path) -> None:
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    for world in WORLDS.values():
        place = Place(tmp_path, world.name, 0)
        for arm in ARMS:
            for budget in arm.budgets:
                recipe = Recipe.load(cell_recipe(place, FULL, arm, budget))
                steps = [
                    (recipe.settings.trainer_for(stage).max_steps or 0) * _rounds(stage)
                    for stage in recipe.settings.stages
                ]
                wanted = FULL.steps[budget] * (
                    sum(each.share for each in arm.trainings)
                    + arm.mixed_share * bool(arm.rounds)
                    + arm.own_share * (arm.own is not None)
                )
                assert sum(steps) == pytest.approx(wanted, abs=FULL.rounds / 2)
        assert Recipe.load(measure_recipe(place, QUICK, world, str(tmp_path))).settings.questions.eval


def _rounds(stage: TrainingStage) -> int:
    return stage.rounds if isinstance(stage, OnPolicyStage) else 1


def test_hypotheses_name_cells_that_are_run_and_a_page_names_both() -> None:
    text = "".join((DOCS / name).read_text(encoding="utf-8") for name in ("evidence.md", "evidence-drift.md"))
    budgets = {
        arm.name: (
            *arm.budgets,
            *SELECTION.budgets.get(arm.name, ()),
            *DRIFT.budgets.get(arm.name, ()),
        )
        for arm in ARMS
    }
    for each in HYPOTHESES:
        if each.retired:
            continue
        assert each.budget in budgets[each.arm]
        assert each.budget in budgets[each.than]
        assert f"{each.arm} - {each.than} | {each.budget} | {each.smallest:+} |" in text
    assert all(f"`{arm.name}`" in text for arm in ARMS)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ([0.1, 0.11, 0.1, 0.09, 0.1], "holds"),
        ([-0.1, -0.11, -0.1, -0.09, -0.1], "reversed"),
        ([0.001, -0.001, 0.0, 0.001, 0.0], "no effect worth naming"),
        ([0.1, -0.1, 0.2, 0.0, 0.1], "undecided"),
    ],
)
def test_verdicts(differences: list[float], verdict: str) -> None:
    rows = [
        ("modes", seed, arm, "3x", "accuracy", 0.5 + gain)
        for seed, difference in enumerate(differences)
        for arm, gain in (("divergence", difference), ("high", 0.0))
    ]
    tested = held_against(pl.DataFrame(rows, schema=COLUMNS, orient="row"))
    found = {(each.hypothesis.name, each.world): each for each in tested}
    assert found["H6", "modes"].verdict == verdict
    assert found["H6", "modes"].difference == pytest.approx(sum(differences) / 5)
    assert found["H6", "usefulness"].verdict == "not run"


def test_p_values_are_adjusted_within_a_question_and_over_what_is_tested() -> None:
    gains = {
        "high": [0.0, 0.0, 0.0, 0.0, 0.0],
        "divergence": [0.03, 0.05, 0.02, 0.04, 0.06],
        "length-matched": [0.01, 0.02, 0.02, 0.0, 0.05],
        "longest": [0.02, 0.01, 0.0, 0.03, 0.01],
        "high-unfiltered": [-0.02, -0.01, -0.04, -0.01, -0.02],
    }
    rows = [
        ("modes", seed, arm, "3x", "accuracy", 0.5 + gain)
        for arm, values in gains.items()
        for seed, gain in enumerate(values)
    ]
    tested = held_against(pl.DataFrame(rows, schema=COLUMNS, orient="row"))
    found = {each.hypothesis.name: each for each in tested if each.seeds}
    assert set(found) == {"H6", "H7", "H9", "H16"}
    # Two worlds, of which one isn't run: it counts all the same.
    assert found["H16"].p_value is not None
    assert found["H16"].p_holm == pytest.approx(2 * found["H16"].p_value)
    assert (found["H9"].p_holm, found["H9"].verdict) == (None, "exploration")
    smaller, larger = sorted(
        (found["H6"], found["H7"]), key=lambda each: each.p_value if each.p_value is not None else 2.0
    )
    assert smaller.p_value is not None
    assert larger.p_value is not None
    assert smaller.p_holm == pytest.approx(min(1.0, 8 * smaller.p_value))
    assert larger.p_holm == pytest.approx(min(1.0, max(8 * smaller.p_value, 7 * larger.p_value)))


def test_fewer_seeds_than_planned_give_no_verdict() -> None:
    rows = [
        ("modes", seed, arm, "3x", "accuracy", 0.5 + gain + 0.001 * seed)
        for seed in range(4)
        for arm, gain in (("divergence", 0.1 + 0.002 * seed), ("high", 0.0))
    ]
    tested = held_against(pl.DataFrame(rows, schema=COLUMNS, orient="row"))
    assert {each.verdict for each in tested if each.seeds} == {"unfinished"}


def test_thirds_of_a_response_are_of_its_own_sentences() -> None:
    kinds = {"short": "TSB", "long": "TTSSBB"}
    names = {"T": "teacher", "S": "shared", "B": "boosted"}
    rows = [(key, number, names[kind]) for key, each in kinds.items() for number, kind in enumerate(each)]
    schema = {"sample_id": pl.String, "sentence": pl.UInt32, "kind": pl.String}
    found = shares_of_kinds(pl.DataFrame(rows[::-1], schema=schema, orient="row"), "x.")
    assert (found["x.teacher.first"], found["x.shared.middle"], found["x.boosted.last"]) == (1, 1, 1)
    assert (found["x.teacher"], found["x.student"]) == (pytest.approx(1 / 3), 0)
    assert shares_of_kinds(pl.DataFrame(schema=schema), "x.") == {}


def test_coverage_and_the_effective_number_of_styles() -> None:
    world = WORLDS["modes"]
    even = dict.fromkeys(world.styles, 0.25)
    one = {**dict.fromkeys(world.styles, 0.0), "climb": 0.8}
    assert coverage(even, even, world) == pytest.approx(1)
    assert coverage(one, even, world) == pytest.approx(0.25)
    assert effective(even, world) == pytest.approx(4)
    assert effective(one, world) == pytest.approx(1)

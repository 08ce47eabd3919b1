"""The evidence suite's scales: what each runs and in which order, and the page's section of the one for a GPU."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.page import marks, write_page
from benchmarks.evidence.places import Place, write_json
from benchmarks.evidence.recipes import cell_recipe, drawn_names, measure_recipe, pool_recipe
from benchmarks.evidence.results import COLUMNS, Found, keep, load
from benchmarks.evidence.run import jobs, next_job
from benchmarks.evidence.scale import FULL, LARGE, QUICK, SCALES, SELECTION, Scale
from benchmarks.evidence.verdicts import held_against
from benchmarks.evidence.worlds import AUTHORS, WORLDS

from dasd.errors import InputError
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import OffPolicyStage

DOCS = Path(__file__).parents[3] / "docs"
scales = pytest.mark.parametrize("scale", SCALES.values(), ids=list(SCALES))


@scales
def test_a_scale_names_arms_and_worlds_that_exist(scale: Scale, tmp_path: Path) -> None:
    arms = {arm.name: arm for arm in ARMS}
    assert set(scale.worlds) <= set(WORLDS)
    taken = [arm.name for arm in ARMS if scale.takes(arm)]
    assert set(scale.arms) <= set(taken)
    for name in taken:
        assert set(scale.budgets_of(arms[name])) & set(scale.steps) or scale is QUICK
    for world in scale.worlds:
        place = Place(tmp_path, world, 0)
        pool = Recipe.load(pool_recipe(place, scale)).settings
        made = {stage.name for stage in pool.stages}
        for name in taken:
            for budget in (each for each in scale.steps if scale.has(world, arms[name], each)):
                settings = Recipe.load(cell_recipe(place, scale, arms[name], budget)).settings
                wanted = {each.responses for each in arms[name].trainings}
                assert wanted <= made
                given = [each.samples or () for each in settings.stages if isinstance(each, OffPolicyStage)]
                files = {Path(path).stem for paths in given for path in paths}
                assert files <= set(drawn_names(scale))
                assert settings.trainer.device == settings.student.device == scale.device
                assert settings.trainer.precision == settings.teacher.precision == scale.precision
        assert Recipe.load(measure_recipe(place, scale, WORLDS[world], str(tmp_path))).settings.questions.eval


def test_only_samples_that_an_arm_uses_are_drawn() -> None:
    assert drawn_names(QUICK) == ["high"]
    assert drawn_names(FULL) == drawn_names(LARGE) == ["low", "high", "again"]
    assert drawn_names(SELECTION) == ["low", "high"]


def test_the_large_scale_runs_arm_by_arm_and_the_full_one_seed_by_seed(tmp_path: Path) -> None:
    large = [job for job in jobs(tmp_path, LARGE) if job.arm is not None]
    count = len(LARGE.seeds)
    assert [job.place.seed for job in large[:count]] == list(LARGE.seeds)
    assert len({job.arm.name for job in large[:count] if job.arm is not None}) == 1
    assert {job.arm.name for job in large if job.arm is not None} == set(LARGE.arms)
    full = jobs(tmp_path, FULL)
    assert {job.place.seed for job in full[:16]} == {FULL.seeds[0]}
    assert {job.place.world for job in full} == {"modes", "usefulness"}
    again = [(job.arm.name, job.budget) for job in jobs(tmp_path, SELECTION, seeds=[0]) if job.arm]
    assert len(again) == 14
    assert {("divergence", "9x"), ("coverage", "3x"), ("whole", "9x")} <= set(again)
    assert {"whole", "plain"}.isdisjoint(job.arm.name for job in full if job.arm is not None)
    assert len(jobs(tmp_path, QUICK, arms=["ratio"], seeds=[7])) == 4 * len(QUICK.worlds)


def test_a_models_context_holds_question_and_answer() -> None:
    for scale in SCALES.values():
        assert scale.max_tokens < scale.max_length


def _found(seeds: int) -> Found:
    rows = [
        ("long", seed, arm, "3x", measure, value if value > 100 else value + 0.0625 * seed)
        for seed in range(seeds)
        for arm, gain in (("high", 0.0), ("divergence", 0.125))
        for measure, value in (
            ("accuracy", 0.5 + gain),
            ("kl", 3.0),
            ("steps", 180),
            ("tokens", 1.4e6),
            ("select.high.agreement_longest", 0.25),
        )
    ]
    styles = {f"forced.{style}": 0.5 for style in WORLDS["long"].styles}
    figures = {"teacher": styles, "student": {**styles, "accuracy": 0.25}, "teacher_sentences": 0.4375}
    made = [("long", seed, figures) for seed in range(seeds)]
    return Found(pl.DataFrame(rows, schema=COLUMNS, orient="row"), made, ["A device, torch 2"])


def test_a_world_that_no_hypothesis_names_is_exploration() -> None:
    tested = [each for each in held_against(_found(3).table) if each.seeds]
    assert {each.world for each in tested} == {"long"}
    assert {each.verdict for each in tested} == {"exploration"}
    assert all(each.p_holm is None for each in tested)
    gain = {each.hypothesis.name: each for each in tested}["H6"].difference
    assert gain == pytest.approx(0.125)


def test_results_are_kept_beside_the_page_and_read_again(tmp_path: Path) -> None:
    found = _found(3)
    keep(found, tmp_path / "large")
    again = load(tmp_path / "no run", tmp_path / "large")
    assert again.table.equals(found.table)
    assert (again.prepared, again.machines) == (found.prepared, found.machines)
    write_json(Place(tmp_path / "begun", "long", 0).prepared, {"teacher": {}, "student": {}})
    assert load(tmp_path / "begun", tmp_path / "large").table.equals(found.table)
    found.table.drop("arm").write_parquet(tmp_path / "large.parquet")
    with pytest.raises(InputError, match=r"large\.parquet: wanted results"):
        load(tmp_path / "no run", tmp_path / "large")
    keep(found, tmp_path / "large")
    (tmp_path / "large.json").write_text("[]")
    with pytest.raises(InputError, match=r"large\.json, .*: wanted results"):
        load(tmp_path / "no run", tmp_path / "large")
    with pytest.raises(InputError, match="no finished cell"):
        load(tmp_path / "no run", tmp_path / "nothing")


@pytest.mark.parametrize("scale", [FULL, SELECTION, LARGE], ids=["full", "selection", "large"])
def test_the_page_says_what_the_kept_figures_say(tmp_path: Path, scale: Scale) -> None:
    shutil.copytree(DOCS / "evidence", tmp_path / "evidence", ignore=shutil.ignore_patterns("*.svg"))
    shutil.copy(DOCS / "evidence.md", tmp_path)
    write_page(tmp_path / "no run", tmp_path, scale)
    assert (tmp_path / "evidence.md").read_text() == (DOCS / "evidence.md").read_text()
    drawn = sorted(path.name for path in (tmp_path / "evidence").glob("*.svg"))
    assert drawn == sorted(path.name for path in (DOCS / "evidence").glob("*.svg") if path.name in drawn)


def test_the_page_has_a_section_of_its_own_for_the_large_scale(tmp_path: Path) -> None:
    for scale in SCALES.values():
        text = (DOCS / scale.page).read_text(encoding="utf-8")
        assert all(text.count(mark) == 1 for mark in marks(scale))
    before = (DOCS / "evidence.md").read_text(encoding="utf-8")
    (tmp_path / "evidence.md").write_text(before, encoding="utf-8")
    (tmp_path / "evidence").mkdir()
    keep(_found(3), tmp_path / "evidence" / "large")
    write_page(tmp_path / "no run", tmp_path, LARGE)
    after = (tmp_path / "evidence.md").read_text(encoding="utf-8")
    begin, end = marks(LARGE)
    assert after.split(begin)[0] == before.split(begin)[0]
    section = after.split(begin)[1].split(end)[0]
    assert "Run on A device, torch 2." in section
    assert re.search(r"H6 accuracy, divergence - high, 3x \| long \| 3 .*\+0\.125 .*exploration", section)
    assert "`run --scale large --world long --arm divergence --arm high`" in section
    assert "| divergence | 3x | 3 | 1400 |" in section
    assert (tmp_path / "evidence" / "long-arms.svg").is_file()
    with pytest.raises(InputError, match="wanted the marks"):
        write_page(tmp_path / "no run", tmp_path, replace(LARGE, name="larger"))


def test_models_come_before_their_pool_and_the_pool_before_its_cells(tmp_path: Path) -> None:
    todo = jobs(tmp_path, LARGE, arms=["high"], seeds=[0])
    teacher, student, pool, cell = todo
    assert [job.label.split(": ")[1] for job in todo] == ["teacher", "student", "pool", "high@3x"]
    assert next_job([student, pool, cell]) is student
    assert next_job([pool, cell]) is None
    for author in AUTHORS:
        pool.place.model(author).mkdir(parents=True)
    assert teacher.done()
    assert student.done()
    assert next_job([pool, cell]) is pool
    assert next_job([cell]) is None
    write_json(cell.place.prepared, {})
    assert pool.done()
    assert next_job([cell]) is cell

"""A run on the responses that another run selected: what is taken, what is told of it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal
from tests.stage_run import RECIPE, ListConsole, ScriptedModel, make_registry, merged, run_recipe

from dasd.base.checksums import file_checksum
from dasd.errors import InputError, RecipeError, StoreError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan import Amount, Given, RunPlan, plan_recipe
from dasd.pipeline.runner import Pipeline
from dasd.plugins.recipe import Recipe
from dasd.recipe.model_settings import ModelSettings
from dasd.results.cards.card_words import card_text
from dasd.results.cards.facts import gather_facts
from dasd.results.cards.licences import find_licences
from dasd.results.cards.options import CardOptions
from dasd.results.export import export_run
from dasd.results.report.gather import run_facts
from dasd.store import Run
from dasd.store.origin import origin_of
from dasd.training.loaded_rows import expand_runs

LOW = [{"name": "low", "temperature": 0.6}]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run up to its mixed responses."""
    return run_recipe(tmp_path_factory.mktemp("source") / "first", until="mix-mixed")


def pipeline(data: object, console: ListConsole | None = None, **changes: Any) -> Pipeline:
    """For the bundled teacher's twin as another student; evaluated on the same questions."""
    base = {key: value for key, value in RECIPE.items() if key not in ("filters", "sampling")}
    base |= {
        "name": "second",
        "student": {"model": "dasd:mini-teacher", "backend": "scripted"},
        "questions": {"eval": RECIPE["questions"]["eval"]},
        "data": str(data.directory) if isinstance(data, Run) else data,
    }
    recipe = Recipe.load(merged(base, changes))
    return Pipeline(recipe, make_registry(), console=console or ListConsole())


def take(
    directory: Path, data: object, until: str, console: ListConsole | None = None, **changes: Any
) -> Run:
    return pipeline(data, console, **changes).run(directory, until=until)


def kept(run: Run, stage: str) -> pl.DataFrame:
    """SAMPLES that a run trains on."""
    name = f"mix-{stage}" if stage == "mixed" else f"sample-{stage}"
    verdicts = run.frame("verdicts", name.replace("sample", "select")).filter(pl.col("kept"))
    ids = verdicts.select("sample_id").collect()["sample_id"].implode()
    return run.frame("samples", name).filter(pl.col("sample_id").is_in(ids)).collect()


def contents(directory: Path) -> dict[str, str]:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return {str(path.relative_to(directory)): file_checksum(path) for path in files}


@pytest.fixture(scope="module")
def taken(source: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole second run, its report included; the first one stays as it was."""
    before = contents(source.directory)
    run = take(tmp_path_factory.mktemp("taken") / "second", source, "report")
    assert contents(source.directory) == before, "nothing is written to the other run"
    return run


# -- what is taken --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["low", "high", "mixed"])
def test_the_selected_responses_come_as_they_are(source: Run, taken: Run, stage: str) -> None:
    assert_frame_equal(kept(taken, stage), kept(source, stage))
    trained = taken.frame("train", f"train-{stage}").collect()["sample_id"]
    assert set(trained) >= set(kept(source, stage)["sample_id"])
    names = {manifest.name for manifest in taken.stages()}
    assert not [name for name in names if name.startswith(("filter-", "dedup-", "score-"))]


def test_no_model_is_asked_before_the_evaluation(source: Run, tmp_path: Path) -> None:
    ScriptedModel.calls = 0
    take(tmp_path, source, "train-mixed", questions={"eval": []})
    assert not ScriptedModel.calls


def test_training_rows_are_made_for_the_new_student(source: Run, taken: Run) -> None:
    texts = dict(kept(source, "low").select("sample_id", "text").iter_rows())
    chats = [ChatTokenizer.load(ModelSettings(model=f"dasd:mini-{role}")) for role in ("teacher", "student")]
    assert chats[0].hash != chats[1].hash
    rows = taken.frame("train", "train-low").collect()
    assert rows.height == len(texts)
    for sample_id, tokens, mask in rows.select("sample_id", "token_ids", "loss_mask").iter_rows():
        response = [token for token, on in zip(tokens, expand_runs(mask), strict=True) if on]
        assert chats[0].decode(response[:-1]) == texts[sample_id]


def test_the_teachers_heldout_responses_serve_the_kl(source: Run, taken: Run) -> None:
    theirs = source.frame("samples", "sample-heldout").collect()
    assert_frame_equal(taken.frame("samples", "sample-heldout").collect(), theirs)
    metrics = taken.frame("metrics").collect()
    measured = metrics.filter(pl.col("metric") == "kl_nats_per_response")
    assert set(measured["checkpoint"]) == {"before", "low", "high", "mixed"}
    assert set(measured["n"]) == {theirs.height}


def test_other_evaluation_questions_have_no_kl(source: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"question": "1 + 1 + 1 + 1 + 1 + 1 = ?", "answer": "6", "verifier": "math"}))
    console = ListConsole()
    files = {"eval": [{"source": "file", "options": {"path": str(other)}}]}
    run = take(tmp_path / "run", source, "evaluate-before", console, stages=LOW, questions=files)
    assert any("so there is no KL" in text for text in console.warned)
    assert "kl_nats_per_response" not in set(run.frame("metrics").collect()["metric"])


def test_what_is_over_the_training_context_is_set_aside_and_counted(source: Run, tmp_path: Path) -> None:
    console = ListConsole()
    whole = take(tmp_path / "whole", source, "train-low", stages=LOW)
    lengths = whole.frame("train", "train-low").collect()["token_ids"].list.len()
    most = int(lengths.sort()[len(lengths) // 2])
    over = int((lengths > most).sum())
    assert over
    run = take(tmp_path / "run", source, "train-low", console, stages=LOW, trainer={"max_length": most})
    assert run.summary("select-low")["dropped"] == {"length": over}
    assert any(f"{over} responses are longer than the training context" in text for text in console.warned)
    verdicts = run.frame("verdicts", "select-low").collect()
    assert set(verdicts.filter(pl.col("kept"))["reason"]) == {"selected"}
    details = verdicts.filter(~pl.col("kept"))["detail"]
    assert all(text.endswith(f"tokens of the student with the prompt, {most} fit") for text in details)
    trained = run.frame("train", "train-low").collect()["token_ids"].list.len()
    assert sorted(trained) == sorted(lengths.filter(lengths <= most))


def test_a_question_that_is_evaluated_here_is_not_trained_on(source: Run, tmp_path: Path) -> None:
    asked = kept(source, "low")["question_id"][0]
    row = source.frame("questions").filter(pl.col("question_id") == asked).collect()
    own = {"question": row["messages"][0][-1]["content"], "answer": row["answer"][0], "verifier": "math"}
    (tmp_path / "own.jsonl").write_text(json.dumps(own))
    files = {"eval": [{"source": "file", "options": {"path": str(tmp_path / "own.jsonl")}}]}
    run = take(tmp_path / "run", source, "select-low", stages=LOW, questions=files)
    assert run.summary("select-low")["dropped"] == {"not_asked": 1}
    assert asked not in set(kept(run, "low")["question_id"])


def test_the_system_prompt_is_this_recipes(source: Run, tmp_path: Path) -> None:
    for prompt, roles in ((None, ["user"]), ("Be brief.", ["system", "user"])):
        questions = {"system_prompt": prompt}
        run = take(tmp_path / str(prompt), source, "questions", stages=LOW, questions=questions)
        cells = run.frame("questions").collect()["messages"]
        assert {tuple(turn["role"] for turn in cell) for cell in cells} == {tuple(roles)}
        assert {cell[0]["content"] for cell in cells if prompt} <= {prompt}


def test_a_total_takes_a_seeded_part(source: Run, tmp_path: Path) -> None:
    stages = [{**LOW[0], "total": 5}]
    runs = [take(tmp_path / str(n), source, "select-low", stages=stages, seed=n // 2) for n in (0, 1, 2)]
    drawn = [kept(run, "low")["sample_id"].to_list() for run in runs]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) == 5 and set(drawn[0]) < set(kept(source, "low")["sample_id"])


def test_stages_may_have_other_names(source: Run, tmp_path: Path) -> None:
    data = {"run": str(source.directory), "stages": {"only": "high"}}
    run = take(tmp_path, data, "select-only", stages=[{"name": "only", "temperature": 1.0}])
    found = kept(run, "only")
    assert set(found["stage"]) == {"sample-only"}
    assert_frame_equal(found.drop("stage"), kept(source, "high").drop("stage"))


# -- what is told of it ---------------------------------------------------------------------------------


def test_report_cards_and_exports_say_which_run_selected(source: Run, taken: Run, tmp_path: Path) -> None:
    origin = origin_of(taken)
    assert origin is not None and origin_of(source) is None
    assert (origin.run, origin.selected_in, origin.student) == ("scripted", "scripted", "dasd:mini-student")
    selected = next(manifest for manifest in source.stages() if manifest.name == "select-low")
    assert origin.contents["select-low"] == selected.content()
    told = run_facts(taken).origin
    assert told is not None and told.contents == origin.contents
    report = taken.report()
    assert report["run"]["origin"]["student"] == "dasd:mini-student"  # type: ignore[index,call-overload]
    page = taken.report_path.read_text()
    assert "they were selected for dasd:mini-student" in page and not report["selections"]
    flow = report["flow"]
    assert [row["selected"] for row in flow[:2]] == [12, 12]  # type: ignore[index,call-overload,union-attr]
    facts = gather_facts(taken)
    text = card_text(
        facts,
        find_licences(facts.settings, CardOptions()),
        "sums",
        stage=None,
        configs=[("low", "low", "0.6", "1", "`a`")],
    )
    assert "run `scripted` chose them for `dasd:mini-student`" in text
    _, manifest = export_run(taken, "sharegpt", tmp_path / "export")
    assert manifest.origin == origin
    assert str(source.directory) not in manifest.model_dump_json() + json.dumps(report["run"])
    _, first = export_run(source, "sharegpt", tmp_path / "first", stages=["low"])
    files = [next(file.checksum for file in each.files if file.stage == "low") for each in (first, manifest)]
    assert files[0] == files[1], "both students are trained on the same conversations"


def test_a_run_of_a_run_names_who_selected(source: Run, taken: Run, tmp_path: Path) -> None:
    third = take(tmp_path, taken, "select-low", stages=LOW, name="third")
    origin = origin_of(third)
    assert origin is not None
    assert (origin.run, origin.selected_in, origin.student) == ("second", "scripted", "dasd:mini-student")
    assert kept(third, "low")["sample_id"].to_list() == kept(source, "low")["sample_id"].to_list()


def test_a_changed_run_is_noticed_and_a_moved_one_is_not(source: Run, tmp_path: Path) -> None:
    first = tmp_path / "first"
    shutil.copytree(source.directory, first)
    take(tmp_path / "run", str(first), "train-low", stages=LOW)

    def states(data: Path) -> dict[str, str]:
        return {each.name: each.state for each in pipeline(str(data), stages=LOW).plan(tmp_path / "run")}

    first.rename(tmp_path / "moved")
    assert states(tmp_path / "moved")["train-low"] == "done"
    run_recipe(tmp_path / "moved", until="select-low", seed=4)
    changed = states(tmp_path / "moved")
    assert {changed[name] for name in ("questions", "sample-low", "select-low", "train-low")} == {"changed"}
    shutil.rmtree(tmp_path / "moved")
    with pytest.raises(InputError, match=r"data.run: .*moved is not a run directory"):
        states(tmp_path / "moved")
    assert kept(Run.open(tmp_path / "run"), "low").height, "what was taken stays"


# -- what it will cost ----------------------------------------------------------------------------------


def planned(source: Path, directory: Path, **changes: Any) -> RunPlan:
    """Of a recipe whose components are built in."""
    models = {role: {"model": "dasd:mini-teacher"} for role in ("teacher", "student")}
    recipe = {"name": "second", "data": str(source), **models, "stages": RECIPE["stages"]}
    path = directory.with_suffix(".yaml")
    path.write_text(
        yaml.safe_dump(merged(recipe, {"questions": {"eval": RECIPE["questions"]["eval"]}, **changes}))
    )
    return plan_recipe(path, directory=directory, given=Given(train_rate=10.0))


def test_the_plan_counts_what_the_other_run_selected(source: Run, tmp_path: Path) -> None:
    made = planned(source.directory, tmp_path / "run")
    assert not made.problems
    stages = {stage.name: stage for stage in made.stages}
    low, mixed = kept(source, "low"), kept(source, "mixed")
    assert stages["sample-low"].work.rows == Amount.exactly(low.height)
    assert stages["mix-mixed"].work.rows == Amount.exactly(mixed.height)
    assert made.questions == Amount.exactly(12)
    trains = stages["train-low"].work.trains
    assert trains is not None and trains.rows == Amount(low.height, low.height)
    scores = source.frame("scores", "score-low").collect()
    known = scores.filter(pl.col("sample_id").is_in(low["sample_id"].implode()))["token_ids"].list.len().sum()
    assert trains.tokens.expected is not None and trains.tokens.expected > 6 * known
    assert stages["train-low"].cost.seconds == trains.tokens.expected / 10
    assert all(stage.work.generates == () for name, stage in stages.items() if "evaluate" not in name)


def test_the_plan_without_the_other_run_counts_on_hints(tmp_path: Path) -> None:
    made = planned(tmp_path / "nowhere", tmp_path / "run")
    assert not made.problems
    told = next(finding for finding in made.findings if finding.key == "data.run")
    assert told.level == "warning" and "is unknown: give these stages a `total`" in told.text
    low = next(stage for stage in made.stages if stage.name == "train-low")
    assert low.work.rows.expected is None and low.cost.seconds is None
    hints = ({"total": 40}, {"total": 60}, {"questions": 20})
    hinted = [{**stage, **more} for stage, more in zip(RECIPE["stages"], hints, strict=True)]
    made = planned(tmp_path / "nowhere", tmp_path / "run", stages=hinted)
    rows = {stage.name: stage.work.rows.expected for stage in made.stages}
    assert (rows["train-low"], rows["train-high"], rows["mix-mixed"], rows["train-mixed"]) == (
        40,
        60,
        None,
        None,
    )


def test_the_plan_tells_what_is_wrong_with_the_other_run(source: Run, tmp_path: Path) -> None:
    stages = [{"name": "low", "temperature": 0.7}]
    made = planned(source.directory, tmp_path / "run", stages=stages)
    assert [(finding.key, "at 0.6" in finding.text) for finding in made.problems] == [("data.run", True)]


# -- what is refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stages": [{"name": "lov", "temperature": 0.6}]}, "no training stage 'lov'; did you mean 'low'?"),
        ({"stages": [{"name": "low", "temperature": 0.7}]}, r"is 0.7, and .* sampled its stage 'low' at 0.6"),
        ({"stages": [{"name": "mixed", "temperature": 1.0}]}, "is off-policy, and stage 'mixed'"),
        ({"teacher": {"model": "dasd:mini-student"}}, "teacher.model: dasd:mini-teacher wrote the responses"),
        ({"data": "{tmp}"}, r"data.run: .* is not a run directory"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(
    source: Run, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    data = changes.pop("data", "").format(tmp=tmp_path) or source
    with pytest.raises(InputError, match=words) as error:
        pipeline(data, **{"stages": LOW, **changes}).run(tmp_path / "run")
    assert error.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_far_enough_or_altered_is_refused(source: Run, tmp_path: Path) -> None:
    first = tmp_path / "first"
    run_recipe(first, until="sample-low")
    with pytest.raises(InputError, match="stage select-low of .* is not done; finish that run first"):
        pipeline(str(first), stages=LOW).run(tmp_path / "run")
    shutil.copytree(source.directory, tmp_path / "torn")
    part = next(Run.open(tmp_path / "torn").stage_directory("sample-low").glob("part-samples-*"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(StoreError, match=part.name):
        take(tmp_path / "run", str(tmp_path / "torn"), "sample-low", stages=LOW)


def test_a_run_is_never_written_over_its_own_data(source: Run) -> None:
    before = contents(source.directory)
    with pytest.raises(InputError, match="this run's own directory"):
        pipeline(source, stages=LOW).run(source.directory)
    assert contents(source.directory) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"questions": {"train": [{"source": "miniature"}]}}, "questions.train: .*come from that run"),
        (
            {"data": {"run": "x", "stages": {"hihg": "low"}}},
            "data.stages.hihg: there is no stage 'hihg' here",
        ),
        ({"stages": [{**LOW[0], "samples": "a.jsonl"}]}, "stages.0.samples: is the other run's affair"),
        ({"stages": [{**LOW[0], "per_question": 2}]}, "stages.0.per_question: is the other run's affair"),
        ({"data": {"runs": "x"}}, "data.runs"),
    ],
)
def test_keys_that_do_not_go_with_data(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        pipeline(changes.pop("data", "x"), **{"stages": LOW, **changes})

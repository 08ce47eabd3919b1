from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from dasd.base.schemas import LOSSES, VERDICTS
from dasd.errors import InputError, StoreError
from dasd.plugins.recipe import Recipe
from dasd.store import DirectoryWriter, FinishedInputs, Node, Run, RunDirectory, fingerprint

RECIPE = Recipe.load(
    {
        "name": "reading",
        "teacher": {"model": "dasd:mini-teacher"},
        "student": {"model": "dasd:mini-student"},
        "questions": {"train": [{"source": "miniature"}]},
        "stages": [{"name": "low", "temperature": 0.6}],
    }
)


def verdicts(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"sample_id": ids, "stage": "s", "kept": True, "reason": "", "detail": ""})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run with stages one (two parts), two (one part, an artifact, no more), and three, not finished."""
    store = RunDirectory(tmp_path / "run")
    with store.writing("reading", 3, RECIPE.to_yaml()):
        for number, name in enumerate(("one", "two", "three"), start=1):
            node = Node(number, name, "k", {}, {}, fingerprint("k", name, {}, {}))
            stage, header, _ = store.settle(node, {})
            writer = DirectoryWriter(stage, header, lambda _: None, lambda *_: None)
            writer.append("verdicts", verdicts(f"{name}-a", f"{name}-b"))
            if name == "one":
                writer.append("verdicts", verdicts("one-c"))
            if name == "two":
                writer.artifact("checkpoints/stage1").mkdir()
                (store.path / "checkpoints" / "stage1" / "config.json").write_text("{}")
                writer.summarise({"kept": 2})
            if name != "three":
                writer.close({})
            store.event("note", name, {"number": number})
    return store.path


def test_frames(path: Path) -> None:
    run = Run.open(path)
    assert run.directory == path
    ids = ["one-a", "one-b", "one-c", "two-a", "two-b"]
    assert run.frame("verdicts").collect()["sample_id"].to_list() == ids
    assert run.frame("verdicts").collect_schema() == VERDICTS.empty().schema
    assert run.frame("verdicts", "two").collect()["sample_id"].to_list() == ids[3:]
    marked = run.frame("verdicts", with_stage=True).collect()
    assert marked["run_stage"].to_list() == ["one"] * 3 + ["two"] * 2


def test_a_frame_without_rows_has_its_columns(path: Path) -> None:
    run = Run.open(path)
    assert run.frame("losses").collect().equals(LOSSES.empty())
    assert run.frame("losses", with_stage=True).collect().schema["run_stage"] == pl.String


def test_wrong_names_get_a_suggestion(path: Path, tmp_path: Path) -> None:
    run = Run.open(str(path))
    with pytest.raises(InputError, match="no frame 'verdict'; did you mean 'verdicts'"):
        run.frame("verdict")
    with pytest.raises(InputError, match=r"no finished stage 'three'.*Finished: one, two"):
        run.frame("verdicts", "three")
    with pytest.raises(InputError, match="is not a run directory"):
        Run.open(tmp_path)


def test_stages_summaries_artifacts_and_settings(path: Path) -> None:
    run = Run.open(path)
    assert [manifest.name for manifest in run.stages()] == ["one", "two"]
    assert run.summary("two") == {"kept": 2}
    assert run.artifact("two") == path / "checkpoints" / "stage1"
    assert run.stage_directory("one") == path / "stages" / "01-one"
    with pytest.raises(InputError, match="has not one artifact: none"):
        run.artifact("one")
    assert run.settings == RECIPE.settings
    assert (run.record.name, run.record.seed, run.record.format) == ("reading", 3, 1)
    assert run.record.machine.cores >= 1 and run.record.machine.cpu


def test_events_with_a_torn_end(path: Path) -> None:
    with (path / "events.jsonl").open("ab") as file:
        file.write(b'{"time": "20')
    events = Run.open(path).events()
    assert [(event.kind, event.stage, event.fields) for event in events] == [
        ("note", "one", {"number": 1}),
        ("note", "two", {"number": 2}),
        ("note", "three", {"number": 3}),
    ]


def test_report(path: Path) -> None:
    run = Run.open(path)
    with pytest.raises(InputError, match="no report yet"):
        run.report()
    (path / "report.json").write_text(json.dumps({"stages": []}))
    assert run.report() == {"stages": []}
    assert run.report_path == path / "report.html"
    (path / "report.json").write_text('{"stages": ')
    with pytest.raises(StoreError, match="torn or was altered"):
        run.report()


def test_verify(path: Path) -> None:
    run = Run.open(path)
    run.verify()
    (path / "checkpoints" / "stage1" / "config.json").write_text("[]")
    with pytest.raises(StoreError, match=r"config\.json was altered"):
        run.verify()


def test_an_altered_recipe_is_named(path: Path) -> None:
    (path / "recipe.yaml").write_text("teacher: [")
    with pytest.raises(StoreError, match=r"recipe\.yaml can't be read"):
        _ = Run.open(path).settings


def test_inputs_of_a_stage(path: Path) -> None:
    store = RunDirectory(path)
    found = {}
    for name in ("one", "two"):
        manifest = store.stages()[name].manifest()
        assert manifest is not None
        found[name] = (store.stages()[name], manifest)
    inputs = FinishedInputs("four", found)
    assert inputs.frame("one", "verdicts").collect().height == 3
    assert inputs.frame("one", "losses").collect().equals(LOSSES.empty())
    assert inputs.summary("two") == {"kept": 2}
    assert inputs.artifact("two") == path / "checkpoints" / "stage1"
    with pytest.raises(StoreError, match="stage four wants the artifact of one; it has none"):
        inputs.artifact("one")
    with pytest.raises(
        StoreError, match="stage four reads stage 'three', which it doesn't need; it needs one, two"
    ):
        inputs.frame("three", "verdicts")

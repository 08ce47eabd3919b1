"""Imports of published sets: joined by uuid, bad rows set aside, and there and back again gives the same selection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.stage_run import ListConsole, make_recipe, make_registry, run_recipe

from dasd.base.progress import Console
from dasd.cli.files import narrowed
from dasd.curation.imports import import_responses
from dasd.curation.imports.logprobs import LogprobFiles
from dasd.curation.sources.values import ValueFile
from dasd.errors import InputError
from dasd.pipeline.runner import Pipeline
from dasd.plugins.host import PluginHost
from dasd.results.export import export_run
from dasd.store import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_recipe(
        tmp_path_factory.mktemp("import") / "run",
        until="select-low",
        questions={"system_prompt": "You are a helpful assistant."},
    )


@pytest.fixture(scope="module")
def exports(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories text and logprobs: all that the teacher answered."""
    place = tmp_path_factory.mktemp("exports")
    registry = PluginHost.load([], lambda _: None).registry
    for to in ("text", "logprobs"):
        export_run(run, to, place / to, stages=["low"], rows="sampled", registry=registry)
    return place


def selection(run: Run) -> pl.DataFrame:
    return run.frame("verdicts", "select-low").collect().sort("sample_id")


def write(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def text(uuid: object, **more: Any) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "input": f"What is {uuid}?",
        "output": f"<think>hm</think>{uuid}",
        "domain": "sums",
        **more,
    }


def logprob(uuid: object, count: int = 2) -> dict[str, Any]:
    return {"sample_uuid": uuid, "token_ids": list(range(count)), "logprobs": [-0.25] * count}


def reasons(path: Path | None) -> list[tuple[str, int, str]]:
    assert path is not None
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(Path(row["file"]).name, row["row"], row["reason"]) for row in rows]


# -- there and back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_there_and_back_again_selects_the_same(tmp_path: Path, run: Run, exports: Path, suffix: str) -> None:
    made = import_responses([exports / "text", exports / "logprobs"], tmp_path / f"back.{suffix}")
    samples = run.frame("samples", "sample-low").collect()
    assert (made.rows, made.with_logprobs, made.set_aside) == (samples.height, samples.height, 0)
    recipe = make_recipe(questions={"system_prompt": "You are a helpful assistant."})
    pipeline = Pipeline(narrowed(recipe, [made.path]), make_registry(), console=Console(quiet=True))
    again = pipeline.run(tmp_path / "again", until="select")
    assert_frame_equal(selection(again), selection(run))
    assert selection(again)["kept"].any()
    columns = [
        "sample_id",
        "question_id",
        "text",
        "token_ids",
        "token_ends",
        "logprobs",
        "temperature",
        "seed",
        "engine",
    ]
    found = again.frame("samples", "sample-low").select(columns).collect().sort("sample_id")
    assert_frame_equal(found, samples.select(columns).sort("sample_id"))


def test_texts_alone_are_responses_without_logprobs(tmp_path: Path, exports: Path) -> None:
    made = import_responses([exports / "text"], tmp_path / "back.parquet")
    rows = pl.read_parquet(made.path)
    assert made.with_logprobs == 0
    assert rows["logprobs"].null_count() == rows["token_ids"].null_count() == rows.height
    assert set(rows["verifier"]) == {"miniature"}


# -- the join -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_log_probabilities_in_any_order_find_their_texts(tmp_path: Path, kind: str) -> None:
    uuids = [f"u{number}" for number in range(700)]
    texts = write(tmp_path / "texts.jsonl", [text(uuid) for uuid in uuids])
    table = pl.DataFrame([logprob(uuid, 1 + number % 5) for number, uuid in enumerate(uuids)]).sample(
        fraction=1, shuffle=True, seed=1
    )
    halves = [tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"]
    for path, rows in zip(halves, (table.head(300), table.tail(400)), strict=True):
        rows.write_parquet(path, row_group_size=50) if kind == "parquet" else rows.write_ndjson(path)
    made = import_responses([texts, *halves], tmp_path / "out.parquet")
    rows = pl.read_parquet(made.path)
    assert rows["sample_id"].to_list() == uuids
    assert rows["token_ids"].list.len().to_list() == [1 + number % 5 for number in range(700)]


def test_what_finds_no_partner_is_set_aside_with_its_reason(tmp_path: Path) -> None:
    texts = write(
        tmp_path / "texts.jsonl",
        [
            text("a"),
            text("b"),
            text("a"),
            text("c", output=""),
            "{torn",
            text("d"),
            {"uuid": "e"},
            text("f"),
            text("g"),
        ]
        + [text(f"x{number}") for number in range(9)],
    )
    logprobs = write(
        tmp_path / "logprobs.jsonl",
        [
            logprob("a"),
            logprob("f"),
            {**logprob("g"), "logprobs": [-1.0]},
            logprob("a"),
            logprob("alone"),
            "[]",
        ]
        + [logprob("d"), *(logprob(f"x{number}") for number in range(9))],
    )
    console = ListConsole()
    made = import_responses([texts, logprobs], tmp_path / "out.parquet", console)
    assert pl.read_parquet(made.path)["sample_id"].to_list()[:3] == ["a", "d", "f"]
    assert (made.rows, made.set_aside) == (12, 9)
    assert reasons(made.set_aside_path) == [
        ("logprobs.jsonl", 4, "uuid a is taken by row 1 of logprobs.jsonl"),
        ("logprobs.jsonl", 6, "wanted a JSON object, got list"),
        ("texts.jsonl", 2, "no log-probabilities have uuid b"),
        ("texts.jsonl", 3, "uuid a is taken by an earlier row"),
        ("texts.jsonl", 4, "no response: wanted a text that is not empty"),
        ("texts.jsonl", 5, "not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("texts.jsonl", 7, "no response: wanted a column output or response or text, got uuid"),
        ("texts.jsonl", 9, "2 token_ids and 1 logprobs; wanted as many of each"),
        ("logprobs.jsonl", 5, "no text has uuid alone"),
    ]
    assert "9 rows set aside, the first is row 4 of" in console.warned[0]
    import_responses([write(texts, [text("a")])], tmp_path / "out.parquet")
    assert not (tmp_path / "out.set-aside.jsonl").exists()  # it told of the file that is gone


def test_a_foreign_meta_is_passed_over(tmp_path: Path) -> None:
    metas: list[object] = [
        "not JSON", "[1]", None, {"temperature": "hot", "seed": -1, "model": 5}, {"temperature": 0.6, "top_p": 0},
    ]  # fmt: skip
    texts = write(tmp_path / "t.jsonl", [text(f"u{number}", meta=meta) for number, meta in enumerate(metas)])
    rows = pl.read_parquet(import_responses([texts], tmp_path / "o.parquet").path)
    assert rows["temperature"].cast(pl.Float64).round(3).to_list() == [None, None, None, None, 0.6]
    assert rows.select("seed", "top_p", "model").null_count().row(0) == (5, 5, 5)


def test_the_tag_that_the_teachers_prompt_wrote_comes_off(tmp_path: Path) -> None:
    meta = json.dumps({"think_opened": True})
    texts = write(tmp_path / "t.jsonl", [text("u", output="<think>\nhm</think>4", meta=meta)])
    rows = pl.read_parquet(import_responses([texts], tmp_path / "o.parquet").path)
    assert rows["text"].to_list() == ["hm</think>4"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a.jsonl": []}, "hold no response"),
        (
            {"a.jsonl": [{"uuid": 1}, text(2), {"uuid": 3}]},
            "2 of 3 texts can't be used, the first is row 1 of",
        ),
        ({"a.jsonl": [logprob("a")]}, "has no texts"),
        ({"a.csv.gz": []}, r"wanted a .jsonl or .parquet file"),
        ({"a.parquet": ["not Parquet"]}, "wanted a Parquet file"),
    ],
)
def test_files_of_another_kind_are_refused(
    tmp_path: Path, files: dict[str, list[object]], words: str
) -> None:
    paths = [write(tmp_path / name, rows) for name, rows in files.items()]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=words):
        import_responses(paths, tmp_path / "out.parquet")
    assert sorted(tmp_path.iterdir()) == before


def test_an_output_over_its_own_input_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [text("a")])
    with pytest.raises(InputError, match="is one of the files to import"):
        import_responses([path], path)


def test_only_the_rows_that_are_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "l.parquet"
    pl.DataFrame([logprob(f"u{number}") for number in range(1000)]).write_parquet(path)
    found = LogprobFiles([ValueFile(path, "response")])
    asked: list[list[int]] = []
    take = ValueFile.take
    monkeypatch.setattr(ValueFile, "take", lambda file, rows: asked.append(list(rows)) or take(file, rows))
    assert set(found.take(["u900", "u3", "u901"])) == {"u3", "u900", "u901"}
    assert asked == [[4], [901, 902]]

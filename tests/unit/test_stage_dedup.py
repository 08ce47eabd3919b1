"""Stage ``dedup``: duplicates within a question, contamination by evaluation questions."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.stage_run import run_recipe

from dasd.chat import ChatTokenizer
from dasd.errors import StoreError
from dasd.settings import DedupSettings, ModelSettings
from dasd.stages.dedup import contamination, duplicates
from dasd.stages.groups import ROW_WEIGHT, RowStream, question_groups, question_windows, resume_at


def rows(*pairs: tuple[str, list[int]]) -> pl.DataFrame:
    return pl.DataFrame(
        list(pairs), schema={"question_id": pl.String, "token_ids": pl.List(pl.UInt32)}, orient="row"
    )


LONG = list(range(100, 160))


def test_duplicates_count_within_a_question_only() -> None:
    near = [*LONG[:-1], 7]
    frame = rows(("a", LONG), ("b", LONG), ("a", [1, 2, 3]), ("a", LONG), ("a", near), ("b", [5, 6, 7]))
    assert duplicates(frame, DedupSettings()) == {3: ("exact_duplicate", 0), 4: ("near_duplicate", 0)}
    assert duplicates(frame, DedupSettings(near=False)) == {3: ("exact_duplicate", 0)}
    assert duplicates(frame, DedupSettings(exact=False)) == {
        3: ("near_duplicate", 0),
        4: ("near_duplicate", 0),
    }
    assert duplicates(frame, DedupSettings(exact=False, near=False)) == {}
    assert duplicates(frame.clear(), DedupSettings()) == {}


def test_groups_hold_whole_questions_and_every_row_once() -> None:
    frame = rows(*[(question, [1] * 10) for question in "aaabbccccde"])
    weight = 10 + ROW_WEIGHT

    def bounds(start: int = 0, **settings: int) -> list[tuple[int, int, bool]]:
        found = list(question_groups(frame.lazy(), start, **settings))
        assert frame.slice(start).equals(pl.concat([group.rows for group in found]))
        return [(group.unit.start, group.unit.stop, group.ends_window) for group in found]

    assert bounds() == [(0, 11, True)]
    assert bounds(size=4 * weight) == [(0, 5, False), (5, 9, False), (9, 11, True)]
    assert bounds(5, size=4 * weight) == [(5, 9, False), (9, 11, True)]
    assert bounds(size=1) == [(0, 3, False), (3, 5, False), (5, 9, False), (9, 10, False), (10, 11, True)]
    windows = [(0, 3, False), (3, 5, True), (5, 9, False), (9, 10, True), (10, 11, True)]
    assert bounds(size=1, window=2) == windows
    assert bounds(window=2) == [(0, 5, True), (5, 10, True), (10, 11, True)]
    assert [(unit.start, unit.stop) for unit in question_windows(frame.lazy(), 2)] == [
        (0, 5),
        (5, 10),
        (10, 11),
    ]
    assert list(question_groups(frame.clear().lazy())) == question_windows(frame.clear().lazy()) == []
    assert resume_at([group.unit.key for group in question_groups(frame.lazy(), size=1)][:2]) == 5
    assert resume_at([]) == 0


@pytest.mark.parametrize("part", [1, 2, 5, 11])
def test_groups_don_t_depend_on_the_files_that_rows_lie_in(tmp_path: Path, part: int) -> None:
    frame = rows(*[(question, [1] * 10) for question in "aaabbccccde"])
    for start in range(0, frame.height, part):
        frame.slice(start, part).write_parquet(tmp_path / f"{start:02d}.parquet")
    scanned = pl.scan_parquet(sorted(tmp_path.glob("*.parquet")))
    found = [group.unit.key for group in question_groups(scanned, size=3 * (10 + ROW_WEIGHT), window=3)]
    assert found == [
        "00000000-00000003",
        "00000003-00000009",
        "00000009-00000011",
    ]
    stream = RowStream(scanned, 1)
    assert [stream.take(count).height for count in (0, 4, 6)] == [0, 4, 6]
    with pytest.raises(StoreError, match="1 rows are wanted and 0 are left"):
        stream.take(1)


@pytest.fixture(scope="module")
def chat() -> ChatTokenizer:
    return ChatTokenizer.load(ModelSettings(model="dasd:mini-student"))


def test_contamination_compares_what_users_ask(chat: ChatTokenizer) -> None:
    def asked(identifier: str, text: str, split: str) -> dict[str, object]:
        turns = [{"role": "system", "content": "7 " * 30}, {"role": "user", "content": text}]
        return {"question_id": identifier, "messages": turns, "split": split}

    frame = pl.DataFrame(
        [
            asked("same", "1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 = ?", "train"),
            asked("other", "9 - 2 + 9 - 4 + 9 - 6 + 9 - 8 = ?", "train"),
            asked("held", "Begin: 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 = ?", "eval"),
        ]
    )
    settings = DedupSettings(contamination=0.5, contamination_ngram=6)
    found = contamination(frame.lazy(), settings, chat)
    assert list(found) == ["same"]
    assert 0.9 < found["same"] < 1, "its first token has no blank before it, unlike in the other question"
    assert contamination(frame.lazy(), DedupSettings(contamination=None), chat) == {}
    assert contamination(frame.lazy().filter(pl.col("split") == "train"), settings, chat) == {}


def test_a_contaminated_question_loses_its_responses(tmp_path: Path) -> None:
    asked = ["9 + 3 - 5 + 3 + 2 - 5 = ?", "1 + 2 + 3 - 1 - 1 + 4 = ?", "8 - 1 - 1 + 2 + 2 - 3 = ?"]
    train = tmp_path / "train.jsonl"
    train.write_text("\n".join(json.dumps({"question": text, "answer": "1"}) for text in asked))
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"question": f"2 + {asked[1]}", "answer": "2"}))
    run = run_recipe(
        tmp_path / "run",
        "dedup-low",
        questions={
            "train": [{"source": "file", "options": {"path": str(train)}}],
            "eval": [{"source": "file", "options": {"path": str(held)}}],
        },
        evaluation={"heldout": 0},
        filters={"answer": False},
        dedup={"contamination_ngram": 8},
    )
    samples = run.frame("samples", "sample-low").select("sample_id", "question_id")
    verdicts = run.frame("verdicts", "dedup-low").join(samples, on="sample_id").collect()
    lost = verdicts.filter(pl.col("reason") == "contaminated")
    contaminated = run.frame("questions").collect()["question_id"][1]
    assert lost["question_id"].unique().to_list() == [contaminated]
    assert lost.height == 3
    assert run.summary("dedup-low")["contaminated_questions"] == 1

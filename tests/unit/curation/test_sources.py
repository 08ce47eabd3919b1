"""Question sources: what becomes a question, what is set aside and why, what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from dasd.base.records import BadRow
from dasd.curation.sources.file import FileQuestions
from dasd.curation.sources.mini import MiniatureQuestions
from dasd.errors import InputError
from dasd.models.miniature import world
from dasd.recipe.question_settings import QuestionSource


def write(path: Path, rows: Sequence[object]) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def load(path: Path, split: str = "train", count: int | None = None, **options: Any) -> pl.DataFrame:
    source = QuestionSource(source="file", count=count, options={"path": str(path), **options})
    return FileQuestions().load(source, split, 0).rows


def load_with_bad(path: Path, **options: Any) -> tuple[pl.DataFrame, tuple[BadRow, ...]]:
    source = QuestionSource(source="file", options={"path": str(path), **options})
    read = FileQuestions().load(source, "train", 0)
    assert [each.path for each in read.set_aside] == [path] * bool(read.set_aside)
    return read.rows, read.set_aside[0].rows if read.set_aside else ()


@pytest.mark.parametrize("column", ["question", "prompt", "input", "problem"])
def test_a_text_is_a_users_turn(tmp_path: Path, column: str) -> None:
    rows = load(write(tmp_path / "own.jsonl", [{column: "1+1?", "answer": 2}]))
    assert rows["messages"].to_list() == [[{"role": "user", "content": "1+1?"}]]
    assert rows.select("answer", "verifier", "source", "domain", "split").row(0) == (
        "2",
        "math",
        "own",
        "general",
        "train",
    )


def test_a_chat_keeps_its_turns_and_columns_can_be_named(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    path = write(tmp_path / "q.jsonl", [{"talk": chat, "key": 7, "solution": "x", "area": "code"}])
    rows = load(path, question="talk", id="key", answer="solution", domain="area", verifier="exact")
    assert rows.row(0, named=True) == {
        "question_id": "7",
        "messages": chat,
        "domain": "code",
        "answer": "x",
        "verifier": "exact",
        "source": "q",
        "split": "train",
    }


def test_a_question_without_answer_has_no_verifier(tmp_path: Path) -> None:
    rows = load(
        write(tmp_path / "q.jsonl", [{"question": "why?"}, {"question": "so?", "verifier": "mine:1"}])
    )
    assert rows["verifier"].to_list() == [None, "mine:1"]


def test_ids_are_made_from_the_messages(tmp_path: Path) -> None:
    one = load(write(tmp_path / "a.jsonl", [{"question": "x"}, {"question": "y"}]))
    other = load(write(tmp_path / "b.jsonl", [{"prompt": "y"}]))
    assert one["question_id"][1] == other["question_id"][0] != one["question_id"][0]


def test_bad_rows_are_set_aside_with_number_and_reason(tmp_path: Path) -> None:
    good = [{"question": f"q{n}"} for n in range(9)]
    bad = [
        b"",
        b'{"question": ',
        b"\xff{}",
        b"[1]",
        {"text": "no question"},
        {"question": "  "},
        {"question": 5},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"question": "x", "answer": ["list"]},
    ]
    rows, aside = load_with_bad(write(tmp_path / "q.jsonl", [*good, *bad]))
    assert rows.height == 9
    assert [row.row for row in aside] == list(range(11, 20)), "the blank line 10 is no row"
    reasons = " ".join(row.reason for row in aside)
    for word in (
        "not JSON",
        "not UTF-8",
        "JSON object",
        "no question",
        "empty",
        "robot",
        "last message",
        "answer",
    ):
        assert word in reasons


def test_repeated_questions_and_taken_ids_are_set_aside(tmp_path: Path) -> None:
    rows, aside = load_with_bad(
        write(
            tmp_path / "q.jsonl",
            [{"id": "a", "question": "x"}, {"id": "b", "question": "x"}, {"id": "a", "question": "z"}],
        )
    )
    assert rows["question_id"].to_list() == ["a"]
    assert [row.row for row in aside] == [2, 3]
    assert "row 1" in aside[0].reason and "'a'" in aside[1].reason


@pytest.mark.parametrize("rows", [[], [b"", b""], [b"{"], [{"question": "x"}, b"{", b"{"]])
def test_a_file_that_is_mostly_bad_is_refused(tmp_path: Path, rows: list[object]) -> None:
    with pytest.raises(InputError, match=r"q\.jsonl"):
        load(write(tmp_path / "q.jsonl", rows))


def test_a_missing_file_and_a_torn_parquet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such question file"):
        load(tmp_path / "none.jsonl")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="Parquet"):
        load(tmp_path / "torn.parquet")


def test_parquet_reads_like_jsonl(tmp_path: Path) -> None:
    values = [{"question": f"q{n}", "answer": str(n)} for n in range(4)]
    pl.DataFrame(values).write_parquet(tmp_path / "q.parquet")
    parquet, jsonl = load(tmp_path / "q.parquet"), load(write(tmp_path / "q.jsonl", values))
    assert parquet.equals(jsonl)
    assert load(tmp_path / "q.parquet", count=2).height == 2


def test_holdout_deals_each_question_to_one_split(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", [{"question": f"q{n}"} for n in range(400)])
    train, evaluation = load(path, "train", holdout=0.25), load(path, "eval", holdout=0.25)
    assert train.height + evaluation.height == 400
    assert not set(train["question_id"]) & set(evaluation["question_id"])
    assert 60 < evaluation.height < 140


def test_miniature_questions_are_right_and_their_splits_apart() -> None:
    source = QuestionSource(source="miniature", count=50)
    train, evaluation = (MiniatureQuestions().load(source, split, 1).rows for split in ("train", "eval"))
    assert train.height == evaluation.height == 50
    assert not set(train["question_id"]) & set(evaluation["question_id"])
    for cell, answer in train.select("messages", "answer").iter_rows():
        assert sum(world.parse(cell[0]["content"])) == int(answer)
    assert (
        MiniatureQuestions().load(source, "train", 2).rows["question_id"].to_list()
        != train["question_id"].to_list()
    )


@pytest.mark.filterwarnings("ignore")
def test_reasoning_gym_names_what_its_scorer_needs() -> None:
    gym = pytest.importorskip("reasoning_gym")
    from dasd.curation.sources.gym import GymQuestions

    options: dict[str, Any] = {"dataset": "chain_sum", "config": {"min_terms": 2, "max_terms": 3}}
    source = QuestionSource(source="reasoning-gym", count=5, options=options)
    train, evaluation = (GymQuestions().load(source, split, 1).rows for split in ("train", "eval"))
    assert not set(train["question_id"]) & set(evaluation["question_id"])
    name, _, argument = train["verifier"][3].partition(":")
    wanted = json.loads(argument)
    assert name == "reasoning-gym"
    assert set(wanted) == {"dataset", "seed", "size", "index", "config"}
    made = gym.create_dataset(wanted["dataset"], seed=wanted["seed"], size=wanted["size"], **wanted["config"])
    assert made[wanted["index"]]["question"] == train["messages"][3][0]["content"]
    with pytest.raises(InputError, match="nope"):
        GymQuestions().load(QuestionSource(source="reasoning-gym", options={"dataset": "nope"}), "train", 0)

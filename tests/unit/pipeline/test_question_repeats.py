"""Questions that repeat one another or a benchmark's: set aside before anything is sampled, with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stage_run import ListConsole, ScriptedModel, run_recipe

from dasd import kernels
from dasd.pipeline.stages.decontamination import Overlap, contamination, nearest
from dasd.pipeline.work.repeats import near_repeats
from dasd.recipe.curation_settings import DedupSettings


def asked(identifier: str, text: str, source: str, split: str) -> dict[str, object]:
    turns = [{"role": "system", "content": "7 " * 30}, {"role": "user", "content": text}]
    return {"question_id": identifier, "source": source, "messages": turns, "split": split}


def found_in(rows: list[dict[str, object]], **settings: Any) -> dict[str, Overlap]:
    frame = pl.DataFrame(rows)
    train, benchmarks = (frame.filter(pl.col("split") == split) for split in ("train", "eval"))
    found = contamination(train, benchmarks, DedupSettings(**settings))
    return {train["question_id"][row]: overlap for row, overlap in found.items()}


def test_contamination_compares_what_users_ask() -> None:
    rows = [
        asked("same", "1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 = ?", "mine", "train"),
        asked("other", "9 - 2 + 9 - 4 + 9 - 6 + 9 - 8 = ?", "mine", "train"),
        asked("far", "5 + 5 - 3 + 2 - 1 = ?", "exam", "eval"),
        asked("held", "Begin: 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 = ?", "exam", "eval"),
    ]
    found = found_in(rows, contamination_ngram=6)
    assert list(found) == ["same"]
    why = found["same"]
    assert why.share == 1
    assert (why.benchmark, why.question_id) == ("exam", "held")
    assert why.question_share == pytest.approx(why.share)
    assert found_in(rows, contamination=None) == {}
    assert found_in(rows[:2], contamination_ngram=6) == {}


def test_the_nearest_question_is_named_beside_the_share_of_all() -> None:
    rows = [
        asked("both", "1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 - 9 - 7 - 5 - 3 = ?", "mine", "train"),
        asked("first", "1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 1", "exam", "eval"),
        asked("second", "2 - 9 - 7 - 5 - 3 = ?", "exam", "eval"),
    ]
    (why,) = found_in(rows, contamination_ngram=4).values()
    assert why.question_id == "first"
    assert 0.5 < why.question_share < why.share


@pytest.mark.parametrize("words", [1, 2, 13])
def test_ngrams_are_the_same_where_all_their_words_are(words: int) -> None:
    """Against the definition, with words in common up to one place and none behind it."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    held = [f"w{letter}" for letter in letters]
    train = [[*held[:shared], *(f"x{letter}" for letter in letters[shared:])] for shared in range(20, 26)]
    rows = [asked(f"{place}", " ".join(text), "mine", "train") for place, text in enumerate(train)]
    found = found_in([*rows, asked("held", " ".join(held), "exam", "eval")], contamination_ngram=words)
    for place, text in enumerate(train):
        grams = len(text) - words + 1
        same = sum(text[at : at + words] == held[at : at + words] for at in range(grams))
        assert (str(place) in found) == (same / grams > 0.5)
        if str(place) in found:
            assert found[str(place)].share == pytest.approx(same / grams)


@pytest.mark.parametrize(("questions", "dropped"), [(10, 0), (9, 9)])
def test_a_template_that_a_set_repeats_is_no_overlap(questions: int, dropped: int) -> None:
    """The same instruction before every question of both sets; the questions themselves differ."""
    told = "Begin: 1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 8 + 7 + 6 + 5 + 4 + 3 + 2 + 1"
    train = [asked(f"t{n}", f"{told} {n} - 9 - 9 = ?", "mine", "train") for n in range(questions)]
    held = [asked(f"e{n}", f"{told} {n} + 3 = ?", "exam", "eval") for n in range(questions)]
    assert len(found_in([*train, *held], contamination_ngram=6)) == dropped
    same = [asked("same", f"{told} 4 + 4 + 4 - 9 + 2 + 7 + 1 = ?", "mine", "train")]
    same_held = [asked("same-held", f"{told} 4 + 4 + 4 - 9 + 2 + 7 + 1 = ?", "exam", "eval")]
    found = found_in([*train, *same, *held, *same_held], contamination_ngram=6)
    assert "same" in found
    assert found["same"].question_id == "same-held"


@given(
    st.lists(st.lists(st.integers(0, 2), max_size=12), min_size=1, max_size=6),
    st.lists(st.lists(st.integers(0, 2), max_size=12), min_size=1, max_size=4),
)
def test_the_nearest_rows_share_is_the_kernels_for_that_row_alone(
    rows: list[list[int]], reference: list[list[int]]
) -> None:
    tokens, held = (pl.Series(value, dtype=pl.List(pl.UInt32)) for value in (rows, reference))
    over = kernels.overlap(tokens, held, 1) > 0
    for row, (number, share) in zip(
        tokens.filter(over).to_list(), nearest(tokens.filter(over), held), strict=True
    ):
        alone = [
            kernels.overlap(pl.Series([row], dtype=pl.List(pl.UInt32)), held[at : at + 1], 1).item()
            for at in range(len(held))
        ]
        assert share == pytest.approx(max(alone), abs=1e-6)
        assert alone[number] == max(alone)


SUMS = ["9 + 3 - 5 + 3 + 2 - 5 = ?", "1 + 2 + 3 - 1 - 1 + 4 = ?", "8 - 1 - 1 + 2 + 2 - 3 = ?"]


def write(path: Path, questions: list[str]) -> dict[str, Any]:
    rows = [
        {"question": text, "answer": "1", "id": f"{path.stem}-{n}"} for n, text in enumerate(questions, 1)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return {"source": "file", "options": {"path": str(path)}}


def test_what_a_benchmark_holds_is_set_aside_before_anything_is_sampled(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", SUMS)
    held = write(tmp_path / "held.jsonl", [f"2 + {SUMS[1]}"])
    exam = write(tmp_path / "exam.jsonl", [f"3 + {SUMS[2]}"])
    with (tmp_path / "exam.jsonl").open("a") as file:
        file.write("{broken")
    console = ListConsole()
    ScriptedModel.calls = 0
    run = run_recipe(
        tmp_path / "run",
        "sample-high",
        console,
        questions={"train": [train], "eval": [held]},
        evaluation={"heldout": 0},
        dedup={"contamination_ngram": 8, "against": [exam]},
    )
    assert ScriptedModel.calls == 6, "one question, three candidates, two temperatures"
    questions = run.frame("questions").collect()
    assert questions["question_id"].to_list() == ["train-1", "held-1"]
    assert run.summary("questions")["dropped"] == {"contaminated": 2}
    lines = [
        json.loads(line) for line in (run.directory / "set-aside-questions.jsonl").read_text().splitlines()
    ]
    assert lines[0]["file"].endswith("exam.jsonl") and lines[0]["row"] == 2
    assert [(line["question_id"], line["place"]) for line in lines[1:]] == [
        ("train-2", "train.jsonl, row 2"),
        ("train-3", "train.jsonl, row 3"),
    ]
    assert "100% in question held-1 of held" in lines[1]["detail"]
    assert "question exam-1 of exam" in lines[2]["detail"]
    (told,) = (text for text in console.warned if "before sampling" in text)
    assert "2 training questions" in told and "2 overlap with benchmark questions" in told


STORY = (
    "A baker sells loaves on Monday, Tuesday and Thursday, and gives what is left to the school beside the "
    "church. On Monday he bakes 60 loaves and sells 41 of them; how many does the school get?"
)


def alike(*texts: str, answers: list[str] | None = None, system: str = "") -> list[tuple[int, int]]:
    turns = [[{"role": "user", "content": text}] for text in texts]
    if system:
        turns[-1].insert(0, {"role": "system", "content": system})
    frame = pl.DataFrame(
        {"messages": turns, "source": "mine", "answer": answers or ["19"] * len(texts)},
        schema_overrides={"answer": pl.String},
    )
    return [(repeat.row, repeat.of) for repeat in near_repeats(frame, 0.8, 5)]


def test_near_duplicates_of_questions() -> None:
    reworded = STORY.replace("A baker", "One baker").replace("get?", "get")
    assert alike(STORY, "Why?", reworded, f"{STORY} Show each step.") == [(2, 0), (3, 0)]
    assert alike(STORY, STORY.replace("60", "80")) == [], "another number asks another question"
    assert alike(STORY, reworded, answers=["19", "20"]) == []
    assert alike(STORY, reworded, system="Answer in French.") == []
    assert alike("what is two and two", "What is two and two ?", "what is  TWO and two") == [(2, 0)]


def test_questions_of_one_template_are_not_alike() -> None:
    """A procedural set: one word of forty differs, and so do most answers, but not all."""
    told = STORY.replace("60", "sixty").replace("41", "forty")
    names = [f"{a}{b}" for a in ("An", "Be", "Cai", "Do") for b in ("na", "rt", "ro")]
    assert alike(*(told.replace("baker", name) for name in names), answers=["yes"] * 12) == []
    assert alike(*(told.replace("baker", name) for name in names[:2]), answers=["yes"] * 2) == [(1, 0)]


def test_a_run_tells_what_a_question_repeats_and_samples_it_once(tmp_path: Path) -> None:
    told = "Solve this sum step by step and say the answer at the end, please:"
    texts = [f"{told} {SUMS[0]}", SUMS[1], f"{told} so, {SUMS[0]}"]
    train = write(tmp_path / "train.jsonl", texts)
    again = write(tmp_path / "again.jsonl", [SUMS[1]])
    held = write(tmp_path / "held.jsonl", [SUMS[2]])
    section = {"train": [train, again], "eval": [held]}
    run = run_recipe(tmp_path / "run", "questions", questions=section, dedup={"near_questions": 0.6})
    assert run.summary("questions")["dropped"] == {"exact_duplicate": 1, "near_duplicate": 1}
    aside = run.frame("set_aside").collect()
    assert aside["detail"][0] == "the same as question train-2 (train.jsonl, row 2)"
    assert aside["detail"][1].endswith("% like question train-1 (train.jsonl, row 1)")
    off = run_recipe(tmp_path / "off", "questions", questions=section, dedup={"near_questions": None})
    assert off.summary("questions")["train"] == 3


def test_responses_from_files_to_a_question_that_is_set_aside_are_so_too(tmp_path: Path) -> None:
    train = write(tmp_path / "train.jsonl", SUMS[:2])
    held = write(tmp_path / "held.jsonl", [f"2 + {SUMS[1]}"])
    responses = [{"question": text, "text": "<think>a</think>1"} for text in SUMS[:2]]
    responses += [{"question_id": "train-1", "text": "<think>b</think>1"}]
    (tmp_path / "low.jsonl").write_text("\n".join(map(json.dumps, responses)) + "\n")
    ScriptedModel.calls = 0
    run = run_recipe(
        tmp_path / "run",
        "sample-low",
        questions={"train": [train], "eval": [held]},
        evaluation={"heldout": 0},
        dedup={"contamination_ngram": 8},
        stages=[{"name": "low", "temperature": 0.6, "samples": str(tmp_path / "low.jsonl")}],
    )
    assert ScriptedModel.calls == 2, "the teacher scores the two others"
    assert run.frame("samples").collect()["question_id"].to_list() == ["train-1", "train-1"]
    line = json.loads((run.directory / "set-aside-sample-low.jsonl").read_text())
    assert line["row"] == 2 and line["reason"].startswith("its question is set aside: contaminated, 100%")

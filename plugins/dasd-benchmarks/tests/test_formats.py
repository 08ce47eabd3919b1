"""Files as they come from the hub: columns, answers, ids, prompts, checksums, counts, rows that can't be used."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from benchmark_rows import (
    aime_h4,
    aime_math_ai,
    aime_maxwell,
    aime_opencompass,
    csv,
    gpqa,
    jsonl,
    load,
    load_all,
    math500,
    parquet,
    prompt,
)

from dasd.api import InputError, RecipeError
from dasd.plugins.host import PluginHost

ANSWERS = [str(2 * n + 1) for n in range(1, 31)]


def test_attempts_and_tokens_are_the_reports() -> None:
    registry = PluginHost.load(["benchmarks"]).registry
    tokens = {}
    for name in registry.names("questions"):
        component = registry.component("questions", name)
        if component.owner.distribution == "dasd-benchmarks":
            assert (component.attempts, component.argument, component.evaluator) == (64, "path", None)
            tokens[name] = component.max_tokens
    assert tokens.pop("aime24") == tokens.pop("aime25") == 102_400
    assert tokens == dict.fromkeys(
        ["gpqa-diamond", "livecodebench-v5", "livecodebench-v6", "math-500", "humaneval"], 81_920
    )


def test_aime_in_the_columns_of_every_data_set(tmp_path: Path) -> None:
    h4 = parquet(tmp_path / "data" / "train-00000-of-00001.parquet", aime_h4())
    rows, loaded = load("aime24", path=tmp_path)
    assert rows["answer"].to_list() == ANSWERS
    assert rows["question_id"][0] == "aime24/60"
    assert set(rows["verifier"]) == {"number"}
    assert set(rows["source"]) == {"aime24"}
    assert prompt(rows).startswith("What is 1 + 2?")
    assert prompt(rows).endswith("put your final answer within \\boxed{}.")
    file = loaded.files[0]
    assert (file.name, file.rows, file.repository) == ("data/train-00000-of-00001.parquet", 30, "")
    assert file.sha256 == hashlib.sha256(h4.read_bytes()).hexdigest()
    assert [question_id for question_id, _ in loaded.questions] == rows["question_id"].to_list()

    rows, _ = load("aime24", path=parquet(tmp_path / "aime_2024_problems.parquet", aime_maxwell()))
    assert (rows["question_id"][0], rows["answer"].to_list()) == ("2024-I-1", ANSWERS)

    rows, _ = load("aime25", path=jsonl(tmp_path / "test.jsonl", aime_math_ai()))
    assert (rows["question_id"][0], rows["answer"].to_list()) == ("aime25/0", ANSWERS)


def test_a_benchmark_in_two_files_is_read_in_their_order(tmp_path: Path) -> None:
    rows = aime_opencompass()
    jsonl(tmp_path / "aime2025-I.jsonl", rows[:15])
    jsonl(tmp_path / "aime2025-II.jsonl", rows[15:])
    found, loaded = load("aime25", path=tmp_path)
    assert found["answer"].to_list() == ANSWERS
    assert [(file.name, file.rows) for file in loaded.files] == [
        ("aime2025-I.jsonl", 15),
        ("aime2025-II.jsonl", 15),
    ]
    assert found["question_id"].n_unique() == 30
    again, _ = load("aime25", path=tmp_path, files=["aime2025-II.jsonl"], expected=15)
    assert again["question_id"].to_list() == found["question_id"].to_list()[15:]


def test_aime_of_other_years_is_left_out_and_its_answers_are_whole_numbers(tmp_path: Path) -> None:
    mixed = jsonl(tmp_path / "mixed.jsonl", [*aime_h4(2023), *aime_h4(2024)])
    assert load("aime24", path=mixed)[0].height == 30
    with pytest.raises(InputError, match=r"none of the 60 rows .* is a question of AIME 2025"):
        load("aime25", path=mixed)
    written = ["\\boxed{7}", "7^\\circ", "$007$", 7.0]
    rows = [{"id": n, "problem": f"p{n}", "solution": "", "answer": a} for n, a in enumerate(written)]
    boxed = {"id": 9, "problem": "p9", "solution": "so \\boxed{12} or rather \\boxed{7}"}
    assert (
        load("aime24", path=jsonl(tmp_path / "a.jsonl", [*rows, boxed]), expected=5)[0]["answer"].to_list()
        == ["7"] * 5
    )


def test_rows_that_cannot_be_used_are_set_aside_by_number(tmp_path: Path) -> None:
    rows = aime_math_ai()
    path = jsonl(
        tmp_path / "test.jsonl",
        [*rows[:27], {**rows[27], "answer": "x + 1"}, rows[3], "{broken", {**rows[28], "problem": " "}],
    )
    read = load_all("aime25", path=path, expected=0)
    assert read.rows.height == 27
    (file,) = read.set_aside
    assert [row.row for row in file.rows] == [28, 29, 30, 31]
    reasons = [row.reason for row in file.rows]
    assert "whole number from 0 to 999, got 'x + 1'" in reasons[0]
    assert "'aime25/3' is taken by row 4 of test.jsonl" in reasons[1]
    assert "not JSON" in reasons[2]
    assert "column problem or question" in reasons[3]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "other.jsonl", [{"text": "a"}, {"text": "b"}, aime_h4()[0]])
    with pytest.raises(
        InputError, match=r"aime24: 2 of 3 rows .*other\.jsonl, row 1: .*the row's columns: text"
    ):
        load("aime24", path=path)
    with pytest.raises(InputError, match=r"wanted one of \.jsonl"):
        load("aime24", path=csv(tmp_path / "a.txt", aime_h4()))
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(parquet(tmp_path / "whole.parquet", aime_h4()).read_bytes()[:500])
    with pytest.raises(InputError, match=r"torn\.parquet can't be read"):
        load("aime24", path=torn)
    short = tmp_path / "short.jsonl.gz"
    short.write_bytes(gzip.compress(json.dumps(aime_h4()).encode() * 50)[:200])
    with pytest.raises(InputError, match=r"short\.jsonl\.gz can't be read"):
        load("aime24", path=short)


def test_the_number_of_questions_is_held(tmp_path: Path) -> None:
    path = parquet(tmp_path / "aime.parquet", aime_h4()[:28])
    with pytest.raises(InputError, match=r"holds 28 questions; wanted 30.*`expected`"):
        load("aime24", path=path)
    assert load("aime24", path=path, expected=28)[0].height == 28
    assert load("aime24", path=path, expected=0)[0].height == 28
    first, loaded = load("aime24", path=path, count=4)
    assert first["question_id"].to_list() == [f"aime24/{n}" for n in range(60, 64)]
    assert loaded.files[0].rows == 28


def test_another_file_than_the_pinned_one_is_refused_with_both_sums(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "test.jsonl", math500())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load("math-500", path=path, expected=5, sha256=digest.upper())[0].height == 5
    jsonl(path, [{**math500(1)[0], "answer": "2"}, *math500()[1:]])
    changed = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=f"has the SHA-256 {changed}; wanted {digest}"):
        load("math-500", path=path, expected=5, sha256=digest)
    with pytest.raises(InputError, match="2 sums for 1 files"):
        load("math-500", path=path, expected=5, sha256=[digest, digest])
    with pytest.raises(RecipeError, match="64 hexadecimal digits"):
        load("math-500", path=path, sha256="abc")


def test_what_lies_in_a_directory_is_found_or_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no data file; wanted test\.jsonl of HuggingFaceH4/MATH-500"):
        load("math-500", path=tmp_path)
    mine = tmp_path / "mine.jsonl.gz"
    mine.write_bytes(gzip.compress("\n".join(map(json.dumps, math500())).encode()))
    rows, _ = load("math-500", path=tmp_path, expected=5)
    assert rows["question_id"][0] == "test/prealgebra/1.json"
    assert (rows["answer"][0], rows["verifier"][0]) == ("\\frac{1}{2}", "math")
    (tmp_path / "other.json").write_text(json.dumps(math500(3)))
    with pytest.raises(InputError, match=r"holds mine\.jsonl\.gz, other\.json; wanted"):
        load("math-500", path=tmp_path)
    assert load("math-500", path=tmp_path, files="other.json", expected=3)[0].height == 3
    with pytest.raises(
        InputError, match=r"nowhere isn't there; wanted test\.jsonl of HuggingFaceH4/MATH-500"
    ):
        load("math-500", path=tmp_path / "nowhere")


def test_a_benchmark_is_not_trained_on(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="math-500: a benchmark is evaluated on, not trained on"):
        load("math-500", path=jsonl(tmp_path / "test.jsonl", math500()), split="train")


def test_gpqa_shuffles_by_seed_and_the_letter_follows(tmp_path: Path) -> None:
    path = csv(tmp_path / "gpqa_diamond.csv", gpqa(40))
    rows, loaded = load("gpqa-diamond", path=path, expected=40, seed=7)
    assert loaded.selection == "options shuffled with seed 7"
    for number, row in enumerate(rows.iter_rows(named=True), 1):
        name, _, argument = row["verifier"].partition(":")
        options = json.loads(argument)
        assert name == "choice"
        assert options["ABCD".index(row["answer"])] == f"{number} s"
        shown = row["messages"][0]["content"]
        assert shown.endswith(
            "\n".join(f"{letter}) {text}" for letter, text in zip("ABCD", options, strict=True))
        )
        order = loaded.questions[number - 1][1].removeprefix("order ")
        original = [f"{number} s", f"{number + 1} s", f"{number + 2} s, or so", f"{number + 3} s"]
        assert [original[int(place)] for place in order] == options
    assert set(rows["answer"]) == set("ABCD")
    assert load("gpqa-diamond", path=path, expected=40, seed=7)[0].equals(rows)
    assert load("gpqa-diamond", path=path, expected=40, seed=1, shuffle_seed=7)[0].equals(rows)
    assert not load("gpqa-diamond", path=path, expected=40, seed=8)[0].equals(rows)
    assert rows["question_id"][0] == "rec001"
    # The order is the question's own: it doesn't depend on what else is in the file, or on which option came first.
    swapped = {**gpqa(2)[1], "Incorrect Answer 1": "5 s", "Incorrect Answer 3": "3 s"}
    alone, _ = load("gpqa-diamond", path=jsonl(tmp_path / "one.jsonl", [swapped]), expected=1, seed=7)
    assert alone["messages"].to_list() == rows["messages"].to_list()[1:2]


@pytest.mark.parametrize(("answer", "right"), [("B", "two"), (3, "four"), ("one", "one")])
def test_gpqa_as_a_list_of_options(tmp_path: Path, answer: object, right: str) -> None:
    row = {"id": 4, "question": "Which?", "choices": ["one", "two", "three", "four"], "answer": answer}
    rows, _ = load("gpqa-diamond", path=jsonl(tmp_path / "g.jsonl", [row]), expected=1)
    options = json.loads(rows["verifier"][0].partition(":")[2])
    assert options["ABCD".index(rows["answer"][0])] == right


def test_options_that_look_like_letters_are_graded_by_letter_alone(tmp_path: Path) -> None:
    row = {"id": 4, "question": "Which?", "choices": ["A", "B", "C", "none"], "answer": "none"}
    rows, _ = load("gpqa-diamond", path=jsonl(tmp_path / "g.jsonl", [row]), expected=1)
    assert rows["verifier"].to_list() == ["choice"]


def test_templates_are_checked_and_latex_is_left_alone(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "test.jsonl", math500())
    template = "{question} Box it: \\boxed{answer}, \\frac{a}{b}, {1}"
    rows, _ = load("math-500", path=path, expected=5, prompt=template)
    assert prompt(rows) == "Write $\\frac{1}{2}$ in lowest terms. Box it: \\boxed{answer}, \\frac{a}{b}, {1}"
    with pytest.raises(RecipeError, match=r"lacks \{question\}"):
        load("math-500", path=path, prompt="Solve it.")
    with pytest.raises(RecipeError, match=r"has \{problem\}, which is no field"):
        load("math-500", path=path, prompt="{question} {problem}")
    with pytest.raises(RecipeError, match=r"lacks \{options\}"):
        load("gpqa-diamond", path=path, prompt="{question}")

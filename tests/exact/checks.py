"""Checks of the stages against closed forms; each raises AssertionError where code does something else."""

from __future__ import annotations

from collections import Counter
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.exact.arithmetic import RANKS, by_hand, chosen, excess, in_words
from tests.exact.engine import draw, prompt_of, table_of
from tests.exact.models import VOCABULARIES, Models, asked_words
from tests.exact.tables import END, Table, kl_moments, log_of, sequences, tempered
from tests.exact.worlds import STUDENT, TEACHER, run_world

from dasd.store import Run

__all__ = [
    "check_drawn_kl",
    "check_evaluation",
    "check_even_kl",
    "check_mixed",
    "check_selection",
    "check_sentences",
    "check_temperature",
]

FAR = 5.0
"""Standard deviations that a right result stays within; seeds are fixed, so this is decided once."""


def tables() -> tuple[Table, Table]:
    """Teacher and student of the worlds below."""
    return table_of(TEACHER), table_of(STUDENT)


def numbers(run: Run, stage: str) -> pl.DataFrame:
    """SAMPLES of a stage with the number of each row's question."""
    rows = run.frame("samples", stage).collect()
    return rows.with_columns(number=pl.col("question_id").str.slice(-4).cast(pl.Int64))


def kl_of(run: Run) -> dict[str, tuple[float, float, int]]:
    """Value, standard error and rows of the KL before training, for all and by domain."""
    rows = run.frame("metrics").collect().filter(pl.col("metric") == "kl_nats_per_response")
    return {
        group: (value, error, n)
        for group, value, error, n in rows.select("group", "value", "standard_error", "n").iter_rows()
    }


def check_even_kl(place: Path, models: Models) -> None:
    """Held-out responses as often as their probability says: the estimate is the KL itself."""
    teacher, student = tables()
    questions = {"eval": [{"source": "numbers", "count": 128, "options": {"first": 2}}]}
    run = run_world(
        place, models, "evaluate-before", questions=questions, teacher={"options": {**TEACHER, "even": 64}}
    )
    samples = numbers(run, "sample-heldout")
    for parity in (0, 1):
        mine = samples.filter(pl.col("number") % 2 == parity)["text"].to_list()
        wanted = {"".join(w[:-1]): p * 64 for w, p in sequences(teacher, prompt_of(parity)).items()}
        assert Counter(mine) == wanted, "responses are not as often as their probability"
    exact = [kl_moments(teacher, student, prompt_of(parity))[0] for parity in (0, 1)]
    found = kl_of(run)
    for group, kl in (("even", exact[0]), ("odd", exact[1]), ("all", sum(exact) / 2)):
        assert found[group][0] == pytest.approx(kl, abs=1e-6), "the KL is another"


def check_drawn_kl(place: Path, models: Models) -> None:
    """Drawn responses: the estimate lies near the KL, and its error is what the moments say."""
    teacher, student = tables()
    questions = {"eval": [{"source": "numbers", "count": 1200, "options": {"first": 2}}]}
    found = kl_of(run_world(place, models, "evaluate-before", questions=questions))
    for parity, group in enumerate(("even", "odd")):
        mean, variance, fourth = kl_moments(teacher, student, prompt_of(parity))
        value, error, n = found[group]
        assert n == 600, "responses are missing from the KL"
        assert abs(value - mean) < 4 * sqrt(variance / n), "the KL is another"
        spread = sqrt((fourth - variance**2) / n)  # of the sample's variance
        assert abs(error**2 * n - variance) < 4 * spread, "the KL's error is another"


def check_sentences(place: Path, models: Models, *, split: bool = False, beta: float = 0.1) -> None:
    """Every response there is: log-probabilities, sentence probabilities, kinds, counts."""
    teacher = table_of(TEACHER)
    options = {**STUDENT, "tokens": "split" if split else "joined"}
    student = table_of(options)
    whole = [list(sequences(teacher, prompt_of(parity))) for parity in (0, 1)]
    run = run_world(
        place,
        models,
        "select-high",
        teacher={"options": {**TEACHER, "each": True}},
        student={"model": str(models.other if split else models.student), "options": options},
        sampling={"candidates": max(map(len, whole))},
        select={"beta": beta},
    )
    samples = numbers(run, "sample-high")
    for parity in (0, 1):
        texts = samples.filter(pl.col("number") == parity)["text"].to_list()
        assert texts[: len(whole[parity])] == ["".join(words[:-1]) for words in whole[parity]], "other texts"
        assert any("xo. Zu " in text for text in texts), "no word straddles the end of a sentence"
    sentences = run.frame("sentences", "select-high").collect().partition_by("sample_id", as_dict=True)
    details = dict(run.frame("verdicts", "select-high").select("sample_id", "detail").collect().iter_rows())
    counted: Counter[str] = Counter()
    for sample_id, number, text in samples.select("sample_id", "number", "text").iter_rows():
        wanted, found = by_hand(number, text, teacher, student), sentences[(sample_id,)]
        assert list(found.select("start", "end").iter_rows()) == wanted.spans, "other sentences"
        assert found["p_teacher"].to_list() == pytest.approx(wanted.teacher, rel=1e-5), "another p_teacher"
        assert found["p_student"].to_list() == pytest.approx(wanted.student, rel=1e-5), "another p_student"
        assert found["kind"].to_list() == wanted.kinds(beta), "other kinds of sentences"
        count = wanted.kinds(beta).count("teacher")
        assert details[sample_id] == f"divergence {count}", "another count of Teacher sentences"
        counted.update(wanted.kinds(beta))
    assert min(counted[kind] for kind in ("teacher", "student", "common")) > 10, "a world without variety"
    summary = run.summary("select-high")
    for kind in ("teacher", "student", "common"):
        exact = pytest.approx(counted[kind] / counted.total())
        assert summary[f"{kind}_share"] == exact, "other shares in the summary"


def check_selection(place: Path, models: Models, selector: str = "divergence", beta: float = 0.1) -> None:
    """Kept is exactly what brute force over the exact probabilities keeps."""
    teacher, student = tables()
    run = run_world(
        place,
        models,
        "select-high",
        questions={"train": [{"source": "numbers", "count": 40}]},
        sampling={"candidates": 6},
        select={"selector": selector, "beta": beta},
    )
    rows = list(numbers(run, "sample-high").select("sample_id", "number", "text").iter_rows())
    kept = run.frame("verdicts", "select-high").filter(pl.col("kept")).collect()["sample_id"]
    wanted = {name: chosen(rows, name, beta, teacher, student) for name in RANKS}
    assert all(wanted[name] != wanted[selector] for name in RANKS if name != selector), "selectors agree here"
    assert set(kept) == wanted[selector], "other candidates are kept"
    assert len(kept) == 40, "not one a question is kept"


def check_temperature(place: Path, models: Models, temperature: float = 0.6, top_p: float = 1.0) -> None:
    """Responses are drawn from p**(1/T) / Z word by word; their log-probabilities are those at T = 1."""
    teacher = table_of(TEACHER)
    run = run_world(
        place,
        models,
        "sample-high",
        sampling={"candidates": 800, "top_p": top_p},
        stages=[{"name": "high", "kind": "off-policy", "temperature": temperature}],
    )
    for number, rows in numbers(run, "sample-high").group_by("number"):
        prompt = prompt_of(int(str(number[0])))
        expected: dict[str, float] = {}
        for words in sequences(teacher, prompt):
            p = 800.0
            for place_, word in enumerate(words):
                p *= tempered(teacher.next(prompt, words[:place_]), temperature, top_p).get(word, 0.0)
            expected["".join(words[:-1])] = p
            mine = rows.filter(pl.col("text") == "".join(words[:-1]))["logprobs"].to_list()
            raw = pytest.approx(log_of(teacher, prompt, words), abs=1e-6)
            assert all(logprobs == raw for logprobs in mine), "other log-probabilities"
        assert excess(Counter(rows["text"]), expected) < FAR, "another distribution"


def check_evaluation(place: Path, models: Models, temperature: float = 0.6) -> None:
    """The evaluator's answers are drawn from p**(1/T) / Z word by word, T that of the evaluation."""
    student = table_of(TEACHER)
    attempts = 800
    run = run_world(
        place,
        models,
        "evaluate-before",
        student={"options": TEACHER},
        questions={"eval": [{"source": "numbers", "count": 2, "options": {"first": 2, "answer": "none"}}]},
        evaluation={
            "evaluator": "verifier",
            "attempts": attempts,
            "temperature": temperature,
            "max_tokens": 60,
            "heldout": 0,
        },
    )
    rows = run.frame("eval", "evaluate-before").collect()
    for number, mine in rows.group_by(number=pl.col("question_id").str.slice(-4).cast(pl.Int64)):
        prompt = prompt_of(int(str(number[0])))
        expected: dict[str, float] = {}
        for words in sequences(student, prompt):
            p = float(attempts)
            for place_, word in enumerate(words):
                p *= tempered(student.next(prompt, words[:place_]), temperature, 1.0).get(word, 0.0)
            expected["".join(words[:-1])] = p
        assert mine.height == attempts, "answers are missing"
        assert excess(Counter(mine["text"]), expected) < FAR, "answers of another distribution"


MIXED_TEACHER = {"table": "teacher", "bits": 3, "depth": 14}
MIXED_STUDENT = {"table": "student", "bits": 4, "depth": 40, "floor": 1}


def check_mixed(place: Path, models: Models, *, train_prefix: bool = True) -> None:
    """Who is capped, where the cut falls, how the teacher goes on, and what is trained of it."""
    run = run_world(
        place,
        models,
        "train-mixed",
        teacher={"options": MIXED_TEACHER},
        student={"options": MIXED_STUDENT},
        questions={"train": [{"source": "numbers", "count": 600}]},
        sampling={"candidates": 1},
        stages=[
            {"name": "high", "kind": "off-policy", "temperature": 1.0},
            {"name": "mixed", "kind": "mixed-policy", "temperature": 1.0, "train_prefix": train_prefix},
        ],
    )
    teacher, student = table_of(MIXED_TEACHER), table_of(MIXED_STUDENT)
    lengths = dict(numbers(run, "sample-high").select("number", pl.col("token_ids").list.len()).iter_rows())
    rows = numbers(run, "mix-mixed")
    answers = {}
    for row in rows.filter(pl.col("stage") == "mix-mixed-student").iter_rows(named=True):
        cap = ceil(1.5 * lengths[row["number"]])
        whole = draw(student, prompt_of(row["number"]), (), 99, row["seed"], 1.0, 1.0)
        assert row["finish_reason"] == ("length" if len(whole) > cap else "stop"), "another cap"
        assert row["text"] == "".join(word for word in whole[:cap] if word != END), "another cap"
        if len(whole) > cap:
            answers[row["number"]] = tuple(whole[:cap])
    assert len(answers) > 100, "too few drift"
    continued = {}
    for row in rows.filter(pl.col("stage") == "mix-mixed").iter_rows(named=True):
        mine = answers[row["number"]]
        given = 0
        while len("".join(mine[:given])) < row["prefix_end"]:
            given += 1
        prefix = row["text"].encode()[: row["prefix_end"]].decode()
        assert prefix == "".join(mine[:given]), "the prefix isn't what the student wrote, up to a whole word"
        new = [
            *in_words(row["text"][row["prefix_end"] :], teacher.words),
            *([END] if row["finish_reason"] == "stop" else []),
        ]
        exact = log_of(teacher, prompt_of(row["number"]), [*mine[:given], *new])
        assert row["logprobs"] == pytest.approx(exact, abs=1e-5), "the teacher's log-probabilities are others"
        continued[row["number"]] = (given, len(mine), tuple(new))
    assert continued.keys() == answers.keys(), "others than the capped ones are continued"
    _check_cuts(Counter((n, given) for given, n, _ in continued.values()))
    _check_continuations(teacher, answers, continued)
    _check_trained(run, rows, answers, continued, train_prefix=train_prefix)


def _check_cuts(cuts: Counter[tuple[int, int]]) -> None:
    """Of n words each number k with n / 2 < k < n stays equally often."""
    expected: dict[tuple[int, int], float] = {}
    for n in {n for n, _ in cuts}:
        places = [k for k in range(1, n) if 2 * k > n]
        answers = sum(count for (m, _), count in cuts.items() if m == n)
        expected |= {(n, k): answers / len(places) for k in places}
    assert all(expected.get(cut) for cut in cuts), "a cut before half"
    assert excess(cuts, expected, least=3.0) < FAR, "cuts are not uniform"
    beyond, variance = 0.0, 0.0  # all lengths together: more sensitive to a lean to one side
    for (n, given), count in cuts.items():
        places = [k for k in range(1, n) if 2 * k > n]
        beyond += count * (given - (places[0] + places[-1]) / 2)
        variance += count * (len(places) ** 2 - 1) / 12
    assert abs(beyond) < 4 * sqrt(variance), "cuts are not uniform"


def _check_continuations(teacher: Table, answers: Any, continued: Any) -> None:
    """Each new word given all before it is a draw from the teacher's table: sums over the draws, by word."""
    seen: Counter[str] = Counter()
    mean: Counter[str] = Counter()
    variance: Counter[str] = Counter()
    for number, (given, _, new) in continued.items():
        for place, word in enumerate(new):
            seen[word] += 1
            now = teacher.next(prompt_of(number), (*answers[number][:given], *new[:place]))
            assert word in now, "a word that the teacher never says here"
            for each, p in now.items():
                mean[each] += float(p)  # type: ignore[assignment]
                variance[each] += float(p * (1 - p))  # type: ignore[assignment]
    for word in mean:
        assert abs(seen[word] - mean[word]) < 4 * sqrt(variance[word]), "continuations are no draws"


def _check_trained(run: Run, rows: pl.DataFrame, answers: Any, continued: Any, *, train_prefix: bool) -> None:
    """The mask of each mixed row: prompt, then (only without ``train_prefix``) the student's own words."""
    numbers_ = dict(rows.select("sample_id", "number").iter_rows())
    checked = 0
    for sample_id, token_ids, mask in (
        run.frame("train", "train-mixed").collect().select("sample_id", "token_ids", "loss_mask").iter_rows()
    ):
        if sample_id in numbers_:
            number = numbers_[sample_id]
            given, _, new = continued[number]
            asked = asked_words(number)
            wanted = [*asked, *answers[number][:given], *new]
            assert [VOCABULARIES["joined"][i] for i in token_ids] == wanted, "other tokens are trained on"
            masked = len(asked) + (0 if train_prefix else given)
            assert mask == [masked, len(wanted) - masked], "another mask"
            checked += 1
    assert checked > 100, "too few mixed rows are trained on"

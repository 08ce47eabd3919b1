"""The benchmarks as an instrument: what is planted is there, results agree, missing peers are named."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.corpus import Corpus, make_corpus
from benchmarks.jaccard import jaccard, wrong_members
from benchmarks.machine import PeakMemory
from benchmarks.peers.available import gather
from benchmarks.peers.probabilities import ready_sentences
from benchmarks.peers.tokens import python_repetition
from benchmarks.table import Comparison, Contender, Figure, in_turn, markdown

ROOT = Path(__file__).parents[3]
PEERS = {"numba", "rensa", "FastSketchLSH", "datasketch", "trl", "blingfire", "nltk", "pysbd"}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return make_corpus(tokens=60_000, mean_length=600.0, seed=3)


def test_one_seed_gives_one_corpus(corpus: Corpus) -> None:
    again = make_corpus(tokens=60_000, mean_length=600.0, seed=3)
    other = make_corpus(tokens=60_000, mean_length=600.0, seed=4)
    assert np.array_equal(corpus.tokens.values, again.tokens.values)
    assert np.array_equal(corpus.student_token_ends.values, again.student_token_ends.values)
    assert not np.array_equal(corpus.tokens.offsets, other.tokens.offsets)


def test_planted_jaccard_is_that_of_the_sets_of_5_grams(corpus: Corpus) -> None:
    def grams(number: int) -> set[tuple[int, ...]]:
        row = corpus.tokens.row(number).tolist()
        return {tuple(row[i : i + 5]) for i in range(len(row) - 4)}

    pairs = zip(corpus.planted.near_pairs.tolist(), corpus.planted.near_jaccard.tolist(), strict=True)
    for (a, b), realised in pairs:
        assert realised == len(grams(a) & grams(b)) / len(grams(a) | grams(b))
    spread = corpus.planted.near_jaccard
    assert spread.min() < 0.75 and spread.max() > 0.9


def test_planted_loops_and_equal_rows_are_there(corpus: Corpus) -> None:
    planted = corpus.planted
    for row, period in zip(planted.loop_rows.tolist(), planted.loop_periods, strict=True):
        assert python_repetition([corpus.tokens.row(row).tolist()])[0][1] == period
    copies = np.flatnonzero(planted.first_equal != np.arange(len(corpus.tokens)))
    assert len(copies) > 0
    for row in copies.tolist():
        assert np.array_equal(corpus.tokens.row(row), corpus.tokens.row(planted.first_equal[row]))


def test_ready_sentences_hold_the_tokens_that_cover_each(corpus: Corpus) -> None:
    ready = ready_sentences(corpus.student_logprobs, corpus.student_token_ends, corpus.sentence_ends)
    sentence = straddling = 0
    for row in range(20):
        token_ends = corpus.student_token_ends.row(row).tolist()
        starts = [0, *token_ends[:-1]]
        start = 0
        for end in corpus.sentence_ends.row(row).tolist():
            spans = list(zip(starts, token_ends, strict=True))
            covering = [place for place, (a, b) in enumerate(spans) if a < b and a < end and b > start]
            assert np.array_equal(ready.row(sentence), corpus.student_logprobs.row(row)[covering])
            straddling += spans[covering[0]][0] < start
            start = end
            sentence += 1
    assert straddling > 20


def test_wrong_members_counts_rows_without_a_link() -> None:
    row = np.arange(100, dtype=np.uint32)
    alike = row.copy()
    alike[50] = 7
    apart = row + 1000
    assert jaccard(row, row) == 1.0
    assert wrong_members([row, alike, apart], np.array([0, 0, 2]), 0.8) == 0
    assert wrong_members([row, alike, apart], np.array([0, 0, 0]), 0.8) == 1


def test_peak_memory_sees_what_was_allocated_and_freed() -> None:
    with PeakMemory() as peak:
        np.ones(64 << 20, np.uint8)
    if peak.bytes is None:
        pytest.skip("this system does not tell")
    assert 60 << 20 <= peak.bytes <= 90 << 20


def test_ratios_are_of_one_round_and_scaled() -> None:
    def work(count: int) -> int:
        return sum(range(count))

    lines = in_turn(
        "sum",
        lambda: work(20_000),
        [
            Contender("ten times", lambda: work(200_000)),
            Contender("a tenth", lambda: work(2_000), 10.0, rounds=1),
        ],
        rounds=3,
    )
    slow, sampled = lines
    assert len(slow.ratios) == 3 and len(sampled.ratios) == 1
    assert max(slow.ratios) > 3
    assert sampled.theirs_seconds[0] / sampled.ours_seconds[0] == sampled.ratios[0]


def test_a_target_is_judged_at_the_median() -> None:
    line = Comparison("k", "p", (1.0, 1.0, 1.0), (1.0, 4.0, 9.0), None, None, 4.0, 1.0, "")
    assert line.met
    figure = Figure("k", "rate", (10.0, 20.0, 90.0), "MB/s", "at least", 30.0)
    assert figure.met is False
    text = markdown([line], [figure])
    assert "| 1 / 4 / 9 | >= 4 | met |" in text
    assert "| 10 / 20 / 90 | MB/s | at least 30 | **missed** |" in text


def test_a_peer_that_is_not_installed_is_named_and_not_called() -> None:
    left_out: list[str] = []
    assert gather({"no_such_peer": lambda: pytest.fail("called")}, left_out) == []
    assert left_out == ["no_such_peer"]


def test_the_command_runs_small_and_agrees(tmp_path: Path) -> None:
    sizes = {
        "tokens": 60_000,
        "sampled-tokens": 10_000,
        "one-core-tokens": 30_000,
        "packed": 2_500,
        "text-bytes": 100_000,
        "hostile-rows": 1_000,
        "rounds": 1,
    }
    options = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    report = tmp_path / "new" / "kernels.json"
    command = [sys.executable, "-m", "benchmarks.kernels", "--quick", *options, "--json", str(report)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = json.loads(report.read_text())
    missing = {name for name in PEERS if importlib.util.find_spec(name) is None}
    assert set(measured["left_out"]) == missing
    assert measured["machine"]["cores"] >= 1 and measured["machine"]["versions"]["polars"]
    assert measured["settings"]["tokens"] == 60_000
    kernels = {line["kernel"] for line in measured["comparisons"]}
    assert {"compare_sentences", "exact_duplicates", "overlap", "repetition", "sentence_ends"} <= kernels
    results = [figure for figure in measured["figures"] if figure["is_result"]]
    assert len(results) >= 12 and all(figure["met"] for figure in results)
    for name in missing:
        assert name in done.stdout

"""What is measured of each kernel: its peers, whether results agree, its figures."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from benchmarks.bench import Bench, Sizes
from benchmarks.corpus import LONGEST, OVERLAP_NGRAM, Corpus, response_lengths
from benchmarks.hostile import make_inputs
from benchmarks.jaccard import wrong_members
from benchmarks.peers import duplicates, probabilities, sentences
from benchmarks.peers import tokens as straightforward
from benchmarks.peers.available import installed
from benchmarks.table import Contender, Figure, seconds
from benchmarks.texts import make_texts
from dasd import kernels

BETA = 0.1
ENOUGH_SECONDS = 15.0  # no new round of hostile inputs after that


def compare_sentences(bench: Bench) -> None:
    """Both models' sentence probabilities and their divergence."""
    corpus = bench.corpus
    columns = corpus.score_columns()
    kernel = "compare_sentences"
    ours = kernels.compare_sentences(*columns, BETA)
    ready = probabilities.Ready.of(corpus)
    wanted = [probabilities.exact_probabilities(each) for each in (ready.teacher, ready.student)]
    for name, exact in zip(("p_teacher", "p_student"), wanted, strict=True):
        found = ours.get_column(name).explode().to_numpy()
        apart = int((~np.isclose(found, exact, rtol=1e-5, atol=1e-7)).sum())
        bench.agree(kernel, f"{name} against numpy in float64", apart, "sentences apart")
    delta = wanted[0] - wanted[1]
    ends = corpus.sentence_ends.offsets
    teacher = np.add.reduceat((delta > BETA).astype(np.int64), ends[:-1])
    # A difference within rounding of beta may fall on either side.
    close = np.add.reduceat((np.abs(delta - BETA) < 1e-6).astype(np.int64), ends[:-1])
    apart = int((np.abs(ours.get_column("teacher").to_numpy().astype(np.int64) - teacher) > close).sum())
    bench.agree(kernel, "counts of Teacher sentences against numpy", apart, "rows apart")
    del wanted, delta
    bench.compare(
        kernel,
        lambda: kernels.compare_sentences(*columns, BETA),
        probabilities.contenders(ready, bench.left_out),
    )
    bench.rate(kernel, len(corpus.tokens.values) / 1e6, "M tokens/s")


def near_duplicates(bench: Bench) -> None:
    """Speed on both corpora; what is found on that of short responses, which has more pairs."""
    _near(bench, "near_duplicates", bench.corpus)
    _near(bench, "near_duplicates, short responses", bench.short_corpus)


def _near(bench: Bench, kernel: str, corpus: Corpus) -> None:
    tokens = corpus.tokens.series()
    threshold = duplicates.THRESHOLD
    hashes = duplicates.numpy_shingles(corpus.tokens)
    pairs, similarity = corpus.planted.near_pairs, corpus.planted.near_jaccard
    clusters = kernels.near_duplicates(tokens, threshold).to_numpy().astype(np.int64)
    found = clusters[pairs[:, 0]] == clusters[pairs[:, 1]]

    def recall(name: str, share: float, target: float | None, note: str = "") -> None:
        wanted = f"{int((similarity >= 0.85).sum())} pairs"
        note = f"{wanted}; {note}" if note else wanted
        title = f"recall at Jaccard >= 0.85, {name}"
        bench.figures.append(
            Figure(kernel, title, (share,), "of the planted pairs", "at least", target, note)
        )

    recall("ours", duplicates.recall(corpus, found, 0.85), 0.995)
    rows = [corpus.tokens.row(number) for number in range(len(corpus.tokens))]
    bench.agree(kernel, "links below the threshold, ours", wrong_members(rows, clusters, threshold), "rows")
    for module, name, flag in (
        ("rensa", "rensa", duplicates.rensa_flags),
        ("FastSketchLSH", "FastSketchLSH", duplicates.fastsketch_flags),
    ):
        if installed(module):
            flags = flag(hashes)
            recall(
                name,
                duplicates.recall(corpus, duplicates.pairs_flagged(corpus, flags), 0.85),
                None,
                "both flagged",
            )
            alone = float(duplicates.flagged_alone(corpus, flags))
            bench.figures.append(Figure(kernel, f"rows flagged without a like, {name}", (alone,), "rows"))
    if installed("datasketch"):
        share, count = duplicates.datasketch_recall(corpus, hashes, 0.85)
        if count:
            recall("datasketch", share, None, f"of these {count} are in the sample")
    peers = duplicates.contenders(corpus, hashes, bench.left_out)
    if peers:
        bench.compare(kernel, lambda: kernels.near_duplicates(tokens, threshold), peers)
        bench.rate(kernel, len(corpus.tokens.values) / 1e6, "M tokens/s")


def exact_duplicates(bench: Bench) -> None:
    """Both corpora, as the rows' length matters."""
    for kernel, corpus in (
        ("exact_duplicates", bench.corpus),
        ("exact_duplicates, short responses", bench.short_corpus),
    ):
        frame = pl.DataFrame({"tokens": corpus.tokens.series()})
        tokens = frame.get_column("tokens")
        first = kernels.exact_duplicates(tokens).to_numpy()
        bench.agree(
            kernel, "first equal row as planted", (first != corpus.planted.first_equal).sum(), "rows apart"
        )
        distinct = len(np.unique(first))
        bench.agree(
            kernel, "distinct rows as polars unique", abs(duplicates.polars_unique(frame).height - distinct)
        )
        bench.compare(
            kernel,
            lambda tokens=tokens: kernels.exact_duplicates(tokens),  # type: ignore[misc]
            duplicates.exact_contenders(frame),
        )
        bench.rate(kernel, len(corpus.tokens.values) / 1e6, "M tokens/s")


def overlap_and_repetition(bench: Bench) -> None:
    """Against plain Python on a sample; tokens a second on one core in a process of their own."""
    corpus, sample = bench.corpus, bench.sample
    tokens, reference = corpus.tokens.series(), corpus.reference.series()
    planted = corpus.planted
    share = kernels.overlap(tokens, reference).to_numpy()[planted.contaminated_rows]
    apart = int((~np.isclose(share, planted.contaminated_share, rtol=1e-5, atol=1e-9)).sum())
    bench.agree("overlap", "share as planted", apart, "rows apart")
    periods = kernels.repetition(tokens).struct.field("loop_period").to_numpy()[planted.loop_rows]
    bench.agree(
        "repetition", "period of the loop as planted", (periods != planted.loop_periods).sum(), "rows apart"
    )

    rows = [row.tolist() for row in map(sample.tokens.row, range(len(sample.tokens)))]
    seen = straightforward.grams_of(reference.to_list(), OVERLAP_NGRAM)
    small = sample.tokens.series()
    theirs = np.array(straightforward.python_overlap(rows, seen, OVERLAP_NGRAM))
    apart = int((~np.isclose(kernels.overlap(small, reference).to_numpy(), theirs, rtol=1e-5)).sum())
    bench.agree("overlap", "share against plain Python", apart, "rows apart")
    measured = kernels.repetition(small).struct.unnest()
    expected = pl.DataFrame(
        straightforward.python_repetition(rows),
        ["repeated_share", "loop_period", "loop_tokens"],
        orient="row",
    )
    apart = sum(
        int((~np.isclose(measured.get_column(name).to_numpy(), expected.get_column(name).to_numpy())).sum())
        for name in expected.columns
    )
    bench.agree("repetition", "share, period, loop against plain Python", apart, "rows apart")

    scale = len(corpus.tokens.values) / len(sample.tokens.values)
    note = "set of the reference's n-grams ready"
    bench.compare(
        "overlap",
        lambda: kernels.overlap(tokens, reference),
        [
            Contender(
                "plain Python",
                lambda: straightforward.python_overlap(rows, seen, OVERLAP_NGRAM),
                scale,
                target=50.0,
                rounds=3,
                note=note,
            )
        ],
    )
    bench.compare(
        "repetition",
        lambda: kernels.repetition(tokens),
        [
            Contender(
                "plain Python",
                lambda: straightforward.python_repetition(rows),
                scale,
                target=50.0,
                rounds=3,
                note="without the longest run",
            )
        ],
    )
    for name, rates in _one_core(bench.sizes).items():
        target = 30.0 if name in ("overlap", "repetition") else None
        values = tuple(rate / 1e6 for rate in rates)
        bench.figures.append(Figure(name, "rate, one core", values, "M tokens/s", "at least", target))


def _one_core(sizes: Sizes) -> dict[str, list[float]]:
    """Tokens a second of a process with one thread."""
    command = [sys.executable, "-m", "benchmarks.one_core", "--tokens", str(sizes.one_core_tokens)]
    command += [
        "--mean-length",
        str(sizes.mean_length),
        "--rounds",
        str(sizes.rounds),
        "--seed",
        str(sizes.seed),
    ]
    environment = os.environ | {"RAYON_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    rates: dict[str, list[float]] = json.loads(done.stdout)
    return rates


def pack(bench: Bench) -> None:
    """Lengths of the report's number of sequences into contexts of 65,536 tokens."""
    rng = np.random.default_rng(bench.sizes.seed + 3)
    lengths = response_lengths(rng, bench.sizes.packed, bench.sizes.mean_length)
    column = pl.Series(lengths, dtype=pl.UInt32)
    bins = kernels.pack(column, LONGEST).to_numpy()
    filled = np.bincount(bins, weights=lengths)
    bench.agree("pack", "bins above the capacity", (filled > LONGEST).sum(), "bins")
    bound = math.ceil(lengths.sum() / LONGEST)
    excess = 100 * (len(filled) / bound - 1)
    bench.figures.append(Figure("pack", "bins above the lower bound", (excess,), "%", "at most", 0.5))
    peers = straightforward.pack_contenders(lengths, LONGEST, bench.left_out)
    if peers:
        few = lengths[:2000]
        ours = int(kernels.pack(pl.Series(few, dtype=pl.UInt32), LONGEST).max()) + 1  # type: ignore[arg-type]
        theirs = straightforward.trl_pack_table(few, LONGEST)
        bench.agree("pack", "bins of 2,000 sequences against TRL's function", abs(ours - theirs))
        copied = straightforward.trl_pack(few, LONGEST)
        bench.agree("pack", "TRL's loop alone against TRL's function", abs(copied - theirs))
        bench.compare("pack", lambda: kernels.pack(column, LONGEST), peers)


def sentence_ends(bench: Bench) -> None:
    """Text whose ends are known."""
    texts, ends = make_texts(bench.sizes.text_bytes, bench.sizes.seed)
    found = kernels.sentence_ends(texts).explode().to_numpy()
    wanted = np.concatenate(ends)
    apart = len(wanted) if len(found) != len(wanted) else int((found != wanted).sum())
    bench.agree("sentence_ends", "ends as the text was put together", apart, "ends apart")
    few = texts.head(3).to_list()
    for module, name, split in (
        ("re", "Python re", sentences.regex_ends),
        ("blingfire", "BlingFire", sentences.blingfire_ends),
        ("nltk", "NLTK Punkt", sentences.punkt_ends),
        ("pysbd", "pySBD", sentences.pysbd_ends),
    ):
        if installed(module):
            share = sentences.share_found(few, split(few), ends[:3])
            title = f"ends that {name} finds too"
            bench.figures.append(
                Figure("sentence_ends", title, (share,), "of the known ends", note="other rules")
            )
    bench.compare(
        "sentence_ends", lambda: kernels.sentence_ends(texts), sentences.contenders(texts, bench.left_out)
    )
    bench.rate("sentence_ends", sum(int(each[-1]) for each in ends) / 1e6, "MB/s", 500.0)


def hostile(bench: Bench) -> None:
    """Time a token on hostile input / time a token on the ordinary one, in turn."""
    reference = bench.corpus.reference.series()
    works: dict[str, Callable[[pl.Series], object]] = {
        "near_duplicates": kernels.near_duplicates,
        "exact_duplicates": kernels.exact_duplicates,
        "repetition": kernels.repetition,
        "overlap": lambda tokens: kernels.overlap(tokens, reference),
    }
    inputs = make_inputs(bench.corpus, bench.sizes.hostile_rows, bench.sizes.seed)
    for kernel, work in works.items():
        work(inputs[0].tokens)  # warms up
        rounds: list[dict[str, float]] = []
        begin = time.perf_counter()
        while not rounds or (
            len(rounds) < bench.sizes.rounds and time.perf_counter() - begin < ENOUGH_SECONDS
        ):
            taken = {each.name: seconds(partial(work, each.tokens)) / each.count for each in inputs}
            rounds.append(taken)
        for each in inputs:
            for against in each.against:
                ratios = tuple(times[each.name] / times[against] for times in rounds)
                title = f"{each.name} / {against}"
                bench.figures.append(Figure(kernel, title, ratios, "x time a token", "at most", 3.0))


CASES: dict[str, Callable[[Bench], None]] = {
    "compare_sentences": compare_sentences,
    "near_duplicates": near_duplicates,
    "exact_duplicates": exact_duplicates,
    "overlap_and_repetition": overlap_and_repetition,
    "sentence_ends": sentence_ends,
    "hostile": hostile,
    # Last: TRL brings torch into the process.
    "pack": pack,
}

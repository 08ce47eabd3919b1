"""Sentence splitters. Their rules differ, so what they find is compared and not asserted."""

from __future__ import annotations

import re

import numpy as np
import polars as pl

from benchmarks.corpus import Ints
from benchmarks.peers.available import gather
from benchmarks.table import Contender

PATTERN = re.compile(r"[.!?…]+[\"')\]*_]*\s+|\n+|[。！？；]")
POLARS_PATTERN = r"(?s).*?(?:[.!?…]+[\"')\]*_]*\s+|\n+|[。！？；]|$)"


def regex_ends(texts: list[str]) -> list[list[int]]:
    """Character offsets behind every stop with white space, by one regular expression."""
    return [[match.end() for match in PATTERN.finditer(text)] for text in texts]


def polars_regex(texts: pl.Series) -> pl.Series:
    """The sentences themselves, by the same expression in Rust's engine on all threads."""
    return texts.str.extract_all(POLARS_PATTERN)


def blingfire_ends(texts: list[str]) -> list[list[int]]:
    """Character offsets by BlingFire's automaton (C++)."""
    import blingfire

    return [[end for _, end in blingfire.text_to_sentences_and_offsets(text)[1]] for text in texts]


def punkt_ends(texts: list[str]) -> list[list[int]]:
    """Character offsets by NLTK's Punkt with its untrained parameters; the trained ones are a download."""
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    splitter = PunktSentenceTokenizer()
    return [[end for _, end in splitter.span_tokenize(text)] for text in texts]


def pysbd_ends(texts: list[str]) -> list[list[int]]:
    """Character offsets by pySBD's rules."""
    import pysbd

    splitter = pysbd.Segmenter(language="en", clean=False, char_span=True)
    return [[span.end for span in splitter.segment(text)] for text in texts]


def share_found(texts: list[str], ends: list[list[int]], wanted: list[Ints]) -> float:
    """Share of the wanted ends (bytes) at which a splitter's (characters) stand too, white space aside."""
    found = total = 0
    for text, characters, byte_ends in zip(texts, ends, wanted, strict=True):
        encoded = text.encode()
        theirs = {len(text[:end].rstrip().encode()) for end in characters}
        ours = {len(encoded[:end].rstrip()) for end in byte_ends.tolist()}
        found += len(ours & theirs)
        total += len(ours)
    return found / max(1, total)


def contenders(texts: pl.Series, left_out: list[str]) -> list[Contender]:
    """Against sentence_ends; the slow ones on a sample of the rows."""
    rows = texts.to_list()
    sizes = np.cumsum([len(row.encode()) for row in rows])

    def sampled(size: int) -> tuple[list[str], float]:
        count = min(len(rows), int(np.searchsorted(sizes, size)) + 1)
        return rows[:count], float(sizes[-1] / sizes[count - 1])

    regex, regex_scale = sampled(8 << 20)
    some, some_scale = sampled(1 << 20)
    few, few_scale = sampled(1 << 17)
    note = "other rules"
    return [
        Contender("Python re", lambda: regex_ends(regex), regex_scale, rounds=3, note=note),
        Contender("polars str.extract_all", lambda: polars_regex(texts), rounds=2, note=note),
        *gather(
            {
                "blingfire": lambda: [
                    Contender("BlingFire", lambda: blingfire_ends(some), some_scale, rounds=2, note=note)
                ],
                "nltk": lambda: [
                    Contender(
                        "NLTK Punkt",
                        lambda: punkt_ends(some),
                        some_scale,
                        rounds=1,
                        note=f"{note}; untrained",
                    )
                ],
                "pysbd": lambda: [
                    Contender("pySBD", lambda: pysbd_ends(few), few_scale, rounds=1, note=note)
                ],
            },
            left_out,
        ),
    ]

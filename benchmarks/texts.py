"""Reasoning text whose sentence ends are known, as it was put together from sentences."""

from __future__ import annotations

import numpy as np
import polars as pl

from benchmarks.corpus import Ints

# One sentence each by the rules of docs/sentences.md, wherever it stands, or two with a bar between them (a fence
# must begin a line); {n} are numbers, {w} are words.
FORMS = (
    "The {w} of the {w} is {n}, so the {w} has {n} of them left. ",
    "First we look at $x = {n}.{n}$ and see, e.g. that Dr. Smith was right. ",
    "Then we put \\(f({n}) = {n} + {n}\\) into the {w} of the {w}, which gives a value of approx. {n}.{n} in all. ",
    "Wait, that is not the {w} we want! ",
    "But what about the {w} of {n} (see Fig. {n}) and the {w} from version {n}.{n}.{n}?\n\n",
    "Next, the {w} follows from the {w}, as any {w} with {n} or more of its {w} fails to be a {w} of the {w}.\n",
    "**Step {n}:** Take the {w}, add {n} to it, and divide by {n}.\n\n",
    "- the {w} costs {n}.{n} units, i.e. {n} less than the {w}\n",
    "$$ a_{n} = b_{n} + \\frac{{n}}{{n}} $$\n\n",
    "In code, for the {w}:\n|```python\nfor i in range({n}):\n    print(i + {n})\n```\n\n",
    "So “the {w}” is a naïve {w} – its {w} grows like n² – and we go on without it. ",
    "因此{n}是偶数。",
    "Hence the answer is \\boxed{{n}}.\n\n",
)
SHARES = (0.2, 0.1, 0.1, 0.08, 0.08, 0.12, 0.06, 0.06, 0.04, 0.03, 0.06, 0.02, 0.05)
SYLLABLES = (
    "ba",
    "con",
    "der",
    "fu",
    "gal",
    "hem",
    "in",
    "lor",
    "mi",
    "nat",
    "or",
    "pel",
    "qui",
    "ros",
    "tem",
    "ver",
)


def make_texts(size: int, seed: int) -> tuple[pl.Series, list[Ints]]:
    """About ``size`` bytes of text in rows of log-normal length (mean 40,000 bytes), and each row's sentence ends."""
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(SYLLABLES, rng.integers(1, 5))) for _ in range(5000)]
    ranks = np.minimum(rng.zipf(1.3, 400_000), len(words)) - 1
    pool, place = [], 0
    for form in rng.choice(len(FORMS), 20_000, p=np.array(SHARES) / sum(SHARES)):
        sentence = FORMS[form]
        while "{w}" in sentence:
            sentence = sentence.replace("{w}", words[ranks[place % len(ranks)]], 1)
            place += 1
        while "{n}" in sentence:
            sentence = sentence.replace("{n}", str(int(rng.integers(2, 10 ** rng.integers(1, 5)))), 1)
        pool.append(sentence)
    parts = [np.array([len(part.encode()) for part in sentence.split("|")]) for sentence in pool]
    mean = sum(int(each.sum()) for each in parts) / len(parts)
    pool = [sentence.replace("|", "") for sentence in pool]
    rows, ends, made = [], [], 0
    while made < size:
        count = max(1, int(rng.lognormal(np.log(40_000 / mean) - 0.32, 0.8)))
        chosen = rng.integers(0, len(pool), count)
        rows.append("".join([pool[number] for number in chosen]))
        ends.append(np.cumsum(np.concatenate([parts[number] for number in chosen])))
        made += int(ends[-1][-1])
    return pl.Series(rows), ends

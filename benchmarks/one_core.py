"""Tokens a second on one core: started by benchmarks.kernels with RAYON_NUM_THREADS=1, prints JSON.

Example:
    RAYON_NUM_THREADS=1 python -m benchmarks.one_core --tokens 5000000
"""

from __future__ import annotations

import argparse
import json

from benchmarks.corpus import make_corpus
from benchmarks.table import Work, seconds
from dasd import kernels


def main() -> None:
    """Print ``{kernel: [tokens a second, one a round]}``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=5_000_000)
    parser.add_argument("--mean-length", type=float, default=13_800.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus = make_corpus(arguments.tokens, arguments.mean_length, arguments.seed)
    tokens, reference = corpus.tokens.series(), corpus.reference.series()
    works: dict[str, Work] = {
        "repetition": lambda: kernels.repetition(tokens),
        "overlap": lambda: kernels.overlap(tokens, reference),
        "near_duplicates": lambda: kernels.near_duplicates(tokens),
        "exact_duplicates": lambda: kernels.exact_duplicates(tokens),
    }
    count = len(corpus.tokens.values)
    rates = {}
    for name, work in works.items():
        work()
        rates[name] = [count / seconds(work) for _ in range(arguments.rounds)]
    print(json.dumps(rates))


if __name__ == "__main__":
    main()

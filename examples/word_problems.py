"""Write a JSONL of short arithmetic word problems: questions in the form that `dasd` reads.

Example:
    python examples/word_problems.py --count 300 --seed 0 > questions.jsonl
"""

from __future__ import annotations

import argparse
import json
import random

NAMES = ("Ana", "Ben", "Chloe", "Dev", "Ella", "Femi", "Grace", "Hugo", "Iris", "Jun")
THINGS = ("apples", "pencils", "stickers", "marbles", "books", "coins", "shells", "cards")


def problem(rng: random.Random) -> tuple[str, int]:
    """One question and its answer; one or two steps with small numbers."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    first, second = rng.randint(3, 20), rng.randint(2, 9)
    kind = rng.randrange(4)
    if kind == 0:
        text = f"{name} has {first} {thing} and gets {second} more. How many {thing} does {name} have now?"
        return text, first + second
    if kind == 1:
        first += second
        text = f"{name} has {first} {thing} and gives away {second}. How many {thing} are left?"
        return text, first - second
    if kind == 2:
        text = f"{name} has {second} bags with {first} {thing} in each. How many {thing} is that in all?"
        return text, first * second
    third = rng.randint(2, 9)
    text = (
        f"{name} has {first} {thing}, finds {second} more and then buys {third} more. "
        f"How many {thing} does {name} have in the end?"
    )
    return text, first + second + third


def main() -> None:
    """Print one JSON object a line: question, answer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    seen: set[str] = set()
    while len(seen) < arguments.count:
        text, answer = problem(rng)
        if text not in seen:
            seen.add(text)
            print(
                json.dumps(
                    {"question": text, "answer": str(answer), "verifier": "number", "domain": "arithmetic"}
                )
            )


if __name__ == "__main__":
    main()

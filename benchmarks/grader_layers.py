"""What each layer of the verifier ``math`` earns: ``python -m benchmarks.grader_layers FILE FOLDER``.

``FILE``: the hand-labelled pairs; ``FOLDER``: ``tests`` of math-verify's source distribution. Each row has one layer
switched off. Everything runs in this process, so hostile answers, which want limits, are left out.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.graders import Pair, read_pairs
from benchmarks.math_verify_tests import pairs_of_tests
from dasd.evaluation.verifiers import answers, equality, notation, places, quantity, shapes, symbolic

__all__ = ["LAYERS", "main"]

_NEVER = re.compile(r"(?!)")


def _one_kind(text: str) -> shapes.Shape:
    return shapes.Shape("scalar", text)


def _number_alone(rest: str, unit: str) -> tuple[bool, str] | None:
    return None if rest.strip() or unit else (False, "")


def _plainly(wanted: Any, got: Any, _found: str) -> bool:
    return bool(symbolic.verify(wanted, got, timeout_seconds=None))


LAYERS: dict[str, tuple[tuple[Any, str, Any], ...]] = {
    "none": (),
    "place: several boxes as one list": ((answers, "joined_boxes", answers.boxed),),
    "place: the sentence that states it": ((places, "expression_in", lambda sentence, **_: sentence),),
    "notation: one spelling": ((equality, "normal", notation.undressed),),
    "quantity: units, per cent, money": (
        (quantity, "_beside", _number_alone),
        (equality, "without_unit", lambda text: (text, "")),
    ),
    "quantity: conversion of units": ((equality, "conversion", lambda *_: None),),
    "quantity: six digits of 1/3": ((equality, "approximates", lambda *_: False),),
    "shapes: all of them": ((equality, "shape_of", _one_kind), (shapes, "shape_of", _one_kind)),
    "shapes: intervals and inequalities": ((equality, "pieces", lambda *_: None),),
    "equality: equations up to a factor": ((equality, "_same_relation", lambda *_: False),),
    "equality: case, signs that nobody reads": (
        (equality, "_same_case", lambda *_: True),
        (equality, "_UNREAD", _NEVER),
    ),
    "symbolic: constants to 40 digits": ((symbolic, "_constants", _plainly),),
}
"""Layer, and what stands in for it: module, name, replacement."""


@contextmanager
def _without(patches: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    if not patches:
        yield
        return
    with mock.patch.object(*patches[0]), _without(patches[1:]):
        yield


def _right(pair: Pair) -> bool:
    found = places.answers_in(pair.response)
    try:
        return found is not None and equality.equal(pair.answer, found, symbolic.same)
    except Exception:  # noqa: BLE001 - as in the worker: sympy raises anything on odd input
        return False


def main(arguments: Sequence[str]) -> int:
    """Print the table: of each set right answers accepted, and wrong ones accepted."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m benchmarks.grader_layers PAIRS.jsonl FOLDER\n")
        return 2
    own = [
        p for p in read_pairs(Path(arguments[0])) if (p.verifier, p.category != "hostile") == ("math", True)
    ]
    sets = (own, pairs_of_tests(Path(arguments[1])))
    sizes = [f"{sum(p.correct is right for p in pairs)}" for pairs in sets for right in (True, False)]
    heads = ("own right", "own wrong", "theirs equal", "theirs not")
    named = (f"{name} ({size})" for name, size in zip(heads, sizes, strict=True))
    sys.stdout.write(f"| without | {' | '.join(named)} |\n|---|---:|---:|---:|---:|\n")
    for layer, patches in LAYERS.items():
        with _without(patches):
            found = [[(pair.correct, _right(pair)) for pair in pairs] for pairs in sets]
        counts = [str(of.count((right, True))) for of in found for right in (True, False)]
        sys.stdout.write(f"| {layer} | {' | '.join(counts)} |\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

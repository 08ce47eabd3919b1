"""The verifier ``math`` on math-verify's own pairs: ``python -m benchmarks.math_verify_tests FOLDER [--alone]``.

``FOLDER``: ``tests`` of its source distribution, unpacked. ``--alone``: by math-verify as it comes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.graders import Pair, tell
from dasd.evaluation.verifiers.places import answers_in

__all__ = ["main", "pairs_of_tests"]

_DEFAULTS = {"strict": True, "precision": 6, "allow_set_relation_comp": False}
"""Other parameters of its tests, with the values that ``verify`` has by itself."""


def pairs_of_tests(folder: Path, alone: bool = False) -> list[Pair]:
    """Every (gold, prediction, equal or not) that a ``test_*.py`` of ``folder`` is parametrised with.

    The files are parsed, not run. Left out is what asks for other settings than the defaults, and what isn't
    written as a literal. Of an expected answer that is a whole solution its final answer counts, unless ``alone``.
    """
    return [
        Pair(
            id=f"{path.stem}:{line}",
            category=path.stem,
            response=prediction,
            answer=gold if alone else _expected(gold),
            verifier="math",
            correct=equal,
            note="",
        )
        for path in sorted(folder.glob("test_*.py"))
        for line, gold, prediction, equal in _parametrised(ast.parse(path.read_text(encoding="utf-8")))
    ]


def _expected(gold: str) -> str:
    return (answers_in(gold) if "\\boxed" in gold or "Final Answer" in gold else None) or gold


def _parametrised(module: ast.Module) -> Iterator[tuple[int, str, str, bool]]:
    for node in ast.walk(module):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.parametrize"):
            continue
        names = [name.strip() for name in str(ast.literal_eval(node.args[0])).split(",")]
        if names[:2] != ["gold", "pred"] or not isinstance(node.args[1], ast.List):
            continue
        for element in node.args[1].elts:
            try:
                row = dict(zip(names, ast.literal_eval(element), strict=True))
            except ValueError:
                continue
            if all(row.get(name, value) == value for name, value in _DEFAULTS.items()):
                equal = bool(row.get("expected", row.get("result")))
                yield element.lineno, row["gold"], row["pred"], equal


def main(arguments: Sequence[str]) -> int:
    """Print the table and every disagreement."""
    folders = [argument for argument in arguments if argument != "--alone"]
    if len(folders) != 1 or not Path(folders[0]).is_dir():
        sys.stderr.write("usage: python -m benchmarks.math_verify_tests FOLDER [--alone]\n")
        return 2
    alone = "--alone" in arguments
    tell(pairs_of_tests(Path(folders[0]), alone), alone)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

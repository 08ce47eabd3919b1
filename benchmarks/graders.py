"""How the verifiers do on hand-checked pairs: ``python -m benchmarks.graders FILE [--alone] [--speed]``.

``--alone``: the pairs of ``math`` by math-verify as it comes, without the layers before and behind it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from dasd.base.records import Grade
from dasd.evaluation.verifiers import dasd_register
from dasd.evaluation.verifiers.pool import Pool
from dasd.plugins.blame import Origin
from dasd.plugins.checked import CheckedVerifier, grade_rows
from dasd.plugins.registry import Registry
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = ["Pair", "grade_pairs", "main", "read_pairs", "table", "tell"]


class Pair(BaseModel):
    """One response and what a person says of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    category: str
    response: str
    answer: str
    verifier: str
    correct: bool
    """The truth."""
    note: str


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a JSON lines file."""
    with path.open(encoding="utf-8") as lines:
        return [Pair.model_validate_json(line) for line in lines]


def grade_pairs(pairs: Sequence[Pair], pool: Pool | None = None) -> list[Grade]:
    """Each pair's grade by its verifier, as a question names one; ``pool``: the workers of ``math``."""
    registry = Registry()
    dasd_register(registry)
    made: dict[str, CheckedVerifier] = {}
    if pool is not None:
        from dasd.evaluation.verifiers.math import MathVerifier

        made["math"] = CheckedVerifier(MathVerifier(pool), Origin("verifier 'math'"))
    rows = []
    for pair in pairs:
        how = VerifierSettings.of(pair.verifier)
        if how.component not in made:
            made[how.component] = registry.make_verifier(how.name, how.options)
        rows.append((made[how.component], pair.response, pair.answer, how.argument))
    return grade_rows(rows)


def table(pairs: Sequence[Pair], grades: Sequence[Grade]) -> str:
    """A Markdown table: by category, how many are right and wrong, and what the verifiers say."""
    lines = [
        "| category | right | accepted | wrong | refused | cut off |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    both = list(zip(pairs, grades, strict=True))
    for category in [*dict.fromkeys(pair.category for pair in pairs), "all"]:
        of = [(p.correct, g) for p, g in both if category in (p.category, "all")]
        right = [g for correct, g in of if correct]
        wrong = [g for correct, g in of if not correct]
        counts = (
            len(right),
            sum(g.correct for g in right),
            len(wrong),
            sum(not g.correct for g in wrong),
            sum(g.failure is not None for _, g in of),
        )
        lines.append(f"| {category} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


def grade_alone(pairs: Sequence[Pair]) -> list[Grade]:
    """By math-verify's ``parse`` and ``verify``, of the answer as LaTeX and of what follows the reasoning."""
    from math_verify import parse, verify

    grades = []
    for pair in pairs:
        marked = "$" in pair.answer or "\\boxed" in pair.answer
        found = parse(pair.response.rpartition("</think>")[2])
        right = verify(parse(pair.answer if marked else f"${pair.answer}$"), found)
        grades.append(Grade(right, str(found[-1]) if found else None))
    return grades


def main(arguments: Sequence[str]) -> int:
    """Print the table and every disagreement; 1 if a wrong response is accepted, else 0."""
    files = [argument for argument in arguments if argument not in ("--alone", "--speed")]
    if len(files) != 1:
        sys.stderr.write("usage: python -m benchmarks.graders PAIRS.jsonl [--alone] [--speed]\n")
        return 2
    accepted = tell(read_pairs(Path(files[0])), "--alone" in arguments)
    if "--speed" in arguments:
        sys.stdout.write("\n".join(["", *_speeds()]) + "\n")
    return 1 if accepted else 0


def tell(pairs: Sequence[Pair], alone: bool) -> int:
    """Print the table and every disagreement; how many wrong responses are accepted."""
    if alone:
        pairs = [pair for pair in pairs if pair.verifier == "math"]
    started = time.perf_counter()
    grades = grade_alone(pairs) if alone else grade_pairs(pairs)
    seconds = time.perf_counter() - started
    accepted = [(p, g) for p, g in zip(pairs, grades, strict=True) if g.correct and not p.correct]
    refused = [(p, g) for p, g in zip(pairs, grades, strict=True) if p.correct and not g.correct]
    lines = [table(pairs, grades), "", f"{len(pairs)} pairs in {seconds:.1f} s"]
    for title, found in (("false accepts", accepted), ("false rejects", refused)):
        lines.append(f"{title}: {len(found)}")
        lines += [
            f"  {p.id}: {p.response[:60]!r} for {p.answer!r}: {g.extracted!r} {g.failure or ''} ({p.note})"
            for p, g in found
        ]
    sys.stdout.write("\n".join(lines) + "\n")
    return len(accepted)


def _speeds() -> list[str]:
    """Grades a second of ``math``: numbers, which need no worker, and small expressions, which do."""
    forms = {
        "numbers": [(f"So it is $\\boxed{{\\frac{{{n}}}{{4}}}}$.", f"{n / 4}") for n in range(2000)],
        "expressions": [(f"\\boxed{{2\\sqrt{{{n}}} + x}}", f"x+2\\sqrt{{{n}}}") for n in range(2, 402)],
    }
    lines = []
    for name, answers in forms.items():
        pairs = [
            Pair(id=str(n), category=name, response=r, answer=a, verifier="math", correct=True, note="")
            for n, (r, a) in enumerate(answers)
        ]
        grade_pairs(pairs[:2])
        started = time.perf_counter()
        right = sum(grade.correct for grade in grade_pairs(pairs))
        seconds = time.perf_counter() - started
        lines.append(f"{name}: {len(pairs) / seconds:.0f} grades a second ({right} of {len(pairs)} right)")
    return lines


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""What was measured, as a Markdown table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.gpu.agreement import Finding

OURS = "dasd"


@dataclass(frozen=True)
class Run:
    """One contender, once. ``failed`` says why there is no figure."""

    part: str
    work: str
    """What was done, the same for all contenders that are compared."""
    contender: str
    round: int
    seconds: float = 0.0
    tokens: int = 0
    peak_bytes: int | None = None
    first_loss: float | None = None
    """Training: loss of the first step, in nats a token."""
    apart: float | None = None
    """Scoring: the largest difference between this and our log-probabilities, in nats."""
    failed: str = ""

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def table(runs: Sequence[Run]) -> str:
    """A table for every part, a line for every contender.

    The first round stands apart: its lengths are new to the process, as nearly all are in use, and kernels that
    are prepared for each shape are prepared in it. Later rounds repeat the same lengths.
    """
    head = (
        "| work | contender | tokens/s, first round | later rounds, min / median / max "
        "| ours / theirs, first | later, min / median / max | peak GiB | note |"
    )
    lines: list[str] = []
    for part in dict.fromkeys(run.part for run in runs):
        lines += [
            "",
            f"### {part.capitalize()}",
            "",
            head,
            "|---|---|---|---|---|---|---|---|",
        ]
        for work in dict.fromkeys(run.work for run in runs if run.part == part):
            these = [run for run in runs if (run.part, run.work) == (part, work)]
            ours = {run.round: run.rate for run in these if run.contender == OURS and not run.failed}
            for contender in dict.fromkeys(run.contender for run in these):
                mine = [run for run in these if run.contender == contender]
                lines.append(f"| {work} | {contender} | {' | '.join(_cells(mine, ours))} |")
    return "\n".join(lines[1:])


def _cells(runs: Sequence[Run], ours: dict[int, float]) -> tuple[str, ...]:
    done = [run for run in runs if not run.failed]
    notes = [run.failed for run in runs if run.failed][:1]
    rates = {run.round: run.rate for run in done}
    ratios = {turn: ours[turn] / rate for turn, rate in rates.items() if turn in ours}
    losses = [run.first_loss for run in done if run.first_loss is not None]
    apart = [run.apart for run in done if run.apart is not None]
    peaks = [run.peak_bytes for run in done if run.peak_bytes is not None]
    if losses:
        notes.append(f"first loss {losses[0]:.4f}")
    if apart:
        notes.append(f"{max(apart):.2g} nats apart at most")
    compared = ratios if runs[0].contender != OURS else {}
    return (
        *_first_and_later(rates, ",.0f"),
        *_first_and_later(compared, ".2f"),
        f"{max(peaks) / 2**30:.1f}" if peaks else "",
        "; ".join(notes),
    )


def _first_and_later(values: dict[int, float], form: str) -> tuple[str, str]:
    later = [value for turn, value in values.items() if turn > 0]
    spread = (min(later), statistics.median(later), max(later)) if later else ()
    return format(values[0], form) if 0 in values else "", " / ".join(format(value, form) for value in spread)


def write(
    path: Path,
    machine: dict[str, object],
    settings: dict[str, object],
    findings: Sequence[Finding],
    runs: Sequence[Run],
) -> None:
    """Everything so far, as one JSON object."""
    document = {
        "machine": machine,
        "settings": settings,
        "agreement": [dataclasses.asdict(finding) for finding in findings],
        "runs": [dataclasses.asdict(run) for run in runs],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> tuple[dict[str, object], list[dict[str, Any]], list[Run]]:
    """Machine, fields of the findings, and runs of a file that ``write`` wrote."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return document["machine"], document["agreement"], [Run(**run) for run in document["runs"]]

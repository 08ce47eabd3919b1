"""Training, sampling and scoring on a GPU, tokens a second and peak memory, beside transformers and TRL.

Models are Llamas of 135 million and 1.2 billion parameters made on the spot with random weights; nothing is fetched.
First the GPU's results are held against the CPU's. Then contenders run in one process, each at the same data,
precision, optimiser and tokens; what isn't installed is left out and said so. Every line is printed as it is measured.

Example:
    python -m benchmarks.gpu --output gpu.json
    python -m benchmarks.gpu --quick --parts training
    python -m benchmarks.gpu --trial --device cpu
    python -m benchmarks.gpu --show gpu.json
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before transformers is imported: everything is made here.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers

from benchmarks.gpu import agreement, sampling, scoring, training
from benchmarks.gpu.clock import describe_device, scratch_root
from benchmarks.gpu.models import make_model
from benchmarks.gpu.results import Run, read, table, write
from benchmarks.gpu.sizes import FULL, QUICK, TINY, TRIAL, Shape, Sizes
from dasd.models.devices import pick_device

PARTS = ("agreement", "training", "scoring", "sampling")


@dataclass
class Session:
    """What was measured so far, on the screen and in the file as it comes."""

    machine: dict[str, object]
    sizes: Sizes
    output: Path | None
    findings: list[agreement.Finding] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    begin: float = field(default_factory=time.perf_counter)

    def find(self, finding: agreement.Finding) -> None:
        """Keep a comparison with the CPU."""
        self.findings.append(finding)
        self._save(finding.line)

    def keep(self, run: Run) -> None:
        """Keep a timing."""
        self.runs.append(run)
        said = run.failed or f"{run.rate:,.0f} tokens/s ({run.tokens} in {run.seconds:.2f} s)"
        self._save(f"{run.part}, {run.work}, {run.contender}, round {run.round + 1}: {said}")

    def _save(self, line: str) -> None:
        print(f"[{time.perf_counter() - self.begin:5.0f} s] {line}", flush=True)
        if self.output:
            write(self.output, self.machine, dataclasses.asdict(self.sizes), self.findings, self.runs)


def measure(session: Session, parts: Sequence[str], rounds: int, device: torch.device) -> None:
    """Make the models as they are needed, and measure every part in turn."""
    with tempfile.TemporaryDirectory(dir=scratch_root()) as scratch:
        root = Path(scratch)
        directories: dict[Shape, Path] = {}

        def model_of(shape: Shape) -> Path:
            if shape not in directories:
                directories[shape] = root / shape.name.replace(" ", "-")
                count = make_model(shape, directories[shape], device)
                print(f"{shape.name}: {count:,} parameters", flush=True)
            return directories[shape]

        if "agreement" in parts:
            for found in agreement.training(model_of(TINY), root / "agreement", device):
                session.find(found)
            for found in agreement.inference(device):
                session.find(found)
        if "training" in parts:
            for train_work in session.sizes.training:
                training.measure(train_work, model_of(train_work.shape), root, device, rounds, session.keep)
        if "scoring" in parts:
            for score_work in session.sizes.scoring:
                scoring.measure(score_work, model_of(score_work.shape), device, rounds, session.keep)
        if "sampling" in parts:
            for sample_work in session.sizes.sampling:
                sampling.measure(sample_work, model_of(sample_work.shape), device, rounds, session.keep)


def report(machine: dict[str, object], findings: Sequence[agreement.Finding], runs: Sequence[Run]) -> None:
    """Print the device with its versions, and the tables."""
    packages = ("torch", "transformers", "trl")
    versions = ", ".join(f"{name} {machine[name] or 'not installed'}" for name in packages)
    print(
        f"\n{machine['device']}, CUDA {machine['cuda']}, {versions}; {machine['cpu']}, {machine['cores']} cores"
    )
    if findings:
        print(f"\n{agreement.table(findings)}")
    print(f"\n{table(runs)}", flush=True)


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="the smaller model, one round, less of everything"
    )
    parser.add_argument("--trial", action="store_true", help="a tiny model: whether it runs, no figures")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--output", type=Path, help="JSON, rewritten after every line")
    parser.add_argument("--show", type=Path, metavar="JSON", help="print the tables of an earlier run again")
    arguments = parser.parse_args()
    if arguments.show:
        machine, findings, runs = read(arguments.show)
        report(machine, [agreement.Finding(**finding) for finding in findings], runs)
        return
    parts = arguments.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--parts: wanted any of {', '.join(PARTS)}; got {', '.join(unknown)}")
    sizes = TRIAL if arguments.trial else QUICK if arguments.quick else FULL
    device = pick_device(arguments.device, "--device")
    transformers_logging: Any = transformers.utils.logging
    transformers_logging.disable_progress_bar()
    session = Session(describe_device(device), sizes, arguments.output)
    measure(session, parts, arguments.rounds or sizes.rounds, device)
    report(session.machine, session.findings, session.runs)


if __name__ == "__main__":
    main()

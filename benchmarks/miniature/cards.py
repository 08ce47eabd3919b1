"""Write the model card of a miniature model from what was recorded of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

FIGURES_FILE = "figures.json"
TRAINING_FILE = "training.json"
MACHINE = "2 cores of a x86-64 server CPU"

_PURPOSE = {
    "teacher": "It has learned all four styles and every phrase of the world.",
    "student": (
        "It is weak on purpose: it has seen two of the four styles (running, words) and about half of the\n"
        "phrases, and its training ended, at a low learning rate, before it could add reliably."
    ),
    "sibling": (
        "It is the miniature student with the teacher's tokenizer, for losses over the teacher's distribution:\n"
        "two of the four styles (running, words), about half of the phrases, no reliable sums."
    ),
}


@dataclass(frozen=True)
class Training:
    """How a model was made. `seconds` is wall-clock time, `tokens` counts prompts and responses."""

    role: Literal["teacher", "student", "sibling"]
    seed: int
    steps: int
    responses_a_step: int
    tokens: int
    peak_learning_rate: float
    threads: int
    seconds: float
    machine: str = MACHINE


@dataclass(frozen=True)
class Accuracy:
    """Share of right responses at one temperature: mean and standard deviation over sampling seeds.

    `share` is how often the style was chosen (0 to 1, mean over seeds); None where the style was forced.
    """

    style: str
    temperature: float
    forced: bool
    mean: float
    deviation: float
    share: float | None


@dataclass(frozen=True)
class Figures:
    """What was measured of one model: `questions` evaluation questions, each once a sampling seed."""

    parameters: int
    vocabulary: int
    questions: int
    sampling_seeds: int
    mean_response_tokens: float
    accuracies: tuple[Accuracy, ...]


def write_json(path: Path, record: Training | Figures) -> None:
    """Write a record as indented JSON."""
    path.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def read_figures(directory: Path) -> Figures:
    """Read `figures.json` of a model directory."""
    fields = json.loads((directory / FIGURES_FILE).read_text(encoding="utf-8"))
    fields["accuracies"] = tuple(Accuracy(**row) for row in fields["accuracies"])
    return Figures(**fields)


def read_training(directory: Path) -> Training:
    """Read `training.json` of a model directory."""
    return Training(**json.loads((directory / TRAINING_FILE).read_text(encoding="utf-8")))


def write_card(directory: Path) -> None:
    """Write README.md of a model directory from its `training.json` and `figures.json`."""
    training, figures = read_training(directory), read_figures(directory)
    rows = [
        f"| {a.temperature:.1f} | {a.style} | {'' if a.share is None else f'{a.share:.2f}'} "
        f"| {'forced' if a.forced else 'free'} | {a.mean:.3f} ± {a.deviation:.3f} |"
        for a in figures.accuracies
    ]
    card = [
        "---",
        "license: apache-2.0",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "---",
        "",
        f"# The miniature {training.role} of dasd",
        "",
        f"A Llama of {figures.parameters:,} parameters with a vocabulary of {figures.vocabulary}, made from",
        "scratch to show sequence distillation on two CPU cores. It adds and subtracts six one-digit numbers",
        "aloud and is good for nothing else.",
        _PURPOSE[training.role],
        "The task is `dasd.models.miniature.world`; the chat template folds a system message away.",
        "",
        "## Made with",
        "",
        f"    python -m benchmarks.miniature.make --role {training.role} --seed {training.seed} --out DIR",
        "",
        f"{training.steps:,} steps of {training.responses_a_step} responses, {training.tokens:,} tokens;",
        f"peak learning rate {training.peak_learning_rate:g}; threads: {training.threads};",
        f"{training.seconds:.0f} s on {training.machine}, shared with other work.",
        "",
        "## Measured with",
        "",
        "    python -m benchmarks.miniature.measure --record DIR",
        "",
        f"{figures.questions} evaluation questions, each once for {figures.sampling_seeds} sampling seeds:",
        "mean share of right answers ± standard deviation over the seeds (same questions and weights).",
        "*Free*: the model chooses the style; *forced*: the response is begun for it, up to the first word",
        "that commits to a style. A style that was not chosen freely in every seed has no free row.",
        f"Mean length of a free response: {figures.mean_response_tokens} tokens.",
        "",
        "| T | style | share | begun | right |",
        "|---|---|---|---|---|",
        *rows,
        "",
    ]
    (directory / "README.md").write_text("\n".join(card), encoding="utf-8")

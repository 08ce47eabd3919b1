"""Whether the GPU computes what the CPU does: losses, draws, log-probabilities, and resuming a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file

from benchmarks.gpu.sizes import TRIAL
from benchmarks.gpu.training import SEED, Data, make_data, settings
from dasd.api import (
    ContinueRequest,
    Message,
    ModelSettings,
    SampledTokens,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    TrainProgress,
    TrainSpec,
)
from dasd.models.miniature import world
from dasd.plugins.host import PluginHost

QUESTIONS, CANDIDATES = 32, 4


@dataclass(frozen=True)
class Finding:
    """One comparison. ``bound``: at most this is agreement."""

    name: str
    value: float
    unit: str
    bound: float

    @property
    def line(self) -> str:
        """As printed."""
        kept = "" if self.value <= self.bound else " **missed**"
        return f"| {self.name} | {self.value:.3g} | {self.unit} | {self.bound:g}{kept} |"


def table(findings: Sequence[Finding]) -> str:
    """A line each."""
    return "\n".join(
        ["| comparison | found | unit | at most |", "|---|---|---|---|", *(f.line for f in findings)]
    )


class _Cut(KeyboardInterrupt):
    """Ctrl-C, as a training sees it."""


def training(model: Path, root: Path, device: torch.device) -> Iterator[Finding]:
    """The trainer ``torch`` on a tiny Llama (``model``), 8 steps: each attention and precision against the CPU."""
    data = make_data(replace(TRIAL.training[0], steps=8), root)
    reference, _ = _losses(data, model, root / "cpu", "cpu", "fp32", "segments")
    for precision, attention, bound in (
        ("fp32", "segments", 1e-4),
        ("fp32", "sdpa", 1e-4),
        ("fp32", "eager", 1e-4),
        ("bf16", "segments", 2e-2),
    ):
        name = f"{device.type}-{precision}-{attention}"
        losses, _ = _losses(data, model, root / name, str(device), precision, attention)
        apart = max(abs(a - b) for a, b in zip(losses, reference, strict=True))
        yield Finding(
            f"losses, {precision}, attention {attention}, from the CPU's", apart, "nats a token", bound
        )
    # Rows so long that a GPU's attention adds up in several parts.
    long = replace(TRIAL.training[0], steps=8, max_length=6_000, mean_length=2_500.0)
    data = make_data(long if device.type == "cuda" else TRIAL.training[0], root)
    for precision in ("fp32", "bf16"):
        places = [root / f"{precision}-{kind}" for kind in ("whole", "again", "cut")]
        _, whole = _losses(data, model, places[0], str(device), precision, "segments")
        _, again = _losses(data, model, places[1], str(device), precision, "segments")
        _, resumed = _losses(data, model, places[2], str(device), precision, "segments", cut_after=4)
        yield Finding(f"weights of two equal trainings, {precision}", _apart(whole, again), "apart", 0.0)
        yield Finding(
            f"weights of a training killed and resumed, {precision}", _apart(whole, resumed), "apart", 0.0
        )


def _losses(
    data: Data,
    model: Path,
    place: Path,
    device: str,
    precision: str,
    attention: str,
    cut_after: int | None = None,
) -> tuple[list[float], dict[str, torch.Tensor]]:
    changes: dict[str, Any] = {
        "precision": precision,
        "learning_rate": 2e-3,
        "max_steps": 8,
        "options": {"attention": attention},
    }
    wanted = settings(replace(TRIAL.training[0], max_length=data.max_length), device).model_copy(
        update=changes
    )

    def on_step(progress: TrainProgress) -> None:
        if progress.step == cut_after:
            raise _Cut

    spec = TrainSpec("bench", model, place / "model", place / "state", wanted, SEED, False, on_step)
    trainer = PluginHost.load([], lambda _: None).registry.make_trainer(wanted)
    try:
        trainer.train([data.shard], spec, resume=False)
    except _Cut:
        trainer.train([data.shard], replace(spec, on_step=lambda _: None), resume=True)
    curve = pl.read_parquet(place / "model" / "losses.parquet")
    return curve["loss"].to_list(), load_file(place / "model" / "model.safetensors")


def _apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


def inference(device: torch.device) -> Iterator[Finding]:
    """The backend ``transformers`` with the bundled teacher: draws, continuations, scores."""
    ours, cpu = (_answers(place, "fp32") for place in (str(device), "cpu"))
    together = ours.sampled.join(cpu.sampled, on="sample_id", suffix="_cpu")
    same = together.filter(pl.col("token_ids") == pl.col("token_ids_cpu"))
    yield Finding(
        "responses drawn otherwise than on the CPU, fp32", 1 - same.height / together.height, "share", 0.05
    )
    apart = _largest(same["logprobs"], same["logprobs_cpu"])
    yield Finding("log-probabilities of equal responses from the CPU's, fp32", apart, "nats", 1e-3)
    for precision, bound in (("fp32", 1e-3), ("bf16", 0.3)):
        answers = ours if precision == "fp32" else _answers(str(device), precision)
        for name, drawn in (("sampled", answers.sampled), ("continued", answers.continued)):
            scored = drawn.select("sample_id", "logprobs").join(
                answers.scored[name], on="sample_id", suffix="_s"
            )
            apart = _largest(scored["logprobs"], scored["logprobs_s"])
            yield Finding(f"log-probabilities as {name} and as scored, {precision}", apart, "nats", bound)


def _largest(one: pl.Series, other: pl.Series) -> float:
    a, b = (np.asarray(x.explode().to_numpy(), dtype=np.float64) for x in (one, other))
    return float(np.abs(a - b).max())


@dataclass(frozen=True)
class _Answers:
    sampled: pl.DataFrame
    continued: pl.DataFrame
    scored: dict[str, pl.DataFrame]


def _answers(device: str, precision: str) -> _Answers:
    """Responses to miniature questions, continuations of their first halves, and scores of both."""
    settings = ModelSettings.model_validate(
        {
            "model": "dasd:mini-teacher",
            "device": device,
            "precision": precision,
            "batch_size": 64,
            "token_budget": 512,
        }
    )
    teacher = PluginHost.load([], lambda _: None).registry.make_teacher(settings)
    try:
        asked = {
            f"{q}-{c}": SampleRequest(f"{q}-{c}", str(q), (Message("user", each.question),), c, 100 * q + c)
            for q, each in enumerate(world.questions(QUESTIONS, seed=1, split="train"))
            for c in range(CANDIDATES)
        }
        spec = SamplingSpec("bench", 1.0, 0.95, 120)
        sampled = pl.concat(teacher.sample(list(asked.values()), spec))
        halves = [
            ContinueRequest(i, asked[i].question_id, asked[i].messages, 0, 7, text[: len(text) // 2])
            for i, text in sampled.select("sample_id", "text").iter_rows()
        ]
        continued = pl.concat(teacher.continue_(halves, spec))
        scored = {}
        for name, frame in (("sampled", sampled), ("continued", continued)):
            texts = [
                ScoreRequest(
                    row["sample_id"],
                    asked[row["sample_id"]].messages,
                    row["text"],
                    row["finish_reason"] == "stop",
                    SampledTokens(row["token_ids"], row["token_ends"], row["tokenizer_hash"]),
                )
                for row in frame.iter_rows(named=True)
            ]
            scored[name] = pl.concat(teacher.score(texts, ScoringSpec("bench", settings.token_budget)))
    finally:
        teacher.close()
    return _Answers(sampled, continued, scored)

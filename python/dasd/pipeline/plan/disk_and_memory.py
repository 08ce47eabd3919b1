"""Whether disk and memory suffice: of memory what models hold at least, by parameters times bytes."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from dasd.base.files import human_bytes
from dasd.base.machine import memory_bytes, nvidia_gpus
from dasd.errors import DasdError
from dasd.pipeline.plan.records import Finding, MemoryPlan, ModelPlan, ModelRole, StagePlan
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.training_settings import TrainerSettings

__all__ = [
    "STATE_BYTES",
    "check_disk",
    "disk_need",
    "plan_memory",
    "total_of",
    "trained_parameters",
]

STATE_BYTES = {"adamw": 12, "muon": 8}
"""Of a trainer's state a parameter, in float32: master weights, and two moments (Muon: one)."""


def total_of(sizes: Sequence[float | None]) -> float | None:
    """Their sum; an unknown part makes the whole unknown."""
    return None if None in sizes else sum(size or 0 for size in sizes)


def disk_need(stages: Sequence[StagePlan]) -> tuple[int | None, int | None]:
    """Bytes that the stages still to be run will write: expected and at most, the largest scratch included."""
    ahead = [stage.cost for stage in stages if stage.state != "done"]
    scratch = [cost.scratch_bytes for cost in ahead]
    largest = None if None in scratch else max((size or 0 for size in scratch), default=0)
    expected = total_of([*(cost.disk_bytes for cost in ahead), largest])
    most = total_of([*(cost.disk_bytes_most for cost in ahead), largest])
    return None if expected is None else round(expected), None if most is None else round(most)


def check_disk(stages: Sequence[StagePlan], free: int, place: Path, certain: bool) -> list[Finding]:
    """Free disk against need. ``certain``: models and questions are here, so a lack is a problem; else this may
    not be the machine, and it is a warning."""
    ahead = [stage.cost for stage in stages if stage.state != "done"]
    known = sum(cost.disk_bytes or 0 for cost in ahead) + max(
        (c.scratch_bytes or 0 for c in ahead), default=0
    )
    expected, most = disk_need(stages)
    advice = "make room, or give --run a directory on a larger disk"
    about = f"{'at least' if expected is None else 'about'} {human_bytes(known)}"
    if known > free:
        text = f"{about} will be written to {place}, and {human_bytes(free)} are free there"
        return [Finding("problem" if certain else "warning", "--run", text, advice)]
    if most is not None and most > free:
        text = (
            f"{about} are expected in {place}, at most {human_bytes(most)} if every response is as long as it "
            f"may be; {human_bytes(free)} are free there"
        )
        return [Finding("warning", "--run", text, advice)]
    return []


def trained_parameters(
    trainer: TrainerSettings, student: ModelSettings, parameters: int | None
) -> int | None:
    """Parameters that a training changes: all, or an adapter's, which the student's config tells.

    None where the student isn't on this machine, torch isn't, or targets are wrong, which is a finding elsewhere.
    """
    if trainer.adapter is None:
        return parameters
    if any(find_spec(name) is None for name in ("torch", "transformers")):
        return None
    from dasd.training.lora import adapter_size

    try:
        return adapter_size(student, trainer.lora)
    except DasdError:
        return None


def plan_memory(
    settings: RecipeSettings, models: Mapping[ModelRole, ModelPlan], loaded: Collection[ModelRole]
) -> tuple[tuple[MemoryPlan, ...], list[Finding]]:
    """Memory that every use of a model takes at least, and warnings where all devices together have less.

    ``loaded``: the models that are loaded onto this run's own devices to sample.
    Sampling: weights in the recipe's precision. Training in float32: weights, gradients (4 bytes each) and the
    optimiser's moments; with an adapter those of its own parameters, beside weights that are frozen (in bf16 of 2 bytes
    at least). Caches, activations and logits come on top, by what engine and data are.
    """
    found: list[MemoryPlan] = []
    findings: list[Finding] = []

    def add(role: ModelRole, what: str, parts: dict[str, int], device: str, key: str, advice: str) -> None:
        model = models[role]
        missing = "" if model.parameters is not None else f"the size of {model.model} isn't known here"
        available = _available(device) if model.here else None
        need = MemoryPlan(what, {} if missing else parts, missing, available)
        found.append(need)
        if available is not None and (need.total or 0) > available:
            least, there = human_bytes(need.total or 0), human_bytes(available)
            text = f"{what} takes at least {least}, and the devices have {there}"
            findings.append(Finding("warning", key, text, advice))

    roles: tuple[ModelRole, ...] = ("teacher", "student") if settings.asks_teacher else ("student",)
    for role in roles:
        of: ModelSettings = getattr(settings, role)
        if role in loaded:
            weights = (4 if of.precision == "fp32" else 2) * (models[role].parameters or 0)
            add(
                role, f"{role}, sampling", {"weights": weights}, of.device, f"{role}.model", "a smaller model"
            )
    trainings: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for stage in settings.stages:
        parts = _training(settings.trainer_for(stage), settings.student, models["student"].parameters)
        trainings.setdefault(tuple(parts.items()), []).append(stage.name)
    for needs, names in trainings.items():
        what, advice = f"student, training ({', '.join(names)})", "adapter: lora, or more devices"
        add("student", what, dict(needs), settings.trainer.device, "trainer", advice)
    return tuple(found), findings


def _training(trainer: TrainerSettings, student: ModelSettings, parameters: int | None) -> dict[str, int]:
    trained = trained_parameters(trainer, student, parameters) or 0
    frozen = 2 if trainer.adapter is not None and trainer.precision == "bf16" else 4
    parts = {
        "weights": frozen * (parameters or 0),
        "gradients": 4 * trained,
        "optimiser": (STATE_BYTES[trainer.optimizer] - 4) * trained,
    }
    return parts if trainer.adapter is None else {**parts, "adapter": 4 * trained}


def _available(device: str) -> int | None:
    """Memory of all devices of this machine that may be used; None where these aren't here."""
    if device == "cpu":
        return memory_bytes()
    gpus = nvidia_gpus()
    if gpus:
        return sum(gpu.memory_bytes for gpu in gpus)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    return memory_bytes() if device == "auto" or hidden else None

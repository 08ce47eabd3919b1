"""Whether disk and memory suffice."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from dasd.base.files import human_bytes
from dasd.base.machine import memory_bytes, nvidia_gpus
from dasd.pipeline.plan.adapters import adapter_of
from dasd.pipeline.plan.lengths import Lengths
from dasd.pipeline.plan.memory import inference_memory, training_memory
from dasd.pipeline.plan.models import Architecture
from dasd.pipeline.plan.records import Finding, Given, MemoryPlan, ModelPlan, ModelRole, StagePlan
from dasd.recipe.model_settings import CPU_BATCH_SIZE, ModelSettings
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["check_disk", "compare_memory", "disk_need", "plan_memory"]


def disk_need(stages: Sequence[StagePlan]) -> tuple[int | None, int | None]:
    """Bytes that the stages still to be run will write: expected and at most, the largest scratch included.

    Unknown parts make the whole unknown.
    """
    ahead = [stage.cost for stage in stages if stage.state != "done"]
    expected = _whole([cost.disk_bytes for cost in ahead])
    most = _whole([cost.disk_bytes_most for cost in ahead])
    scratch = [cost.scratch_bytes for cost in ahead]
    largest = None if None in scratch else max((size or 0 for size in scratch), default=0)
    return (
        None if expected is None or largest is None else expected + largest,
        None if most is None or largest is None else most + largest,
    )


def _whole(sizes: Sequence[int | None]) -> int | None:
    return None if None in sizes else sum(size or 0 for size in sizes)


def check_disk(stages: Sequence[StagePlan], free: int, place: Path, certain: bool) -> list[Finding]:
    """Free disk against need. ``certain``: models and questions are here and lengths aren't assumed, so a lack
    is a problem; else this may not be the machine, or the need not so large, and it is a warning."""
    ahead = [stage.cost for stage in stages if stage.state != "done"]
    known = sum(cost.disk_bytes or 0 for cost in ahead) + max(
        (c.scratch_bytes or 0 for c in ahead), default=0
    )
    expected, most = disk_need(stages)
    advice = "make room, or give --run a directory on a larger disk"
    if known > free:
        floor = "at least " if expected is None else "about "
        text = (
            f"{floor}{human_bytes(known)} will be written to {place}, and {human_bytes(free)} are free there"
        )
        return [Finding("problem" if certain else "warning", "--run", text, advice)]
    if most is not None and most > free:
        text = (
            f"{human_bytes(known)} are expected in {place}, at most {human_bytes(most)} if every response is as "
            f"long as it may be; {human_bytes(free)} are free there"
        )
        return [Finding("warning", "--run", text, advice)]
    return []


def plan_memory(
    settings: RecipeSettings,
    models: Mapping[ModelRole, ModelPlan],
    architectures: Mapping[ModelRole, Architecture | None],
    lengths: Lengths,
    given: Given,
    answer_tokens: int,
) -> tuple[MemoryPlan, ...]:
    """Memory of every use of a model; trainings that need the same are one.

    ``answer_tokens``: the largest cap on the student's answers in evaluation.
    """
    roles: tuple[ModelRole, ...] = ("teacher", "student") if settings.asks_teacher else ("student",)
    found = [
        inference_memory(
            role,
            settings,
            models[role],
            architectures[role],
            lengths,
            given,
            answer_tokens,
            _together(getattr(settings, role), models[role].here, given),
        )
        for role in roles
    ]
    trainers: dict[tuple[object, ...], tuple[list[str], TrainerSettings]] = {}
    for stage in settings.stages:
        trainer = settings.trainer_for(stage)
        adapter = adapter_of(trainer, settings.student)
        need = training_memory(trainer, "", models["student"], architectures["student"], given, adapter)
        names = trainers.setdefault((tuple(need.parts.items()), need.missing), ([], trainer))[0]
        names.append(stage.name)
    for names, trainer in trainers.values():
        adapter, label = adapter_of(trainer, settings.student), ", ".join(names)
        found.append(
            training_memory(trainer, label, models["student"], architectures["student"], given, adapter)
        )
    return tuple(found)


def compare_memory(
    settings: RecipeSettings,
    memory: Sequence[MemoryPlan],
    models: Mapping[ModelRole, ModelPlan],
    given: Given,
) -> tuple[tuple[MemoryPlan, ...], list[Finding]]:
    """Each need beside what the device has, and warnings where it is more."""
    findings = []
    compared = []
    for need in memory:
        role: ModelRole = "teacher" if need.what.startswith("teacher") else "student"
        training = "training" in need.what
        device = settings.trainer.device if training else getattr(settings, role).device
        available = _available(device, models[role].here, given)
        compared.append(replace(need, available=available))
        held = sum(need.parts.values())
        if available is not None and held > available:
            key = "trainer.max_length" if training else f"{role}.batch_size"
            advice = (
                "gradient_checkpointing, a smaller max_length or micro_batch_size, adapter: lora, more --devices"
                if training
                else "a smaller batch_size or cap on tokens, more --devices"
            )
            text = f"{need.what} takes about {human_bytes(held)}, and the device has {human_bytes(available)}"
            findings.append(Finding("warning", key, text, advice))
    return tuple(compared), findings


def _together(model: ModelSettings, here: bool, given: Given) -> int:
    """Responses that are decoded together at least: on a GPU as many as fit where the recipe doesn't say."""
    if model.batch_size is not None:
        return model.batch_size
    on_cpu = model.device == "auto" and here and given.device_memory is None and not nvidia_gpus()
    return CPU_BATCH_SIZE if on_cpu or model.device == "cpu" else 1


def _available(device: str, here: bool, given: Given) -> int | None:
    """Memory of the device; None where the run's own machine isn't known to be this one."""
    if device == "cpu":
        return memory_bytes() if here else None
    if given.device_memory is not None:
        return round(given.device_memory)
    if not here:
        return None
    gpus = nvidia_gpus()
    if gpus:
        number = int(device.partition(":")[2] or 0) if device.startswith("cuda") else 0
        return gpus[min(number, len(gpus) - 1)].memory_bytes
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
    return memory_bytes() if device == "auto" or hidden else None

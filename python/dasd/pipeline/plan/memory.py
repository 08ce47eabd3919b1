"""Memory that models need on one device, by rough formulas whose sources are named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dasd.pipeline.plan.lengths import Lengths
from dasd.pipeline.plan.models import Architecture
from dasd.pipeline.plan.rates import LOCAL_BACKENDS
from dasd.pipeline.plan.records import Given, MemoryPlan, ModelPlan, ModelRole
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.training_settings import TrainerSettings

if TYPE_CHECKING:
    from dasd.training.lora import AdapterSize

__all__ = ["inference_memory", "sharing", "training_memory"]

_BYTES = {"fp32": 4, "bf16": 2}
LOGITS_AT_ONCE = 2**25
"""Logits that scoring and the built-in trainer's loss hold at once, in float32."""


def inference_memory(
    role: ModelRole,
    settings: RecipeSettings,
    model: ModelPlan,
    architecture: Architecture | None,
    lengths: Lengths,
    given: Given,
    answer_tokens: int,
    responses: int,
) -> MemoryPlan:
    """Memory of a model while it samples ``responses`` together: weights, key-value cache, logits.

    Weights: parameters times 2 (bf16) or 4 bytes. Key-value cache: 2 x layers x KV heads x head size x bytes a
    token (Kwon et al., arXiv 2309.06180), for responses as long as they can get; sliding windows and what engines do
    about memory aren't counted. Logits: one float32 row of the vocabulary a response. While scoring,
    ``token_budget`` tokens are in memory instead. ``answer_tokens``: the largest cap on the student's
    answers in evaluation.
    """
    of: ModelSettings = getattr(settings, role)
    what = f"{role}, sampling"
    if of.backend not in LOCAL_BACKENDS:
        return MemoryPlan(what, missing=f"backend {of.backend!r} doesn't run it on this run's own devices")
    if model.parameters is None:
        return MemoryPlan(what, missing=_no_size(role, model))
    size = _BYTES[of.precision]
    parts = {"weights": round(model.parameters * size / given.devices)}
    if architecture is None:
        return MemoryPlan(
            what,
            parts,
            f"weights take {parts['weights'] / 2**30:.1f} GiB; without the model's config.json the "
            "key-value cache is unknown",
        )
    wanted = lengths.most() if role == "teacher" else answer_tokens
    prompts = lengths.prompts[role]
    tokens = lengths.cap(role, wanted + (prompts.longest if prompts else round(lengths.prompt(role))))
    a_token = 2 * architecture.layers * architecture.kv_heads * architecture.head_dim * size
    parts["key-value cache"] = round(responses * tokens * a_token / given.devices)
    parts["logits"] = responses * architecture.vocabulary * 4
    return MemoryPlan(what, parts)


def training_memory(
    trainer: TrainerSettings,
    name: str,
    model: ModelPlan,
    architecture: Architecture | None,
    given: Given,
    adapter: AdapterSize | None = None,
) -> MemoryPlan:
    """Memory of a training: weights, gradients, optimiser state, activations, logits.

    In float32 4 bytes a parameter for master weights, 4 for gradients, 8 for AdamW's moments (4 for Muon's):
    16 bytes in all (Rajbhandari et al., arXiv 1910.02054, count the same 16 with half-precision copies); shared
    out over the devices, as ZeRO-3 does. Activations of a layer: 34 x hidden bytes a token in 16 bits without
    the attention matrix (Korthikanti et al., arXiv 2205.05198, equation 1 less its last term, as flash
    attention keeps none), twice that in float32; with gradient checkpointing 2 x hidden a layer and one whole
    layer. A forward pass holds ``micro_batch_size`` packs of ``max_length`` tokens.

    With an adapter the 16 bytes are those of its parameters alone (``adapter``), and the others are frozen: 4 bytes
    each, in bf16 2 for those of linear layers that are stored so. Activations are counted the same, with the ``rank`` numbers a token
    and layer between the two matrices left out.
    """
    what = f"student, training ({name})"
    if model.parameters is None:
        return MemoryPlan(what, missing=_no_size("student", model))
    if trainer.adapter is not None:
        what = f"student, training an adapter ({name})"
        if adapter is None:
            return MemoryPlan(
                what, missing=f"the adapter's size is unknown without the config of {model.model}"
            )
    trained = model.parameters if adapter is None else adapter.trained
    moments = 8 if trainer.optimizer == "adamw" else 4
    parts = {
        "weights": round(_held(trainer, model.parameters, adapter) / given.devices),
        "gradients": round(4 * trained / given.devices),
        "optimiser": round(moments * trained / given.devices),
    }
    if adapter is not None:
        parts["adapter"] = round(4 * trained / given.devices)
    if architecture is None:
        held = sum(parts.values()) / 2**30
        return MemoryPlan(
            what,
            parts,
            f"weights, gradients and optimiser take {held:.1f} GiB; without the model's "
            "config.json the activations are unknown",
        )
    tokens = trainer.micro_batch_size * trainer.max_length
    scale = _BYTES[trainer.precision] // 2
    layer = 34 * architecture.hidden * tokens * scale
    if trainer.gradient_checkpointing:
        parts["activations"] = 2 * architecture.hidden * tokens * scale * architecture.layers + layer
    else:
        parts["activations"] = layer * architecture.layers
    parts["logits"] = 2 * 4 * min(LOGITS_AT_ONCE, tokens * architecture.vocabulary)
    return MemoryPlan(what, parts)


def sharing(memory: Sequence[MemoryPlan], given: Given) -> tuple[str, ...]:
    """What the figures take for granted of several devices: that none of them holds a whole model."""
    if given.devices == 1 or not any(need.parts for need in memory):
        return ()
    text = (
        "a model's weights and key-value cache, and a training's weights, gradients and optimiser state, are "
        f"divided evenly over all {given.devices} devices (as ZeRO-3 does); activations and logits are not"
    )
    return (text,)


def _held(trainer: TrainerSettings, parameters: int, adapter: AdapterSize | None) -> int:
    """Bytes of the student's own weights."""
    if adapter is None or trainer.precision == "fp32":
        return 4 * parameters
    return 4 * parameters - 2 * min(adapter.narrow, parameters)


def _no_size(role: ModelRole, model: ModelPlan) -> str:
    return f"{model.model} isn't on this machine and its size is unknown: give --{role}-params"

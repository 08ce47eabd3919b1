"""LoRA: which linear layers of a model get an adapter, how large it is, and putting it into the model.

Hu et al., arXiv 2106.09685: beside a frozen weight W (out, in) two matrices B (out, rank) and A (rank, in) are
trained, and the layer computes W x + alpha / rank B A x. B begins at zero, so training begins at W.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from dasd.base.suggest import did_you_mean
from dasd.errors import DasdError, PluginError, RecipeError
from dasd.models.files import load_config
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.training_settings import LoraSettings

TARGETS = "trainer.lora.targets"
_NAMED = 24
"""Names of layers that an error lists."""


def require_peft() -> None:
    """PluginError that says how to install peft, where it isn't there."""
    if find_spec("peft") is None:
        raise PluginError(
            "trainer.adapter: lora needs the package peft, which is not installed: pip install 'dasd[lora]'"
        )


def adapted_layers(model: Any, lora: LoraSettings, key: str = TARGETS) -> dict[str, nn.Linear]:
    """The linear layers that get an adapter, by their paths in ``model``.

    ``key``: the recipe's key of the targets. RecipeError for a target that is no linear layer, and for one that
    is tied to the embeddings: merging would change these too.
    """
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    head = model.get_output_embeddings()
    if not lora.targets:
        found = {name: module for name, module in linear.items() if module is not head}
        if not found:
            raise RecipeError(f"{key}: {type(model).__name__} has no linear layer but its head")
        return found
    chosen: dict[str, nn.Linear] = {}
    for target in lora.targets:
        matched = {name: linear[name] for name in linear if name == target or name.endswith(f".{target}")}
        if not matched:
            raise RecipeError(f"{key}: {_unmatched(model, target, linear)}")
        chosen |= matched
    embeddings = model.get_input_embeddings()
    for name, module in chosen.items():
        if module is head and embeddings is not None and module.weight is embeddings.weight:
            raise RecipeError(
                f"{key}: {name} is tied to the embeddings of {type(model).__name__}, which an adapter of the head "
                "would change too; take it out"
            )
    return {name: module for name, module in linear.items() if name in chosen}


def _unmatched(model: Any, target: str, linear: dict[str, nn.Linear]) -> str:
    known = list(dict.fromkeys(name.rpartition(".")[2] for name in linear))
    others = [
        type(module).__name__
        for name, module in model.named_modules()
        if name == target or name.endswith(f".{target}")
    ]
    if others:
        what = f"{target!r} is {others[0]}, which is no linear layer"
    else:
        what = f"{target!r} matches no module of {type(model).__name__}"
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return what + did_you_mean(target, known) + f" Its linear layers: {', '.join(known[:_NAMED])}{more}"


def add_adapter(model: Any, lora: LoraSettings, seed: int) -> None:
    """Freeze ``model``, which lies on the CPU, and put an adapter into it. ``seed``: of the matrices A.

    The model stays the class that it is; trained are the adapter's float32 matrices alone.
    """
    from peft import inject_adapter_in_model

    torch.manual_seed(seed)
    inject_adapter_in_model(peft_config(model, lora), model)


def peft_config(model: Any, lora: LoraSettings) -> Any:
    """peft's own settings that mean the same; what ``adapter_config.json`` says."""
    require_peft()
    from peft import LoraConfig

    chosen = adapted_layers(model, lora)
    ends = {name.rpartition(".")[2] for name in chosen}
    # Short names where they mean the same layers: other tools look for them.
    same = all(
        name in chosen for name, module in model.named_modules() if name.rpartition(".")[2] in ends
    ) and len(ends) < len(chosen)
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=sorted(ends if same else chosen),
        bias="none",
    )


def narrow_frozen(model: Any) -> None:
    """Hold frozen weights of linear layers in bf16, where autocast takes them to anyway.

    Only right for weights that are stored in bf16: then no number changes. The embeddings stay in float32, the head
    too if it is tied to them.
    """
    embeddings = model.get_input_embeddings()
    kept = None if embeddings is None else embeddings.weight
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight is not kept:
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)


def adapter_size(settings: ModelSettings, lora: LoraSettings, key: str = TARGETS) -> int | None:
    """Parameters of an adapter of this model, by its config alone; None where that isn't on this machine.

    Raises RecipeError as ``adapted_layers`` does: so wrong targets are found before anything is spent.
    """
    model = _skeleton(settings.model, settings.revision, settings.trust_remote_code)
    if model is None:
        return None
    chosen = adapted_layers(model, lora, key)
    return sum(lora.rank * (m.in_features + m.out_features) for m in chosen.values())


@lru_cache(maxsize=4)
def _skeleton(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The model without weights."""
    from transformers import AutoModelForCausalLM

    try:
        config = load_config(name, revision, trust_remote_code=trust_remote_code, here=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)  # type: ignore[no-untyped-call]
        model.tie_weights()
    except (DasdError, OSError, ValueError, ImportError, RuntimeError):
        return None  # not here, or no such model: told where models are looked at
    return model

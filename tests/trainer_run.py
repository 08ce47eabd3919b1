"""A tiny real model with a tiny real tokenizer, and rows to train it on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import polars as pl
import torch

from dasd.api import TRAIN, Checkpoint, TrainerSettings, TrainProgress, TrainSpec

END, PAD, VOCABULARY = 1, 2, 48
TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def make_model(directory: Path, *, pad: int = PAD, architecture: str = "llama", **config: Any) -> Path:
    """Write a causal language model of about 20K parameters with its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(1)
    shape = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 0,
        "eos_token_id": END,
        "pad_token_id": pad,
    }
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **(shape | config)))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            # Larger than usual, so that tokens in the context matter from the start.
            torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(directory)
    words = {f"w{i}": i for i in range(VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="w0", eos_token=f"w{END}", pad_token=f"w{pad}"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
    return directory


def make_rows(count: int, *, seed: int = 0, low: int = 8, high: int = 40) -> pl.DataFrame:
    """TRAIN rows of random tokens with a masked prompt and a trained end."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(draw.integers(low, high))
        prompt = int(draw.integers(2, length - 3))
        tokens = [*draw.integers(3, VOCABULARY, length - 1).tolist(), END]
        weight = float(draw.choice([0.5, 1.0, 2.0]))
        rows.append((f"sample-{number}", tokens, [prompt, length - prompt], weight, "low"))
    return pl.DataFrame(rows, schema=dict(TRAIN.columns), orient="row")


def write_shards(directory: Path, rows: pl.DataFrame) -> list[Path]:
    """Write ``rows`` as two Parquet files (one if there are fewer than two rows)."""
    directory.mkdir(parents=True, exist_ok=True)
    half = rows.height // 2
    shards = []
    for number, part in enumerate((rows[:half], rows[half:])):
        if part.height or rows.is_empty():
            shards.append(directory / f"part-train-{number}.parquet")
            part.write_parquet(shards[-1])
    return shards


def settings(**changes: Any) -> TrainerSettings:
    """Settings of a short training on the CPU in float32."""
    plain = {
        "epochs": 2,
        "learning_rate": 1e-2,
        "min_learning_rate": 1e-3,
        "batch_size": 4,
        "micro_batch_size": 2,
        "max_length": 64,
        "precision": "fp32",
        "save_every": 3,
        "device": "cpu",
    }
    return TrainerSettings.model_validate(plain | changes)


def spec(
    root: Path, *, on_step: Callable[[TrainProgress], None] = lambda _: None, **changes: Any
) -> TrainSpec:
    """A training of ``root/model`` with its output and state in ``root``."""
    return TrainSpec(
        stage="low",
        model=root / "model",
        output=root / "out",
        state=root / "state",
        settings=settings(**changes),
        seed=7,
        trust_remote_code=False,
        on_step=on_step,
    )


def train(shards: Sequence[Path], wanted: TrainSpec, *, resume: bool = False) -> Checkpoint:
    """Train on one thread."""
    from dasd.training.torch.trainer import TorchTrainer

    torch.set_num_threads(1)
    return TorchTrainer(wanted.settings).train(shards, wanted, resume)

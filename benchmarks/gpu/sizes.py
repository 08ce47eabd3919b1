"""How much is measured: the models, made on the spot with random weights, and the work they are given."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shape:
    """A Llama. Its weights are random: speed and memory don't depend on them."""

    name: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_heads: int

    @property
    def config(self) -> dict[str, object]:
        """Arguments of transformers' Llama configuration."""
        return {
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.key_heads,
            "max_position_embeddings": 131_072,
            "tie_word_embeddings": True,
        }


TINY = Shape("Llama 0.1M", 1_024, 64, 128, 2, 4, 2)
SMALL = Shape("Llama 135M", 49_152, 576, 1_536, 30, 9, 3)
"""The shape of SmolLM2-135M."""
LARGE = Shape("Llama 1.2B", 128_256, 2_048, 8_192, 16, 32, 8)
"""The shape of Llama-3.2-1B."""


@dataclass(frozen=True)
class TrainWork:
    """Training of one model: optimiser steps of ``packs`` packs of ``max_length`` tokens each."""

    shape: Shape
    packs: int
    steps: int
    warmup: int = 1
    max_length: int = 8_192
    mean_length: float = 2_800.0
    prompt: int = 64


@dataclass(frozen=True)
class SampleWork:
    """Sampling with one model: one batch of each size, ``tokens`` new tokens a response."""

    shape: Shape
    batch_sizes: tuple[int, ...]
    tokens: int
    prompt: int = 200


@dataclass(frozen=True)
class ScoreWork:
    """Scoring with one model: ``responses`` of ``length`` tokens."""

    shape: Shape
    length: int
    responses: int


@dataclass(frozen=True)
class Sizes:
    """All work of a run; ``rounds``: times that each contender is measured."""

    rounds: int
    training: tuple[TrainWork, ...] = field(default=())
    sampling: tuple[SampleWork, ...] = field(default=())
    scoring: tuple[ScoreWork, ...] = field(default=())


FULL = Sizes(
    rounds=3,
    training=(TrainWork(SMALL, packs=4, steps=3), TrainWork(LARGE, packs=2, steps=2)),
    scoring=(ScoreWork(SMALL, 32_768, 1), ScoreWork(SMALL, 65_536, 1), ScoreWork(LARGE, 65_536, 1)),
    sampling=(
        SampleWork(SMALL, (8, 64, 256, 512), tokens=48),
        SampleWork(LARGE, (64, 512), tokens=48),
    ),
)
QUICK = Sizes(
    rounds=1,
    training=(TrainWork(SMALL, packs=4, steps=3),),
    sampling=(SampleWork(SMALL, (64,), tokens=64),),
    scoring=(ScoreWork(SMALL, 32_768, 1),),
)
TRIAL = Sizes(
    rounds=2,
    training=(TrainWork(TINY, packs=2, steps=2, warmup=1, max_length=256, mean_length=80.0, prompt=8),),
    sampling=(SampleWork(TINY, (2, 4), tokens=6, prompt=20),),
    scoring=(ScoreWork(TINY, 600, 2),),
)
"""Whether everything runs, on any machine; the figures mean nothing."""

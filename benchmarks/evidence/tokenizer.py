"""One tokenizer for both models of a world, of the words that the world writes and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from transformers import PreTrainedTokenizerFast

from benchmarks.evidence.worlds import World
from benchmarks.miniature.tokenizers import wrapped

__all__ = ["world_tokenizer"]

TEXTS = 500
_PIECES = r"\. |, | [+-]\d| ?[A-Za-z]+| ?\d{1,2}| ?[^\sA-Za-z0-9]|\s+"


def world_tokenizer(world: World, context: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE that takes a word or a number as one token; the same every time.

    Characters that the world never writes have no token. ``context``: the models', in tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = Sequence(
        [Split(Regex(_PIECES), behavior="isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(vocab_size=1_000, min_frequency=5, show_progress=False)
    return wrapped(tokenizer, trainer, _texts(world), context)


def _texts(world: World) -> Iterator[str]:
    """Questions and thoughts without their think tags, in the teacher's habits."""
    rng = random.Random(0)
    for _ in range(TEXTS):
        question = world.question(rng)
        yield question.question
        yield world.solve(question, "teacher", rng).removeprefix("<think>").replace("</think>", "")

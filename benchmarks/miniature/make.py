"""Make the miniature models from scratch: `python -m benchmarks.miniature.make [--out DIR] [--seed N]`.

Both are small Llamas trained with plain torch on freshly drawn responses: Muon for the matrices, AdamW for
embeddings and norms, a cosine to a hundredth of the learning rate. Only questions of the training split are
used. Writes `DIR/teacher` and `DIR/student` as Hugging Face model directories.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.miniature.cards import TRAINING_FILE, Training, write_json
from benchmarks.miniature.tokenizers import MAX_POSITIONS, Role, build_tokenizer
from dasd.base.progress import no_bars
from dasd.models.miniature.world import (
    STUDENT_HABITS,
    TEACHER_HABITS,
    Habits,
    Question,
    draw_style,
    random_question,
    solve,
    split_of,
)

IGNORED = -100


@dataclass(frozen=True)
class Plan:
    """Shape and training of one model. `batch` counts responses a step, `threads` torch threads."""

    habits: Habits
    width: int
    layers: int
    heads: int
    mlp: int
    steps: int
    batch: int
    lr: float
    threads: int


PLANS: dict[Role, Plan] = {
    "teacher": Plan(
        TEACHER_HABITS, width=160, layers=4, heads=5, mlp=448, steps=1500, batch=64, lr=1e-2, threads=2
    ),
    "student": Plan(
        STUDENT_HABITS, width=64, layers=4, heads=4, mlp=192, steps=215, batch=32, lr=1e-2, threads=1
    ),
    "sibling": Plan(
        STUDENT_HABITS, width=64, layers=4, heads=4, mlp=192, steps=215, batch=32, lr=1e-2, threads=1
    ),
}


def main() -> None:
    """Make the miniature models from scratch and save them as Hugging Face model directories."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.make", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=Path("miniature-models"), help="directory to write into")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and data")
    parser.add_argument("--role", choices=sorted(PLANS), help="make only this model")
    parser.add_argument("--steps", type=int, help="train for so many steps instead of the plan's")
    options = parser.parse_args()
    for role, plan in PLANS.items():
        if options.role in (None, role):
            make(role, plan, options.out / role, options.seed, options.steps or plan.steps)


def make(role: Role, plan: Plan, directory: Path, seed: int, steps: int) -> LlamaForCausalLM:
    """Train one model and save it with its tokenizer in `directory`; return it in evaluation mode."""
    torch.manual_seed(seed)
    torch.set_num_threads(plan.threads)
    tokenizer = build_tokenizer(role)
    model = build_model(plan, tokenizer)
    parameters = sum(p.numel() for p in model.parameters())
    click.echo(f"{role}: {parameters:,} parameters, vocabulary {len(tokenizer)}, {steps} steps")
    started = time.perf_counter()
    tokens = train(model, tokenizer, plan, random.Random(f"{role}/{seed}"), steps)
    seconds = time.perf_counter() - started
    with no_bars():
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    training = Training(role, seed, steps, plan.batch, tokens, plan.lr, plan.threads, round(seconds))
    write_json(directory / TRAINING_FILE, training)
    click.echo(f"{role}: trained in {seconds:.0f} s, saved in {directory}")
    return model


class Shape(Protocol):
    """What of a plan decides an untrained model."""

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        ...

    @property
    def layers(self) -> int:
        """Transformer layers."""
        ...

    @property
    def heads(self) -> int:
        """Attention heads of a layer."""
        ...

    @property
    def mlp(self) -> int:
        """Width of the feed-forward part."""
        ...


def build_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return an untrained Llama in fp32 with tied embeddings, its token ids those of `tokenizer`."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.do_sample = True
    model.generation_config.temperature = 1.0
    model.generation_config.top_k = 0
    model.generation_config.max_new_tokens = 128
    return model


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, plan: Plan, rng: random.Random, steps: int
) -> int:
    """Train `model` in place; return the number of tokens seen, prompts included.

    Prints loss and speed every 50 steps. Raises RuntimeError when the loss is not finite.
    """
    model.train()
    hidden = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed_tokens" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed_tokens" in n]
    optimizers = [
        torch.optim.Muon(hidden, lr=plan.lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=plan.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    tokens, started = 0, time.perf_counter()
    for step in range(steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = plan.lr * learning_rate_factor(step, steps)
        input_ids, attention_mask, labels = draw_batch(tokenizer, plan.habits, plan.batch, rng)
        loss = model(input_ids=input_ids, attention_mask=attention_mask, labels=labels).loss
        if not torch.isfinite(loss):
            raise RuntimeError(f"step {step}: wanted a finite loss, got {loss.item()}; lower the plan's lr")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        tokens += int(attention_mask.sum())
        if (step + 1) % 50 == 0:
            speed = tokens / (time.perf_counter() - started)
            click.echo(f"step {step + 1} loss {loss.item():.4f} tokens {tokens:,} ({speed:,.0f}/s)")
    model.train(False)
    return tokens


def learning_rate_factor(step: int, steps: int, warmup: float = 0.03, floor: float = 0.01) -> float:
    """Return the share of the peak learning rate at `step`: linear warm-up, then a cosine down to `floor`."""
    ramp = max(1, round(warmup * steps))
    if step < ramp:
        return (step + 1) / ramp
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (step - ramp) / max(1, steps - ramp)))


def draw_batch(
    tokenizer: PreTrainedTokenizerFast, habits: Habits, size: int, rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return input ids, attention mask and labels, each int64 [size, longest], padded on the right.

    The prompt is the chat template's own rendering; labels cover the response and the end token only.
    """
    prompts, chats = [], []
    for _ in range(size):
        question = _training_question(rng)
        response = solve(question, draw_style(rng, habits), rng, habits)
        chat = [{"role": "user", "content": question.question}]
        prompts.append(str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)))
        chats.append(prompts[-1] + response + str(tokenizer.eos_token))
    encoded = tokenizer(
        chats, padding=True, padding_side="right", add_special_tokens=False, return_tensors="pt"
    )
    input_ids, attention_mask = encoded["input_ids"], encoded["attention_mask"]
    labels = input_ids.masked_fill(attention_mask == 0, IGNORED)
    for row, prompt in zip(labels, tokenizer(prompts, add_special_tokens=False)["input_ids"], strict=True):
        row[: len(prompt)] = IGNORED
    return input_ids, attention_mask, labels


def _training_question(rng: random.Random) -> Question:
    while True:
        question = random_question(rng)
        if split_of(question.question) == "train":
            return question


if __name__ == "__main__":
    main()

"""Measure how often the miniature models are right: `python -m benchmarks.miniature.measure [DIR ...]`.

For each temperature and sampling seed, one response a question of the evaluation split: once free, once with
each style forced by the start of a response that commits to it. Prints a table and, with `--record`, writes
`figures.json` and the model card into the model's directory.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

import click
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.miniature.cards import FIGURES_FILE, Accuracy, Figures, write_card, write_json
from dasd.base.progress import no_bars
from dasd.models.miniature import ROLES, model_path
from dasd.models.miniature.world import (
    STUDENT_HABITS,
    STYLES,
    Question,
    questions,
    style_of,
    style_prefix,
    verify,
)

EVALUATION_SEED = 1_000
MAX_NEW_TOKENS = 128


def main() -> None:
    """Measure how often miniature models are right, by style and temperature."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.miniature.measure", description=main.__doc__)
    parser.add_argument("directories", nargs="*", type=Path, default=[model_path(role) for role in ROLES])
    parser.add_argument("--questions", type=int, default=300, help="evaluation questions a sampling seed")
    parser.add_argument("--seeds", type=int, default=3, help="sampling seeds")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.6])
    parser.add_argument(
        "--record", action="store_true", help="write figures.json and README.md into the directory"
    )
    options = parser.parse_args()
    for directory in options.directories:
        figures = measure(directory, options.questions, options.seeds, options.temperatures)
        size = f"{figures.parameters:,} parameters, {figures.mean_response_tokens:.1f} tokens a response"
        click.echo(f"{directory}: {size}")
        for a in figures.accuracies:
            how = "forced" if a.forced else "free"
            share = "" if a.share is None else f"  share {a.share:.2f}"
            right = f"{a.mean:.3f} +- {a.deviation:.3f}"
            click.echo(f"  T={a.temperature:.1f} {how:6} {a.style:8} {right}{share}")
        if options.record:
            write_json(directory / FIGURES_FILE, figures)
            write_card(directory)


def measure(directory: Path, count: int, seeds: int, temperatures: Sequence[float]) -> Figures:
    """Measure the model in `directory` on `count` evaluation questions for each of `seeds` sampling seeds."""
    with no_bars():
        model = AutoModelForCausalLM.from_pretrained(directory).train(False)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    asked = questions(count, EVALUATION_SEED, "eval")
    accuracies: list[Accuracy] = []
    lengths: list[int] = []
    for temperature in temperatures:
        free = []
        for seed in range(seeds):
            texts = sample(model, tokenizer, asked, [""] * count, temperature, seed)
            lengths += [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
            free.append([(style_of(t), verify(t, q.answer)[0]) for t, q in zip(texts, asked, strict=True)])
        accuracies.append(
            _summary("all", temperature, False, [[right for _, right in run] for run in free], 1.0)
        )
        for style in STYLES:
            runs = [[right for name, right in run if name == style] for run in free]
            share = sum(map(len, runs)) / (count * seeds)
            if all(runs):
                accuracies.append(_summary(style, temperature, False, runs, share))
        for style in STYLES:
            runs = []
            for seed in range(seeds):
                rng = random.Random(seed)
                prefixes = [style_prefix(question, style, rng, STUDENT_HABITS) for question in asked]
                texts = sample(model, tokenizer, asked, prefixes, temperature, seed)
                runs.append([verify(t, q.answer)[0] for t, q in zip(texts, asked, strict=True)])
            accuracies.append(_summary(style, temperature, True, runs, None))
    return Figures(
        parameters=model.num_parameters(),
        vocabulary=len(tokenizer),
        questions=count,
        sampling_seeds=seeds,
        mean_response_tokens=round(statistics.mean(lengths), 1),
        accuracies=tuple(accuracies),
    )


def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    asked: Sequence[Question],
    prefixes: Sequence[str],
    temperature: float,
    seed: int,
    batch: int = 300,
) -> list[str]:
    """Return one response a question, each beginning with its prefix, without end token and padding."""
    torch.manual_seed(seed)
    texts: list[str] = []
    for start in range(0, len(asked), batch):
        chats = [[{"role": "user", "content": q.question}] for q in asked[start : start + batch]]
        prompts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        begun = [p + prefix for p, prefix in zip(prompts, prefixes[start : start + batch], strict=True)]
        encoded = tokenizer(
            begun, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt"
        )
        with torch.inference_mode():
            output = model.generate(  # type: ignore[operator]
                **encoded,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=MAX_NEW_TOKENS,
            )
        completions = tokenizer.batch_decode(
            output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True
        )
        texts += [
            prefix + text for prefix, text in zip(prefixes[start : start + batch], completions, strict=True)
        ]
    return texts


def _summary(
    style: str, temperature: float, forced: bool, runs: Sequence[Sequence[bool]], share: float | None
) -> Accuracy:
    means = [statistics.mean(map(float, run)) for run in runs]
    deviation = statistics.stdev(means) if len(means) > 1 else 0.0
    rounded = None if share is None else round(share, 3)
    return Accuracy(
        style, temperature, forced, round(statistics.mean(means), 4), round(deviation, 4), rounded
    )


if __name__ == "__main__":
    main()

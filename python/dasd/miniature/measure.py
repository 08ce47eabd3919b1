"""Measure how often the miniature models are right: `python -m dasd.miniature.measure [DIR ...]`.

For each temperature and sampling seed, one response a question of the evaluation split: once free, once with each
style forced by the start of a response that commits to it. Prints a table and, with `--record`, writes
`figures.json` and the model card into the model's directory.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from dasd.miniature import ROLES, model_path
from dasd.miniature.cards import write_card
from dasd.miniature.world import STUDENT_HABITS, STYLES, Question, questions, style_of, style_prefix, verify

EVALUATION_SEED = 1_000
MAX_NEW_TOKENS = 128


@dataclass(frozen=True)
class Accuracy:
    """Share of right responses at one temperature: mean and standard deviation over sampling seeds.

    `share` is how often the style was chosen (0 to 1, mean over seeds); None where the style was forced.
    """

    style: str
    temperature: float
    forced: bool
    mean: float
    deviation: float
    share: float | None


@dataclass(frozen=True)
class Figures:
    """What was measured of one model."""

    parameters: int
    vocabulary: int
    questions: int
    sampling_seeds: int
    mean_response_tokens: float
    accuracies: tuple[Accuracy, ...]


def main() -> None:
    """Parse the command line, measure each model, print its table."""
    parser = argparse.ArgumentParser(prog="python -m dasd.miniature.measure", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("directories", nargs="*", type=Path, default=[model_path(role) for role in ROLES])
    parser.add_argument("--questions", type=int, default=300, help="evaluation questions a sampling seed")
    parser.add_argument("--seeds", type=int, default=3, help="sampling seeds")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.6])
    parser.add_argument("--record", action="store_true", help="write figures.json and README.md beside the model")
    options = parser.parse_args()
    for directory in options.directories:
        figures = measure(directory, options.questions, options.seeds, options.temperatures)
        print(f"{directory}: {figures.parameters:,} parameters, {figures.mean_response_tokens:.1f} tokens a response")
        for a in figures.accuracies:
            how = "forced" if a.forced else "free"
            share = "" if a.share is None else f"  share {a.share:.2f}"
            print(f"  T={a.temperature:.1f} {how:6} {a.style:8} {a.mean:.3f} +- {a.deviation:.3f}{share}", flush=True)
        if options.record:
            (directory / "figures.json").write_text(json.dumps(asdict(figures), indent=1) + "\n")
            write_card(directory)


def measure(directory: Path, count: int, seeds: int, temperatures: Sequence[float]) -> Figures:
    """Measure the model in `directory` on `count` evaluation questions for each of `seeds` sampling seeds."""
    model = AutoModelForCausalLM.from_pretrained(directory).eval()
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
        accuracies.append(_summary("all", temperature, False, [[right for _, right in run] for run in free], 1.0))
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
    """Return one response a question, each beginning with its prefix; the end token and padding are left out."""
    torch.manual_seed(seed)
    texts: list[str] = []
    for start in range(0, len(asked), batch):
        chats = [[{"role": "user", "content": q.question}] for q in asked[start : start + batch]]
        prompts = tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        begun = [p + prefix for p, prefix in zip(prompts, prefixes[start : start + batch], strict=True)]
        encoded = tokenizer(begun, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(
                **encoded, do_sample=True, temperature=temperature, top_k=0, top_p=1.0, max_new_tokens=MAX_NEW_TOKENS
            )
        completions = tokenizer.batch_decode(output[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        texts += [prefix + text for prefix, text in zip(prefixes[start : start + batch], completions, strict=True)]
    return texts


def _summary(
    style: str, temperature: float, forced: bool, runs: Sequence[Sequence[bool]], share: float | None
) -> Accuracy:
    means = [statistics.mean(map(float, run)) for run in runs]
    deviation = statistics.stdev(means) if len(means) > 1 else 0.0
    rounded = None if share is None else round(share, 3)
    return Accuracy(style, temperature, forced, round(statistics.mean(means), 4), round(deviation, 4), rounded)


if __name__ == "__main__":
    main()

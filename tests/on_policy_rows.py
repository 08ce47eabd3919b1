"""ON_POLICY_TRAIN rows of a tiny student, told of by a tiny teacher with the same tokenizer: plain forward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import torch
from tests.trainer_run import END, VOCABULARY
from torch import Tensor

from dasd.base.schemas import ON_POLICY_TRAIN

__all__ = ["forward", "load", "own_rows", "reverse_kl"]

_PROMPT = 4


def load(directory: Path) -> Any:
    """The model in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


@torch.no_grad()
def forward(model: Any, rows: list[list[int]]) -> Tensor:
    """Log-probabilities (N, T, V) after each token of rows of one length."""
    found: Tensor = model(input_ids=torch.tensor(rows), use_cache=False).logits.log_softmax(-1)
    return found


def own_rows(
    student: Any, teacher: Any, count: int, *, top: int | None, seed: int = 0, longest: int = 24
) -> pl.DataFrame:
    """``count`` responses that the student samples, with ``top`` likeliest tokens of the teacher or none."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, VOCABULARY, (count, _PROMPT), generator=generator)
    while tokens.shape[1] < longest:
        p = torch.stack([table[-1].exp() for table in forward(student, tokens.tolist())])
        tokens = torch.cat([tokens, torch.multinomial(p, 1, generator=generator)], 1)
    written = tokens.tolist()
    ends = [(row.index(END, _PROMPT) + 1) if END in row[_PROMPT:] else longest for row in written]
    rows = []
    for number, (row, end, own, theirs) in enumerate(
        zip(written, ends, forward(student, written), forward(teacher, written), strict=True)
    ):
        behind = slice(_PROMPT - 1, end - 1)
        targets = torch.tensor(row[_PROMPT:end])[:, None]
        sampled, told = (table[behind].gather(-1, targets)[:, 0] for table in (own, theirs))
        ranked, ids = theirs[behind].topk(top or 1, -1)
        likeliest = (None, None) if top is None else (ids.flatten().tolist(), ranked.flatten().tolist())
        rows.append(
            (f"own-{number}", row[:end], [_PROMPT, end - _PROMPT], 1.0, "round")
            + (sampled.tolist(), (told - sampled).tolist(), *likeliest)
        )
    return pl.DataFrame(rows, schema=dict(ON_POLICY_TRAIN.columns), orient="row")


def reverse_kl(student: Any, teacher: Any, rows: pl.DataFrame) -> float:
    """Mean over the trained tokens of KL( student || teacher ) over the whole vocabulary, nats a token."""
    total, count = 0.0, 0
    for tokens, (prompt, trained) in rows.select("token_ids", "loss_mask").iter_rows():
        own, theirs = (forward(model, [tokens])[0, prompt - 1 : -1] for model in (student, teacher))
        total += float((own.exp() * (own - theirs)).sum())
        count += trained
    return total / count

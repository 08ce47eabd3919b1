"""Check all labels of a training before any weight changes, and show one example's.

Students that never stop, or that train on the prompt, come from wrong labels: such a training is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from dasd.base.schemas import TRAIN
from dasd.base.small_files import read_json
from dasd.errors import SchemaError, TrainingError
from dasd.models.files import load_config, loading
from dasd.plugins.roles import TrainSpec
from dasd.training.loaded_rows import expand_runs
from dasd.training.plan import plan_training

_SHOWN = 24
"""Tokens shown at either end of a long run of a mask."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a training is going to do. ``rendering``: one example's labels, several lines of text."""

    rendering: str
    rows: int
    tokens: int
    """Tokens of all rows, one epoch."""
    trained_tokens: int
    """Tokens with a loss, one epoch."""
    packs: int
    """Packs over all epochs."""
    steps: int


@dataclass(frozen=True, slots=True)
class _ModelTokens:
    """What the checks need to know of the tokens of the model that training starts from."""

    vocab_size: int
    end_ids: tuple[int, ...]
    pad_is_end: bool
    token_text: Callable[[int], str]


def preflight(shards: Sequence[Path], spec: TrainSpec) -> Preflight:
    """Hold every row of the TRAIN files ``shards`` against the labels that training needs.

    Raises TrainingError that says what is wrong, in how many rows, and shows the first of them: no rows at
    all; a prompt that isn't masked; an end token that isn't trained at the end; a row over
    ``settings.max_length``; token ids outside the vocabulary; masks that don't cover their row; weights
    that aren't above zero. SchemaError for a file that isn't TRAIN, InputError for a start model
    without config or tokenizer.
    """
    model = _model_tokens(spec)
    if not shards:
        raise TrainingError(f"training {spec.stage!r} got no shards of TRAIN rows; wanted at least one row")
    lazy = pl.scan_parquet(list(shards))
    _check_columns(lazy, shards)
    own = (
        pl.col("sampled_logprobs").is_not_null()
        if "sampled_logprobs" in lazy.collect_schema()
        else pl.lit(value=False)
    )
    problems = _problems(spec, model)
    wrong = (
        each.fill_null(value=True).cast(pl.UInt16) * (1 << bit) for bit, (each, _) in enumerate(problems)
    )
    facts = lazy.select(**_row_facts(), own=own)
    rows = facts.select("length", "trained", wrong=pl.sum_horizontal(*wrong)).collect(engine="streaming")
    if rows.is_empty():
        raise TrainingError(
            f"training {spec.stage!r} got no rows: filters or selection have dropped every response. "
            "Look at the verdicts of the filter stage."
        )
    _refuse_wrong_rows(rows["wrong"], [words for _, words in problems], lazy, spec, model)
    plan = plan_training(rows.get_column("length").cast(pl.Int64).to_numpy(), spec.settings, spec.seed)
    return Preflight(
        rendering=_render(lazy, 0, model),
        rows=rows.height,
        tokens=int(rows.get_column("length").cast(pl.UInt64).sum()),
        trained_tokens=int(rows.get_column("trained").cast(pl.UInt64).sum()),
        packs=plan.packs,
        steps=plan.steps,
    )


def _row_facts() -> dict[str, pl.Expr]:
    """Small columns that the checks are made of, one row a row."""
    token_ids, mask = pl.col("token_ids"), pl.col("loss_mask")
    return {
        "weight": pl.col("weight"),
        "length": token_ids.list.len(),
        "highest": token_ids.list.max(),
        "last": token_ids.list.last(),
        "covered": mask.cast(pl.List(pl.UInt64)).list.sum(),
        "masked_first": mask.list.first(),
        "trained": mask.cast(pl.List(pl.UInt64)).list.gather_every(2, 1).list.sum(),
        # The last run that isn't empty is a trained one: runs alternate and the first is masked.
        "end_trained": pl.when(mask.list.last() > 0)
        .then(mask.list.len() % 2 == 0)
        .otherwise(mask.list.len() % 2 == 1),
    }


def _problems(spec: TrainSpec, model: _ModelTokens) -> Sequence[tuple[pl.Expr, str]]:
    """What may be wrong with a row, of ``_row_facts``, and how it is said of several."""
    limit = spec.settings.max_length
    ends = " or ".join(map(str, model.end_ids))
    pad_hint = (
        " The tokenizer's padding token is the end token: a mask made from `token != padding` loses the end."
        if model.pad_is_end
        else ""
    )
    return (
        (pl.col("length") == 0, "have no tokens"),
        (
            pl.col("length") > limit,
            f"are over trainer.max_length = {limit} tokens: raise it, or filter by length (filters.length)",
        ),
        (
            pl.col("highest") >= model.vocab_size,
            f"hold token ids outside the vocabulary of {model.vocab_size}: another tokenizer made them",
        ),
        (
            pl.col("covered").fill_null(0) != pl.col("length"),
            "have a loss_mask whose run lengths don't add up to their tokens",
        ),
        (
            pl.col("masked_first").fill_null(0) == 0,
            "don't mask their prompt: the first run of loss_mask (masked tokens) is 0",
        ),
        (pl.col("trained").fill_null(0) == 0, "train no token at all"),
        (
            # What the student itself wrote and didn't end is trained as far as it came.
            ~(pl.col("last").is_in(list(model.end_ids)).fill_null(value=False) | pl.col("own")),
            f"don't end with the end token (id {ends}): drop responses that were cut off (filters.truncated)",
        ),
        (
            ~(pl.col("end_trained").fill_null(value=False) | pl.col("own")),
            f"mask their end token (id {ends}), so the student would never learn to stop." + pad_hint,
        ),
        (
            ~(pl.col("weight").is_finite() & (pl.col("weight") > 0)),
            "have a weight that isn't a finite number above 0",
        ),
    )


def _refuse_wrong_rows(
    wrong: pl.Series, problems: Sequence[str], lazy: pl.LazyFrame, spec: TrainSpec, model: _ModelTokens
) -> None:
    """``wrong``: a bit a problem, of each row."""
    for bit, words in enumerate(problems):
        places = (wrong // (1 << bit) % 2 == 1).arg_true()
        if len(places):
            first = int(places[0])
            row = lazy.slice(first, 1).select("sample_id", "weight", length=pl.col("token_ids").list.len())
            sample_id, weight, length = row.collect().row(0)
            raise TrainingError(
                f"training {spec.stage!r} refused, no weight was changed: {len(places)} of {len(wrong)} "
                f"rows {words}. The first is row {first} (sample {sample_id}, {length} tokens, "
                f"weight {weight:g}).\n" + _render(lazy, first, model)
            )


def _render(lazy: pl.LazyFrame, row: int, model: _ModelTokens) -> str:
    """Lines of text that show what a row trains.

    One line a run of the mask, tokens kept apart by ``|``, the middle of long runs left out.
    """
    sample_id, token_ids, runs = (
        lazy.slice(row, 1).select("sample_id", "token_ids", "loss_mask").collect().row(0)
    )
    trained = expand_runs(runs)[: len(token_ids)]
    count = int(trained.sum())
    title = f"labels of sample {sample_id}: {len(token_ids)} tokens, "
    lines = [title + f"{len(trained) - count} masked, {count} trained"]
    first = 0
    for place, length in enumerate(runs):
        if length:
            kind = "trained" if place % 2 else "masked"
            lines.append(f"  {kind:7} {length:6}  {_join(token_ids[first : first + length], model)}")
        first += length
    return "\n".join(lines)


def _join(token_ids: Sequence[int], model: _ModelTokens) -> str:
    texts = [model.token_text(i).replace("\n", "\\n").replace("\t", "\\t") for i in token_ids]
    if len(texts) <= 2 * _SHOWN:
        return "|".join(texts)
    left_out = len(texts) - 2 * _SHOWN
    return f"{'|'.join(texts[:_SHOWN])}| ... {left_out} more ... |{'|'.join(texts[-_SHOWN:])}"


def _check_columns(lazy: pl.LazyFrame, shards: Sequence[Path]) -> None:
    schema = lazy.collect_schema()
    for name, wanted in TRAIN.columns.items():
        if name not in schema:
            raise SchemaError(f"shard {shards[0].name} has no column {name!r}; wanted {list(TRAIN.columns)}")
        if schema[name] != wanted:
            raise SchemaError(f"shard {shards[0].name} has {name} as {schema[name]}; wanted {wanted}")


def _model_tokens(spec: TrainSpec) -> _ModelTokens:
    from transformers import AutoTokenizer

    config = load_config(str(spec.model), trust_remote_code=spec.trust_remote_code, here=True)
    with loading(f"model {spec.model}: its tokenizer and generation_config.json"):
        tokenizer: Any = AutoTokenizer.from_pretrained(
            spec.model, trust_remote_code=spec.trust_remote_code, local_files_only=True
        )
        end_ids = _end_ids(spec.model, config, tokenizer)
    if not end_ids:
        raise TrainingError(
            f"{spec.model} names no end token: neither its tokenizer nor generation_config.json nor "
            "config.json has an eos token, so it can't be checked that the student learns to stop"
        )

    def token_text(token_id: int) -> str:
        if token_id >= config.get_text_config().vocab_size:
            return f"<id {token_id}>"
        return str(
            tokenizer.decode([token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )

    return _ModelTokens(
        vocab_size=int(config.get_text_config().vocab_size),
        end_ids=end_ids,
        pad_is_end=tokenizer.pad_token_id is not None and tokenizer.pad_token_id in end_ids,
        token_text=token_text,
    )


def _end_ids(directory: Path, config: Any, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a response: of the tokenizer, of generation_config.json and of config.json."""
    found: list[object] = [tokenizer.eos_token_id, getattr(config.get_text_config(), "eos_token_id", None)]
    generation = directory / "generation_config.json"
    if generation.is_file():
        found.append(read_json(generation).get("eos_token_id"))
    ids: dict[int, None] = {}
    for value in found:
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                ids[one] = None
    return tuple(ids)

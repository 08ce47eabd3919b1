"""The backend ``transformers``: samples, continues and scores with one model in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import torch
import transformers

from dasd.base.records import (
    ContinueRequest,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.errors import BackendError
from dasd.models.files import context_length, model_fingerprint
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.sample_rows import EngineRows, Generated, Prompted
from dasd.models.transformers.builtin import TransformersOptions
from dasd.models.transformers.decoding import Row, decode
from dasd.models.transformers.forward import Forward
from dasd.models.transformers.loading import load_model
from dasd.models.transformers.scoring import Forced, Scorer
from dasd.models.transformers.sizes import Footprint, Sizes, free_bytes
from dasd.recipe.model_settings import ModelSettings

__all__ = ["TransformersTeacher"]


class TransformersTeacher:
    """One causal language model with its tokenizer, in evaluation mode.

    Requests are decoded ``batch_size`` at a time, longest prompts first, or as many as fit (``sizes``); batches depend
    on the list of requests alone, so the same list gives the same rows. A frame holds whole batches, and the rest of a
    list is batched as it would have been behind them: what goes on after a kill gives the same bits.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Load model and tokenizer. Raises InputError where either can't be used."""
        self._settings = settings
        self._tokenizer = ChatTokenizer.load(settings)
        self._model: Any = load_model(settings, TransformersOptions.model_validate(settings.options))
        self._forward = Forward(self._model)
        device = self._forward.device
        text = self._model.config.get_text_config(decoder=True)
        footprint = Footprint.of(text, self._model.dtype.itemsize)
        self._sizes = Sizes.choose(settings, str(device), free_bytes(device), footprint)
        self._scorer = Scorer(self._forward)
        self._end_ids = frozenset({*self._tokenizer.end_ids, *_declared_ends(self._model)})
        fingerprint = model_fingerprint(settings)
        revision = fingerprint.get("content") or getattr(self._model.config, "_commit_hash", None)
        self._info = ModelInfo(
            model=settings.model,
            model_revision=str(revision or settings.revision or "main"),
            tokenizer_hash=self._tokenizer.hash,
            engine="transformers",
            engine_version=transformers.__version__,
            logprobs_mode="raw",
            context_length=context_length(self._model.config),
            sizes=self._sizes.info,
        )
        self._rows = EngineRows(self._tokenizer, self._info)

    @property
    def info(self) -> ModelInfo:
        """Which model, tokenizer, engine and version this is."""
        return self._info

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Draw one response a request; yields SAMPLES rows, a frame a batch.

        Refuses requests whose prompt can't be rendered or leaves no room in the model's context.
        """
        yield from self._decode(self._rows.prompted(requests, spec), spec)

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Go on from each prefix; yields SAMPLES rows of prefix and continuation, a frame a batch.

        Refuses as ``sample`` does.
        """
        yield from self._decode(self._rows.prompted(requests, spec), spec)

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """Log-probability of every token of each text; yields SCORES or TOP_SCORES rows, a frame a batch.

        Refuses texts that are longer than the model's context.
        """
        texts = self._rows.texts(requests, spec.on_refused)
        forced = [Forced(f"sample {t.request.sample_id}", t.ids, len(t.token_ids)) for t in texts]
        budget = spec.token_budget or self._sizes.info.token_budget
        for found in self._scorer.score(forced, budget, spec.top):
            yield self._rows.scores([texts[index] for index in found.indices], found.logprobs, found.top)

    def close(self) -> None:
        """Release the model's memory."""
        del self._model, self._forward, self._scorer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _decode(self, prompted: Sequence[Prompted], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        rows = [
            Row(f"sample {p.request.sample_id}", p.ids, len(p.prefix_ids), p.limit, p.request.seed)
            for p in prompted
        ]
        # Equal prompts side by side share their prefill; ties by place, so that batches are always the same.
        first: dict[tuple[int, ...], int] = {}
        for index, row in enumerate(rows):
            first.setdefault(row.ids, index)
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), first[rows[i].ids], i))
        for batch in self._sizes.batches(rows, order):
            try:
                decoded = decode(
                    self._model,
                    self._forward,
                    [rows[index] for index in batch],
                    self._end_ids,
                    spec.temperature,
                    spec.top_p,
                    self._sizes.info.token_budget,
                )
            except torch.OutOfMemoryError as error:
                raise BackendError(
                    f"stage {spec.stage}: memory runs out while {len(batch)} responses are decoded together; "
                    f"lower batch_size of {self._settings.model} (now {self._settings.batch_size or 'not set'}) or the "
                    "cap on tokens"
                ) from error
            generated = [Generated(d.token_ids, d.logprobs, d.prefix_logprobs, d.stopped) for d in decoded]
            yield self._rows.samples([prompted[index] for index in batch], generated, spec)


def _declared_ends(model: Any) -> list[int]:
    """End tokens of the model's generation config: one, several or none."""
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if declared is None:
        return []
    return [declared] if isinstance(declared, int) else [int(token) for token in declared]

"""The backend ``transformers``: samples, continues and scores with one model in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import torch
import transformers

from dasd.backends.options import TransformersOptions
from dasd.backends.transformers.decoding import Decoded, Row, decode
from dasd.backends.transformers.forward import Forward
from dasd.backends.transformers.loading import load_model
from dasd.backends.transformers.scoring import Forced, Scorer
from dasd.chat import ChatTokenizer
from dasd.errors import BackendError
from dasd.models import context_length, model_fingerprint
from dasd.records import (
    ContinueRequest,
    Message,
    ModelInfo,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
)
from dasd.schemas import SAMPLES, SCORES
from dasd.settings import ModelSettings

__all__ = ["TransformersTeacher"]


@dataclass(frozen=True, slots=True)
class _Prompted:
    """A request with its tokens. A plain sample is a continuation of nothing."""

    request: SampleRequest | ContinueRequest
    prompt_ids: tuple[int, ...]
    prefix: str
    prefix_ids: tuple[int, ...]
    prefix_ends: tuple[int, ...]


class TransformersTeacher:
    """One causal language model with its tokenizer, in evaluation mode.

    Requests are decoded ``batch_size`` at a time, longest prompts first; batches depend on the list of
    requests alone, so the same list gives the same rows.
    """

    def __init__(self, settings: ModelSettings) -> None:
        """Load model and tokenizer. Raises InputError where either can't be used."""
        self._settings = settings
        self._tokenizer = ChatTokenizer.load(settings)
        self._model: Any = load_model(settings, TransformersOptions.model_validate(settings.options))
        self._forward = Forward(self._model)
        self._scorer = Scorer(self._forward)
        self._context = context_length(self._model.config)
        self._end_ids = frozenset({self._tokenizer.eos_id, *_declared_ends(self._model)})
        fingerprint = model_fingerprint(settings)
        revision = fingerprint.get("content") or getattr(self._model.config, "_commit_hash", None)
        self._info = ModelInfo(
            model=settings.model,
            model_revision=str(revision or settings.revision or "main"),
            tokenizer_hash=self._tokenizer.hash,
            engine="transformers",
            engine_version=transformers.__version__,
            logprobs_mode="raw",
            context_length=self._context,
        )

    @property
    def info(self) -> ModelInfo:
        """Which model, tokenizer, engine and version this is."""
        return self._info

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Draw one response a request; yields SAMPLES rows, a frame a batch.

        Raises BackendError naming the sample whose prompt leaves no room in the model's context.
        """
        prompts = self._prompts(requests)
        yield from self._decode([_Prompted(r, prompts[r.messages], "", (), ()) for r in requests], spec)

    def continue_(self, requests: Sequence[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Go on from each prefix; yields SAMPLES rows of prefix and continuation, a frame a batch.

        The prefix enters as ``encode_response`` makes it of its text. Raises BackendError as ``sample`` does.
        """
        prompts = self._prompts(requests)
        prompted = []
        for request in requests:
            ids, ends = self._tokenizer.encode_response(request.prefix, ended=False)
            prompted.append(
                _Prompted(request, prompts[request.messages], request.prefix, tuple(ids), tuple(ends))
            )
        yield from self._decode(prompted, spec)

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """Log-probability of every token of each text; yields SCORES rows, a frame a batch.

        Raises BackendError naming a sample that is longer than the model's context.
        """
        prompts = self._prompts(requests)
        encoded = [self._tokens(request) for request in requests]
        forced = []
        for request, (ids, _) in zip(requests, encoded, strict=True):
            prompt = prompts[request.messages]
            if len(prompt) + len(ids) > self._context:
                raise BackendError(
                    f"sample {request.sample_id}: prompt ({len(prompt)} tokens) and response ({len(ids)}) "
                    f"exceed the context of {self._settings.model} ({self._context}); drop it before scoring "
                    "(the length filter does, when trainer.max_length is within the student's context)"
                )
            forced.append(Forced(f"sample {request.sample_id}", prompt + tuple(ids), len(ids)))
        for indices, logprobs in self._scorer.score(forced, spec.token_budget):
            yield pl.DataFrame(
                {
                    "sample_id": [requests[index].sample_id for index in indices],
                    "model": [self._info.model] * len(indices),
                    "token_ids": [encoded[index][0] for index in indices],
                    "token_ends": [encoded[index][1] for index in indices],
                    "logprobs": logprobs,
                },
                schema=dict(SCORES.columns),
            )

    def close(self) -> None:
        """Release the model's memory."""
        del self._model, self._forward, self._scorer
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _tokens(self, request: ScoreRequest) -> tuple[list[int], list[int]]:
        """Token ids and ends of the text: those it was sampled as, where they are of this tokenizer."""
        sampled = request.sampled
        if sampled is not None and sampled.tokenizer_hash == self._tokenizer.hash:
            return list(sampled.token_ids), list(sampled.token_ends)
        return self._tokenizer.encode_response(request.text, request.ended)

    def _prompts(
        self, requests: Sequence[SampleRequest | ContinueRequest | ScoreRequest]
    ) -> dict[tuple[Message, ...], tuple[int, ...]]:
        """Tokens of each distinct conversation."""
        distinct = dict.fromkeys(request.messages for request in requests)
        return {messages: tuple(self._tokenizer.prompt_ids(messages)) for messages in distinct}

    def _decode(self, prompted: Sequence[_Prompted], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        rows = [self._row(each, spec) for each in prompted]
        # Equal prompts side by side share their prefill; ties by place, so that batches are always the same.
        first: dict[tuple[int, ...], int] = {}
        for index, row in enumerate(rows):
            first.setdefault(row.ids, index)
        order = sorted(range(len(rows)), key=lambda i: (-len(rows[i].ids), first[rows[i].ids], i))
        size = self._settings.batch_size
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            try:
                decoded = decode(
                    self._model,
                    self._forward,
                    [rows[index] for index in batch],
                    self._end_ids,
                    spec.temperature,
                    spec.top_p,
                    self._settings.token_budget,
                )
            except torch.OutOfMemoryError as error:
                raise BackendError(
                    f"stage {spec.stage}: memory runs out while {len(batch)} responses are decoded together; "
                    f"lower batch_size of {self._settings.model} (now {size}) or the cap on tokens"
                ) from error
            yield self._samples([prompted[index] for index in batch], decoded, spec)

    def _row(self, prompted: _Prompted, spec: SamplingSpec) -> Row:
        request = prompted.request
        ids = prompted.prompt_ids + prompted.prefix_ids
        room = self._context - len(ids)
        if room < 1:
            raise BackendError(
                f"sample {request.sample_id} (question {request.question_id}): its prompt takes "
                f"{len(prompted.prompt_ids)} tokens and its prefix {len(prompted.prefix_ids)}, "
                f"which leaves no room in the context of {self._settings.model} ({self._context}); "
                "shorten it or leave it out"
            )
        wanted = spec.max_tokens if request.max_tokens is None else request.max_tokens
        return Row(
            f"sample {request.sample_id}",
            ids,
            len(prompted.prefix_ids),
            max(1, min(wanted, room)),
            request.seed,
        )

    def _samples(
        self, prompted: Sequence[_Prompted], decoded: Sequence[Decoded], spec: SamplingSpec
    ) -> pl.DataFrame:
        texts, ends = [], []
        for each, result in zip(prompted, decoded, strict=True):
            text, token_ends = self._text(each, result)
            texts.append(text)
            ends.append(token_ends)
        count, info = len(prompted), self._info
        return pl.DataFrame(
            {
                "sample_id": [p.request.sample_id for p in prompted],
                "question_id": [p.request.question_id for p in prompted],
                "stage": [spec.stage] * count,
                "candidate": [p.request.candidate for p in prompted],
                "text": texts,
                "token_ids": [[*p.prefix_ids, *d.token_ids] for p, d in zip(prompted, decoded, strict=True)],
                "token_ends": ends,
                "logprobs": [[*d.prefix_logprobs, *d.logprobs] for d in decoded],
                "logprobs_mode": [info.logprobs_mode] * count,
                "temperature": [spec.temperature] * count,
                "top_p": [spec.top_p] * count,
                "seed": [p.request.seed for p in prompted],
                "finish_reason": ["stop" if d.stopped else "length" for d in decoded],
                "prefix_end": [len(p.prefix.encode()) for p in prompted],
                "model": [info.model] * count,
                "model_revision": [info.model_revision] * count,
                "tokenizer_hash": [info.tokenizer_hash] * count,
                "engine": [info.engine] * count,
                "engine_version": [info.engine_version] * count,
            },
            schema=dict(SAMPLES.columns),
        )

    def _text(self, prompted: _Prompted, decoded: Decoded) -> tuple[str, list[int]]:
        """Text of prefix and new tokens, and where their tokens end in it; the end token covers nothing."""
        new = decoded.token_ids[:-1] if decoded.stopped else decoded.token_ids
        everything = [*prompted.prefix_ids, *new]
        whole, before = self._tokenizer.decode(everything), self._tokenizer.decode(prompted.prefix_ids)
        if not whole.startswith(before):
            # The prefix doesn't survive its own tokens (an unknown character): the new tokens stand alone.
            everything, whole, before = new, self._tokenizer.decode(new), ""
        # The prefix is kept as it was given, whatever a normalising tokenizer makes of it.
        text = prompted.prefix + whole[len(before) :]
        shift = len(prompted.prefix.encode()) - len(before.encode())
        ends = self._tokenizer.ends_of(everything, whole)[len(everything) - len(new) :]
        floor = len(prompted.prefix.encode())
        token_ends = [*prompted.prefix_ends, *(max(floor, end + shift) for end in ends)]
        if decoded.stopped:
            token_ends.append(len(text.encode()))
        return text, token_ends


def _declared_ends(model: Any) -> list[int]:
    """End tokens of the model's generation config: one, several or none."""
    declared = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if declared is None:
        return []
    return [declared] if isinstance(declared, int) else [int(token) for token in declared]

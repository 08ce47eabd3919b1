"""Between requests and an inference engine: tokens for what is asked, rows for what comes back.

Every backend whose engine takes and gives token ids shares this, so that prompts, prefixes, byte offsets and
end tokens are the same whatever engine runs the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import polars as pl

from dasd.base.records import (
    ContinueRequest,
    Message,
    ModelInfo,
    OnRefused,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    raise_refused,
)
from dasd.base.schemas import SAMPLES, SCORES, TOP_SCORES
from dasd.errors import InputError
from dasd.models.tokens.chat import ChatTokenizer

__all__ = ["EngineRows", "Generated", "Prompted", "Text", "TopTokens"]

PROMPTS = 1024
"""Rendered conversations that are kept."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """A request with its tokens. A plain sample is a continuation of nothing."""

    request: SampleRequest | ContinueRequest
    prompt_ids: tuple[int, ...]
    prefix: str
    prefix_ids: tuple[int, ...]
    prefix_ends: tuple[int, ...]
    limit: int
    """Most new tokens, at least 1: the request's cap or the spec's, and what the context leaves."""

    @property
    def ids(self) -> tuple[int, ...]:
        """What the engine goes on from: the prompt's tokens, then the prefix's."""
        return self.prompt_ids + self.prefix_ids


@dataclass(frozen=True, slots=True)
class Generated:
    """What an engine answered to one ``Prompted``; log-probabilities are raw (temperature 1, nats)."""

    token_ids: Sequence[int]
    """New tokens; the last one is the end token where ``stopped``."""
    logprobs: Sequence[float] | None
    """One a new token; None where the engine gives none."""
    prefix_logprobs: Sequence[float]
    """One a token of the prefix."""
    stopped: bool
    """Whether the model ended its turn; else the limit was reached."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to score: the tokens of its prompt and its own, with the byte offsets at which those end."""

    request: ScoreRequest
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    token_ends: tuple[int, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """The prompt's tokens, then the text's, which are to be scored."""
        return self.prompt_ids + self.token_ids


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The K likeliest tokens at each of the T positions of a text, likeliest first."""

    ids: npt.NDArray[np.uint32]
    """(T, K)."""
    logprobs: npt.NDArray[np.float32]
    """(T, K), nats at temperature 1."""


class EngineRows:
    """Turns requests into tokens and answers into rows, for one model and its tokenizer."""

    def __init__(self, tokenizer: ChatTokenizer, info: ModelInfo) -> None:
        """``info`` is written on every row; its ``context_length`` bounds what is asked for."""
        self._tokenizer = tokenizer
        self._info = info

    def prompted(
        self, requests: Sequence[SampleRequest | ContinueRequest], spec: SamplingSpec
    ) -> list[Prompted]:
        """``each_prompted`` of a list."""
        return list(self.each_prompted(requests, spec))

    def each_prompted(
        self, requests: Iterable[SampleRequest | ContinueRequest], spec: SamplingSpec
    ) -> Iterator[Prompted]:
        """Tokens of each request, in order, as they are read.

        A prefix enters as ``encode_response`` makes it of its text. ``spec.on_refused`` is told of requests whose
        conversation the tokenizer can't render, or whose prompt leaves no room in the model's context; they aren't
        among what is given.
        """
        prompts = self._prompts()
        for request in requests:
            try:
                prompt = prompts(request.messages)
                prefix = request.prefix if isinstance(request, ContinueRequest) else ""
                ids, ends = self._tokenizer.encode_response(prefix, ended=False) if prefix else ([], [])
                limit = self._limit(request, len(prompt), len(ids), spec)
            except InputError as error:
                spec.on_refused(request.sample_id, str(error))
                continue
            yield Prompted(request, prompt, prefix, tuple(ids), tuple(ends), limit)

    def texts(self, requests: Sequence[ScoreRequest], on_refused: OnRefused = raise_refused) -> list[Text]:
        """``each_text`` of a list."""
        return list(self.each_text(requests, on_refused))

    def each_text(
        self, requests: Iterable[ScoreRequest], on_refused: OnRefused = raise_refused
    ) -> Iterator[Text]:
        """Tokens of each text to score, in order, as they are read: those it was sampled as where they are this
        tokenizer's.

        ``on_refused`` (the spec's) is told of those that can't be tokenised or are longer than the model's context;
        they aren't among what is given.
        """
        prompts = self._prompts()
        for request in requests:
            try:
                text = self._to_score(request, prompts(request.messages))
            except InputError as error:
                on_refused(request.sample_id, str(error))
                continue
            yield text

    def samples(
        self, prompted: Sequence[Prompted], generated: Sequence[Generated], spec: SamplingSpec
    ) -> pl.DataFrame:
        """SAMPLES rows of answers, one each; ``finish_reason`` is "stop" or "length"."""
        texts, ends, logprobs = [], [], []
        for each, result in zip(prompted, generated, strict=True):
            text, token_ends = self._text(each, result)
            texts.append(text)
            ends.append(token_ends)
            logprobs.append(None if result.logprobs is None else [*result.prefix_logprobs, *result.logprobs])
        count, info = len(prompted), self._info
        return pl.DataFrame(
            {
                "sample_id": [p.request.sample_id for p in prompted],
                "question_id": [p.request.question_id for p in prompted],
                "stage": [spec.stage] * count,
                "candidate": [p.request.candidate for p in prompted],
                "text": texts,
                "token_ids": [
                    [*p.prefix_ids, *g.token_ids] for p, g in zip(prompted, generated, strict=True)
                ],
                "token_ends": ends,
                "logprobs": logprobs,
                "logprobs_mode": [info.logprobs_mode] * count,
                "temperature": [spec.temperature] * count,
                "top_p": [spec.top_p] * count,
                "seed": [p.request.seed for p in prompted],
                "finish_reason": ["stop" if g.stopped else "length" for g in generated],
                "prefix_end": [len(p.prefix.encode()) for p in prompted],
                "model": [info.model] * count,
                "model_revision": [info.model_revision] * count,
                "tokenizer_hash": [info.tokenizer_hash] * count,
                "engine": [info.engine] * count,
                "engine_version": [info.engine_version] * count,
            },
            schema=dict(SAMPLES.columns),
        )

    def scores(
        self,
        texts: Sequence[Text],
        logprobs: Sequence[Sequence[float]],
        top: Sequence[TopTokens] | None = None,
    ) -> pl.DataFrame:
        """SCORES rows: one log-probability (nats, temperature 1) a token of each text; TOP_SCORES rows with ``top``."""
        rows = pl.DataFrame(
            {
                "sample_id": [text.request.sample_id for text in texts],
                "model": [self._info.model] * len(texts),
                "token_ids": [text.token_ids for text in texts],
                "token_ends": [text.token_ends for text in texts],
                "logprobs": list(logprobs),
            },
            schema=dict(SCORES.columns),
        )
        if top is None:
            return rows
        if not top:
            return TOP_SCORES.empty()
        # A series of series: with a dtype polars goes through all values one by one.
        return rows.with_columns(
            pl.Series("top_ids", [pl.Series(each.ids.reshape(-1)) for each in top]),
            pl.Series("top_logprobs", [pl.Series(each.logprobs.reshape(-1)) for each in top]),
        )

    def _prompts(self) -> Callable[[tuple[Message, ...]], tuple[int, ...]]:
        """Tokens of a conversation; a question's requests come one after another, and share them.

        Raises InputError where it can't be rendered.
        """
        return lru_cache(PROMPTS)(lambda messages: tuple(self._tokenizer.prompt_ids(messages)))

    def _to_score(self, request: ScoreRequest, prompt: tuple[int, ...]) -> Text:
        sampled = request.sampled
        if sampled is not None and sampled.tokenizer_hash == self._tokenizer.hash:
            ids, ends = tuple(sampled.token_ids), tuple(sampled.token_ends)
        else:
            ids, ends = map(tuple, self._tokenizer.encode_response(request.text, request.ended))
        if len(prompt) + len(ids) > self._info.context_length:
            raise InputError(
                f"prompt ({len(prompt)} tokens) and response ({len(ids)}) exceed the context of "
                f"{self._info.model} ({self._info.context_length}); drop it before scoring (the length filter "
                "does, when trainer.max_length is within the student's context)"
            )
        return Text(request, prompt, ids, ends)

    def _limit(
        self, request: SampleRequest | ContinueRequest, prompt: int, prefix: int, spec: SamplingSpec
    ) -> int:
        room = self._info.context_length - prompt - prefix
        if room < 1:
            raise InputError(
                f"its prompt takes {prompt} tokens and its prefix {prefix}, which leaves no room in the context "
                f"of {self._info.model} ({self._info.context_length}); shorten it or leave it out"
            )
        wanted = spec.max_tokens if request.max_tokens is None else request.max_tokens
        return max(1, min(wanted, room))

    def _text(self, prompted: Prompted, generated: Generated) -> tuple[str, list[int]]:
        """Text of prefix and new tokens, and where their tokens end in it; the end token covers nothing."""
        new = list(generated.token_ids[:-1] if generated.stopped else generated.token_ids)
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
        if generated.stopped:
            token_ends.append(len(text.encode()))
        return text, token_ends

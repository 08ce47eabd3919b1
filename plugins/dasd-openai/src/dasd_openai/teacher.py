"""The teacher role behind a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import polars as pl

from dasd.api import (
    CPU_BATCH_SIZE,
    CPU_TOKEN_BUDGET,
    BackendError,
    ChatTokenizer,
    ContinueRequest,
    EngineRows,
    Generated,
    InputError,
    ModelInfo,
    ModelSettings,
    OnRefused,
    Prompted,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Text,
    context_length,
    load_config,
)
from dasd_openai.answers import (
    Completion,
    Reply,
    only_choice,
    prompt_logprobs,
    read_chat,
    read_completion,
)
from dasd_openai.bodies import draw_of, endpoint, sampling_body
from dasd_openai.budget import Budget
from dasd_openai.loop import Loop
from dasd_openai.options import OpenAIOptions
from dasd_openai.probe import Served
from dasd_openai.replicas import Replicas
from dasd_openai.retokenise import generated
from dasd_openai.scoring import scoring
from dasd_openai.transport import RefusedError

ItemT = TypeVar("ItemT", Prompted, Text)
FoundT = TypeVar("FoundT")

_NO_SCORES = (
    "This server may not give log-probabilities of prompts (`prompt_logprobs`, or `echo` with `logprobs`); vLLM does, "
    "and llama.cpp whose grammars know token ids"
)


class OpenAITeacher:
    """Asks one model of one server or several, many requests at a time; rows come as they finish, and the next request
    follows."""

    def __init__(self, settings: ModelSettings, options: OpenAIOptions) -> None:
        """Connect to the servers, waiting for one, and ask what they are.

        Raises InputError for a tokenizer or a model that can't be used, BackendError for a server that can't.
        """
        self._tokenizer = ChatTokenizer.load(settings)
        each = options.concurrency or settings.batch_size or CPU_BATCH_SIZE
        self._servers = Replicas(options, each, self._tokenizer)
        self._count = len(options.addresses)
        self._bound = each * self._count
        self._loop = Loop()
        try:
            self._served = self._loop.run(self._servers.open())
            self._info = _info(settings, options, self._served, self._tokenizer, self._bound)
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> ModelInfo:
        """Which model, tokenizer and server this is; ``logprobs_mode`` is what the server's are at any temperature."""
        return self._info

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Draw one response a request; yields SAMPLES rows as they finish.

        Refuses requests whose prompt leaves no room in the context, or that the server has something against.
        """
        yield from self._draw(requests, spec)

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Go on from each prefix; yields SAMPLES rows of prefix and continuation as they finish.

        Refuses as ``sample`` does. Raises BackendError where the server doesn't take tokens.
        """
        self._need_tokens("continue a response")
        yield from self._draw(requests, spec)

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """Log-probability of every token of each text; yields SCORES rows as they finish.

        At most ``spec.token_budget`` tokens are under way at a time for each server, or one text. Refuses as
        ``sample`` does.
        """
        self._need_tokens("score a text")
        rows = EngineRows(self._tokenizer, self._info)
        texts = rows.each_text(requests, spec.on_refused)
        budget = Budget((spec.token_budget or CPU_TOKEN_BUDGET) * self._count)

        async def ask(text: Text) -> tuple[float, ...]:
            what = f"sample {text.request.sample_id}"
            async with budget.of(len(text.ids)):
                return await self._forced(what, text.ids, len(text.prompt_ids))

        for batch in self._served_of(texts, ask, spec.on_refused):
            yield rows.scores([text for text, _ in batch], [found for _, found in batch])

    def close(self) -> None:
        """Drop what is under way, and the connections. The servers go on running."""
        if not self._loop.closed:
            self._loop.run(self._servers.close())
            self._loop.close()

    def _draw(
        self, requests: Iterable[SampleRequest | ContinueRequest], spec: SamplingSpec
    ) -> Iterator[pl.DataFrame]:
        info = self._info
        if info.logprobs_mode == "processed" and spec.temperature == 1 and spec.top_p == 1:
            info = replace(info, logprobs_mode="raw")  # nothing was done to them
        rows = EngineRows(self._tokenizer, info)
        prompted = rows.each_prompted(requests, spec)

        async def ask(each: Prompted) -> Generated:
            return await self._drawn(each, spec)

        for batch in self._served_of(prompted, ask, spec.on_refused):
            yield rows.samples([each for each, _ in batch], [found for _, found in batch], spec)

    def _served_of(
        self, items: Iterable[ItemT], ask: Callable[[ItemT], Awaitable[FoundT]], on_refused: OnRefused
    ) -> Iterator[list[tuple[ItemT, FoundT]]]:
        """As ``Loop.unordered``; requests that fail alone are refused."""

        async def try_it(item: ItemT) -> FoundT | RefusedError:
            try:
                return await ask(item)
            except RefusedError as error:
                if not error.alone:
                    raise
                return error

        for batch in self._loop.unordered(items, try_it, self._bound):
            served = []
            for item, found in batch:
                if isinstance(found, RefusedError):
                    sample_id = item.request.sample_id
                    on_refused(sample_id, str(found).removeprefix(f"sample {sample_id}: "))
                else:
                    served.append((item, found))
            if served:
                yield served

    async def _drawn(self, each: Prompted, spec: SamplingSpec) -> Generated:
        what = f"sample {each.request.sample_id}"
        served, kind = self._served, self._served.dialect
        gives = served.logprobs != "none"
        draw = draw_of(each.ids, each.request.messages, spec, each.limit, each.request.seed)
        body = sampling_body(served.model, kind, served.mode, draw, 0 if gives else None)
        prefixed = gives and bool(each.prefix_ids)
        if prefixed and kind.prompt_logprobs:
            body["prompt_logprobs"] = 0

        def read(answer: Completion) -> tuple[Reply, tuple[float, ...]]:
            reading = read_completion if served.mode == "tokens" else read_chat
            reply = reading(answer, each.limit, self._tokenizer.vocab_size)
            if gives and reply.logprobs is None:
                raise BackendError(f"{what}: the server stopped giving log-probabilities")
            if not (prefixed and kind.prompt_logprobs):
                return reply, ()
            return reply, prompt_logprobs(only_choice(answer), each.ids, len(each.prompt_ids))

        reply, before = await self._servers.ask(what, endpoint(served.mode), body, Completion, read)
        if prefixed and not kind.prompt_logprobs:
            before = await self._forced(what, each.ids, len(each.prompt_ids))
        if gives and served.scores and kind.forces and reply.token_ids is None:
            # It tells of a character's last token only: the text's tokens are scored.
            ids = self._tokenizer.encode_response(reply.whole_text, reply.stopped)[0]
            logprobs = await self._forced(what, (*each.ids, *ids), len(each.ids))
            reply = replace(reply, token_ids=tuple(ids), logprobs=logprobs)
        return generated(reply, self._tokenizer, before, what)

    async def _forced(self, what: str, ids: Sequence[int], start: int) -> tuple[float, ...]:
        """Log-probabilities of ``ids`` from ``start`` on."""
        if start == len(ids):
            return ()
        if len(ids) >= self._info.context_length:
            raise RefusedError(
                f"{what}: its {len(ids)} tokens leave no room for the one that a server generates behind them, in a "
                f"context of {self._info.context_length}; leave it out, or serve the model with a longer context",
                alone=True,
            )
        try:
            found = [
                await self._servers.ask(what, endpoint("tokens"), body, Completion, read)
                for body, read in scoring(
                    self._served.model, self._served.dialect, ids, start, self._tokenizer
                )
            ]
            return tuple(chain.from_iterable(found))
        except RefusedError as error:
            raise RefusedError(f"{error}. {_NO_SCORES}", error.status, alone=error.alone) from None

    def _need_tokens(self, verb: str) -> None:
        if self._served.scores is False:
            raise BackendError(
                f"{self._servers.names} can't {verb}: it gave no log-probability of a given token when it was "
                f"opened. {_NO_SCORES}; take another server or teacher.backend, or take out what needs this"
            )
        if self._served.mode != "tokens":
            raise BackendError(
                f"{self._servers.names} is asked through its chat endpoint, which can't {verb}: that takes the "
                "completions endpoint with token ids (teacher.options.mode: tokens), as vLLM has it"
            )


def _info(
    settings: ModelSettings, options: OpenAIOptions, served: Served, tokenizer: ChatTokenizer, bound: int
) -> ModelInfo:
    return ModelInfo(
        model=settings.model,
        model_revision=served.revision,
        tokenizer_hash=tokenizer.hash,
        engine=f"openai:{served.dialect.name}",
        engine_version=served.version,
        logprobs_mode=served.logprobs,
        context_length=options.context_length or served.context_length or _declared_length(settings),
        continues=served.mode == "tokens" and served.scores is not False,
        concurrency=bound,
    )


def _declared_length(settings: ModelSettings) -> int:
    """Of the model's config."""
    try:
        config = load_config(settings.model, settings.revision, trust_remote_code=settings.trust_remote_code)
    except InputError as error:
        raise BackendError(
            f"the server doesn't say how long the context of {settings.model} is ({error}); set "
            "teacher.options.context_length"
        ) from error
    return context_length(config)

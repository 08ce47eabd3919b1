"""The teacher role on vLLM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl

from dasd.api import (
    BackendError,
    ChatTokenizer,
    ContinueRequest,
    DasdError,
    EngineRows,
    Generated,
    InputError,
    ModelInfo,
    ModelSettings,
    Prompted,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Text,
    model_fingerprint,
    resolve_model,
)
from dasd_vllm.arguments import under_way
from dasd_vllm.engine import Engine, Question
from dasd_vllm.environment import engine_version
from dasd_vllm.failures import is_out_of_memory, summary
from dasd_vllm.logprobs import of_prompt, table
from dasd_vllm.options import VllmOptions
from dasd_vllm.scoring import Scorer

__all__ = ["VllmTeacher"]

_COLDEST, _HOTTEST = 0.01, 2.0
"""Temperatures that vLLM samples at, besides 0; it raises lower ones to this without being asked."""


class VllmTeacher:
    """One model on one engine, asked in token ids: nothing is tokenised or rendered by vLLM.

    The engine works on ``max_num_seqs`` requests at a time, and takes the next one when one has finished; each draws
    from its own seed.
    """

    def __init__(self, settings: ModelSettings, options: VllmOptions) -> None:
        """Load model and tokenizer. Raises InputError where either, the options or memory can't serve."""
        self._settings = settings
        self._tokenizer = ChatTokenizer.load(settings)
        self._engine = Engine(settings, options, resolve_model(settings.model))
        self._scorer = Scorer(self._engine)
        self._end_ids = sorted({*self._tokenizer.end_ids, *self._engine.end_ids})
        revision = model_fingerprint(settings).get("content") or self._engine.commit
        self._info = ModelInfo(
            model=settings.model,
            model_revision=str(revision or settings.revision or "main"),
            tokenizer_hash=self._tokenizer.hash,
            engine="vllm",
            engine_version=engine_version(),
            logprobs_mode="raw",
            context_length=self._engine.context_length,
            concurrency=self._engine.together,
        )
        self._rows = EngineRows(self._tokenizer, self._info)

    @property
    def info(self) -> ModelInfo:
        """Which model, tokenizer, engine and version this is."""
        return self._info

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Draw one response a request; yields SAMPLES rows as responses finish.

        Refuses requests whose prompt can't be rendered or leaves no room in the model's context, and those that
        vLLM refuses. Raises InputError for a temperature that vLLM doesn't sample at.
        """
        yield from self._decode(requests, spec)

    def continue_(self, requests: Iterable[ContinueRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """Go on from each prefix; yields SAMPLES rows of prefix and continuation as they finish.

        A prefix is scored in the pass that reads it. Refuses and raises as ``sample`` does.
        """
        yield from self._decode(requests, spec)

    def score(self, requests: Iterable[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """Log-probability of every token of each text; yields SCORES or TOP_SCORES rows as texts finish.

        Refuses texts that are longer than the model's context. InputError for more likeliest tokens than
        ``options.engine`` allows.
        """
        texts = self._rows.each_text(requests, spec.on_refused)

        def refused(text: Text, why: str) -> None:
            spec.on_refused(text.request.sample_id, why)

        try:
            for found in self._scorer.score(texts, under_way(spec.token_budget), spec.top, refused):
                yield self._rows.scores(found.texts, found.logprobs, found.top)
        except Exception as error:
            raise self._failed(spec.stage, "scoring", error) from error

    def close(self) -> None:
        """Release the engine's memory and its processes."""
        self._engine.close()

    def _decode(
        self, requests: Iterable[SampleRequest | ContinueRequest], spec: SamplingSpec
    ) -> Iterator[pl.DataFrame]:
        _check_temperature(spec)
        questions = ((each, self._question(each, spec)) for each in self._rows.each_prompted(requests, spec))

        def refused(prompted: Prompted, why: str) -> None:
            spec.on_refused(prompted.request.sample_id, why)

        try:
            for finished in self._engine.ask(questions, refused):
                answers = [self._generated(prompted, output) for prompted, output in finished]
                yield self._rows.samples([prompted for prompted, _ in finished], answers, spec)
        except Exception as error:
            raise self._failed(spec.stage, "decoding", error) from error

    def _question(self, prompted: Prompted, spec: SamplingSpec) -> Question:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            temperature=spec.temperature,
            top_p=spec.top_p,
            seed=prompted.request.seed,
            max_tokens=prompted.limit,
            stop_token_ids=self._end_ids,
            logprobs=0,
            prompt_logprobs=0 if prompted.prefix_ids else None,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        return Question(prompted.ids, params)

    def _generated(self, prompted: Prompted, output: Any) -> Generated:
        """vLLM's answer, held against what was asked for."""
        answer, name = output.outputs[0], f"sample {prompted.request.sample_id}"
        ids = list(answer.token_ids)
        stopped = bool(ids) and ids[-1] in self._end_ids
        wanted = "stop" if stopped else "length"
        if answer.finish_reason != wanted or not ids or len(ids) > prompted.limit:
            raise BackendError(
                f"{name}: vLLM finished after {len(ids)} tokens with reason {answer.finish_reason!r} "
                f"and last token {ids[-1:]}; wanted 'stop' behind an end token {self._end_ids}, or 'length' at "
                f"{prompted.limit} tokens"
            )
        logprobs = table(name, ids, answer.logprobs, 0)[1][:, 0].tolist()
        prefix: list[float] = []
        if prompted.prefix_ids:
            prefix = of_prompt(name, prompted.ids, len(prompted.prompt_ids), output, 0)[1][:, 0].tolist()
        return Generated(ids, logprobs, prefix, stopped)

    def _failed(self, stage: str, doing: str, error: Exception) -> Exception:
        """One of ours for what vLLM raised."""
        if isinstance(error, DasdError):
            return error
        start = f"stage {stage}: vLLM failed while {doing} with {self._settings.model}: {summary(error)}"
        if is_out_of_memory(error):
            start += (
                "; lower batch_size, options.max_num_batched_tokens or options.gpu_memory_utilization of "
                "this model"
            )
        return BackendError(start)


def _check_temperature(spec: SamplingSpec) -> None:
    if spec.temperature == 0 or _COLDEST <= spec.temperature <= _HOTTEST:
        return
    raise InputError(
        f"stage {spec.stage}: vLLM samples at temperature 0 or from {_COLDEST} to {_HOTTEST}, got "
        f"{spec.temperature}; change the stage's temperature, or use the backend transformers"
    )

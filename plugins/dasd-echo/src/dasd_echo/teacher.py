"""The teacher role over recorded responses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from dasd.api import (
    SAMPLES,
    BackendError,
    ChatTokenizer,
    ContinueRequest,
    InputError,
    ModelInfo,
    ModelSettings,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    behind_tag,
    prompt_opening,
)
from dasd_echo import EchoOptions, __version__
from dasd_echo.recordings import Recording, Recordings, last_question

_ROWS_A_FRAME = 256
_NO_LIMIT = 2**31 - 1


class EchoTeacher:
    """Answers each request with the recorded response of its candidate number."""

    def __init__(self, settings: ModelSettings, options: EchoOptions) -> None:
        self._repeat = options.repeat
        self._recordings = Recordings(Path(options.path))
        self._tokenizer = ChatTokenizer.load(settings)
        self._opening = prompt_opening(self._tokenizer)
        self.info = ModelInfo(
            model=settings.model,
            model_revision=self._recordings.digest,
            tokenizer_hash=self._tokenizer.hash,
            engine="echo",
            engine_version=__version__,
            logprobs_mode="raw",
            context_length=_NO_LIMIT,
        )

    def sample(self, requests: Sequence[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``; ``logprobs`` are null. InputError for a question without a recording."""
        for start in range(0, len(requests), _ROWS_A_FRAME):
            rows = [self._row(request, spec) for request in requests[start : start + _ROWS_A_FRAME]]
            yield pl.DataFrame(rows, schema=dict(SAMPLES.columns))

    def continue_(self, _requests: Sequence[ContinueRequest], _spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """A recording can't go on from another text."""
        raise BackendError("echo replays recorded responses and can't continue a prefix")

    def score(self, _requests: Sequence[ScoreRequest], _spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        """A recording knows no probabilities."""
        raise BackendError("echo replays recorded responses and can't score text")

    def close(self) -> None:
        """Nothing is held open."""

    def _row(self, request: SampleRequest, spec: SamplingSpec) -> dict[str, object]:
        recording = self._recording(request, spec)
        cap = request.max_tokens or spec.max_tokens
        text = behind_tag(
            recording.text, self._opening
        )  # recordings hold the whole response, prompts may open it
        ids, ends = self._tokenizer.encode_response(text, recording.ended)
        reason = "stop" if recording.ended else "length"
        if len(ids) > cap:
            text, ids, ends, reason = _cut(text, ids, ends, cap)
        return {
            "sample_id": request.sample_id,
            "question_id": request.question_id,
            "stage": spec.stage,
            "candidate": request.candidate,
            "text": text,
            "token_ids": ids,
            "token_ends": ends,
            "logprobs": None,
            "logprobs_mode": self.info.logprobs_mode,
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "seed": request.seed,
            "finish_reason": reason,
            "prefix_end": 0,
            "model": self.info.model,
            "model_revision": self.info.model_revision,
            "tokenizer_hash": self.info.tokenizer_hash,
            "engine": self.info.engine,
            "engine_version": self.info.engine_version,
        }

    def _recording(self, request: SampleRequest, spec: SamplingSpec) -> Recording:
        found = self._recordings.find(request.messages, spec.temperature)
        if request.candidate < len(found):
            return found[request.candidate]
        if found and self._repeat:
            return found[request.candidate % len(found)]
        raise InputError(
            f"{self._recordings.path}: {len(found)} responses at temperature {spec.temperature} for question "
            f"{request.question_id} ({last_question(request.messages)[:60]!r}); stage {spec.stage} wants "
            f"{request.candidate + 1} or more. Record more, lower sampling.candidates, or set "
            "teacher.options.repeat: true; for sample-heldout, evaluation.heldout: 0 asks for none"
        )


def _cut(text: str, ids: list[int], ends: list[int], cap: int) -> tuple[str, list[int], list[int], str]:
    """The first ``cap`` tokens, or a few fewer so that the text ends between two characters."""
    raw = text.encode()
    while cap and ends[cap - 1] < len(raw) and raw[ends[cap - 1]] & 0xC0 == 0x80:
        cap -= 1
    return raw[: ends[cap - 1] if cap else 0].decode(), ids[:cap], ends[:cap], "length"

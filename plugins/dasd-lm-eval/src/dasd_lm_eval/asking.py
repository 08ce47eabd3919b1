"""What the harness asks of its models, asked of an engine of dasd: texts to write, texts to score."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from dasd.api import (
    BackendError,
    ContinueRequest,
    EvalSpec,
    InputError,
    Message,
    SampleRequest,
    SamplingSpec,
    ScoreRequest,
    ScoringSpec,
    Teacher,
)
from dasd_lm_eval.documents import Context, Document, PreparedTask, context_of
from dasd_lm_eval.generating import Generation, Written, written
from dasd_lm_eval.scored import Scored

__all__ = ["Asked", "sampled_answers", "scored_answers"]

_TOKEN_BUDGET = 16384


@dataclass(frozen=True, slots=True)
class Asked:
    """One attempt at one document. ``system``: the recipe's system prompt, where the task has none of its own."""

    question_id: str
    attempt: int
    task: PreparedTask
    document: Document
    system: Message | None

    def messages(self, context: Context) -> tuple[Message, ...]:
        """The conversation, with the system prompt before it."""
        return context.messages if self.system is None else (self.system, *context.messages)


def _digest(*parts: object) -> str:
    return hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def sampled_answers(
    model: Teacher, asked: Sequence[Asked], spec: EvalSpec
) -> Iterator[list[tuple[Asked, Generation, Written]]]:
    """Answers as they come; each attempt's seed derives from benchmark, question, attempt and ``spec.seed``.

    An answer that has to start with a prefix (``gen_prefix``) is a continuation of it, and is given without it.
    Raises BackendError where the engine left one out.
    """
    groups: dict[tuple[Generation, bool], dict[str, Asked]] = defaultdict(dict)
    for each in asked:
        kwargs = each.document.instances[0].args[1]
        how = Generation.of(kwargs, each.task.name, each.task.options.think_end, spec.max_tokens)
        sample_id = _digest(spec.benchmark, each.question_id, each.attempt, spec.seed)
        groups[how, bool(each.document.context.prefix)][sample_id] = each
    for (how, continues), awaited in groups.items():

        def refused(sample_id: str, reason: str, awaited: dict[str, Asked] = awaited) -> None:
            _refused(awaited.pop(sample_id), spec, reason)

        sampling = SamplingSpec(
            f"evaluate {spec.benchmark}", how.temperature, how.top_p, how.max_tokens, refused
        )
        for frame in _frames(model, awaited, sampling, continues):
            for rows in frame.iter_slices(spec.batch_size):
                yield [
                    (awaited.pop(row["sample_id"]), how, _written(row, how))
                    for row in rows.iter_rows(named=True)
                ]
        _complete(model, [each.question_id for each in awaited.values()], spec)


def _frames(
    model: Teacher, awaited: dict[str, Asked], sampling: SamplingSpec, continues: bool
) -> Iterator[pl.DataFrame]:
    requests, continued = [], []
    for sample_id, each in awaited.items():
        context = each.document.context
        messages, seed = each.messages(context), int(sample_id[:16], 16) >> 1
        if continues:
            continued.append(
                ContinueRequest(sample_id, each.question_id, messages, each.attempt, seed, context.prefix)
            )
        else:
            requests.append(SampleRequest(sample_id, each.question_id, messages, each.attempt, seed))
    return model.continue_(continued, sampling) if continues else model.sample(requests, sampling)


def _written(row: dict[str, object], how: Generation) -> Written:
    text, ends, prefix = str(row["text"]), list(row["token_ends"]), int(row["prefix_end"])  # type: ignore[call-overload]
    new = [end - prefix for end in ends if end > prefix or prefix == 0]
    return written(text.encode()[prefix:].decode(errors="replace"), new, str(row["finish_reason"]), how)


def scored_answers(
    model: Teacher, asked: Sequence[Asked], spec: EvalSpec
) -> Iterator[list[tuple[Asked, list[Scored]]]]:
    """Log-likelihoods of each document's texts, some documents at a time.

    A text's log-likelihood is the sum over its own tokens as the response's beginning, the end token not among
    them; behind a ``gen_prefix``, over the tokens that reach beyond it. ``greedy`` is known by asking the model:
    whether sampling at temperature 0 gives the very tokens. A document of which the engine refuses a text is refused.
    """
    for start in range(0, len(asked), max(1, spec.batch_size)):
        yield _scores(model, asked[start : start + max(1, spec.batch_size)], spec)


def _scores(model: Teacher, asked: Sequence[Asked], spec: EvalSpec) -> list[tuple[Asked, list[Scored]]]:
    requests: dict[str, ScoreRequest] = {}
    contexts: list[list[tuple[str, Context, str]]] = []
    for each in asked:
        contexts.append([])
        for instance in each.document.instances:
            context, text = context_of(instance.args[0]), str(instance.args[1])
            messages = each.messages(context)
            sample_id = _digest(*(f"{m.role}\x1f{m.content}" for m in messages), context.prefix, text)
            requests[sample_id] = ScoreRequest(sample_id, messages, context.prefix + text, ended=False)
            contexts[-1].append((sample_id, context, text))
    rows: dict[str, tuple[list[int], list[float]]] = {}
    prefixes = {sample_id: len(c.prefix.encode()) for line in contexts for sample_id, c, _ in line}
    reasons: dict[str, str] = {}
    scoring = ScoringSpec(f"evaluate {spec.benchmark}", _TOKEN_BUDGET, reasons.__setitem__)
    for frame in model.score(list(requests.values()), scoring):
        for sample_id, ids, ends, logprobs in frame.select(
            "sample_id", "token_ids", "token_ends", "logprobs"
        ).iter_rows():
            own = [place for place, end in enumerate(ends) if end > prefixes[sample_id]]
            rows[sample_id] = [ids[place] for place in own], [logprobs[place] for place in own]
    served = []
    for each, line in zip(asked, contexts, strict=True):
        why = next((reasons[s] for s, *_ in line if s in reasons), None)
        if why is None:
            served.append((each, line))
        else:
            _refused(each, spec, why)
    asked, contexts = [each for each, _ in served], [line for _, line in served]
    missing = [each.question_id for each, line in served if any(s not in rows for s, *_ in line)]
    _complete(model, missing, spec)
    asking = [
        sample_id
        for e, line in zip(asked, contexts, strict=True)
        if e.task.needs_greedy
        for sample_id, *_ in line
    ]
    _refuse_prefixed(asked, contexts)
    greedy = _greedy(model, {s: requests[s] for s in asking}, {s: rows[s][0] for s in asking}, spec)
    return [
        (each, [Scored(text, sum(rows[s][1]), len(rows[s][0]), greedy.get(s)) for s, _, text in line])
        for each, line in served
    ]


def _refused(each: Asked, spec: EvalSpec, reason: str) -> None:
    spec.on_refused(each.question_id, each.attempt, reason)
    spec.on_rows(1)


def _refuse_prefixed(asked: Sequence[Asked], contexts: Sequence[Sequence[tuple[str, Context, str]]]) -> None:
    for each, line in zip(asked, contexts, strict=True):
        if each.task.needs_greedy and any(context.prefix for _, context, _ in line):
            raise InputError(
                f"lm-eval task {each.task.name!r} asks whether a text is the greedy one, behind a gen_prefix; tokens "
                "may reach over that border, so it can't be told"
            )


def _greedy(
    model: Teacher, requests: dict[str, ScoreRequest], tokens: dict[str, list[int]], spec: EvalSpec
) -> dict[str, bool]:
    """Whether each text's tokens are the most probable ones, each after those before it."""
    samples = [
        SampleRequest(s, s, request.messages, 0, 0, max_tokens=max(1, len(tokens[s])))
        for s, request in requests.items()
    ]
    if not samples:
        return {}
    longest = max(request.max_tokens or 1 for request in samples)
    found: dict[str, bool] = {}
    for frame in model.sample(samples, SamplingSpec(f"evaluate {spec.benchmark}", 0.0, 1.0, longest)):
        for sample_id, ids in frame.select("sample_id", "token_ids").iter_rows():
            found[sample_id] = ids[: len(tokens[sample_id])] == tokens[sample_id]
    _complete(model, [s for s in requests if s not in found], spec)
    return found


def _complete(model: Teacher, missing: Sequence[str], spec: EvalSpec) -> None:
    if missing:
        raise BackendError(
            f"benchmark {spec.benchmark}: the engine of {model.info.model} left out {len(missing)} answers, e.g. to "
            f"question {missing[0]}; run it again"
        )

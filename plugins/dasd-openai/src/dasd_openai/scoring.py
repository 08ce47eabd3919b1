"""Log-probabilities of a given text: as the prompt's own, or from llama.cpp, which has none for prompts.

llama.cpp is made to generate the text: a grammar leaves it one token at each place. What it says of that token is of
the model's own distribution all the same. Where a character takes several tokens it tells of the last one only, so
those tokens are looked up one by one among the log-probabilities of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from dasd.api import ChatTokenizer
from dasd_openai.answers import (
    Completion,
    echoed_logprobs,
    entry_ids,
    only_choice,
    prompt_logprobs,
    token_logprobs,
)
from dasd_openai.bodies import Draw, sampling_body, scoring_body
from dasd_openai.failures import MalformedError
from dasd_openai.servers import Dialect

Read = Callable[[Completion], tuple[float, ...]]
_WHOLE_VOCABULARY = 2**20
"""More tokens than any vocabulary has."""


def scoring(
    model: str, dialect: Dialect, ids: Sequence[int], start: int, tokenizer: ChatTokenizer
) -> Iterator[tuple[dict[str, Any], Read]]:
    """Bodies of requests for the completions endpoint, and what reads log-probabilities of ``ids[start:]`` from their
    answers, one after another."""
    if dialect.forces:
        yield from _forcing(model, dialect, ids, start, tokenizer)
        return
    find = prompt_logprobs if dialect.prompt_logprobs else echoed_logprobs
    yield scoring_body(model, dialect, ids), lambda answer: find(only_choice(answer), ids, start)


def _forcing(
    model: str, dialect: Dialect, ids: Sequence[int], start: int, tokenizer: ChatTokenizer
) -> Iterator[tuple[dict[str, Any], Read]]:
    eos_id = tokenizer.eos_id

    def body(place: int, tokens: int, tops: int) -> dict[str, Any]:
        draw = Draw(ids[:place], (), 1.0, 1.0, tokens, 0)
        # Where a grammar ends only end tokens may follow, of which a model may have several.
        return {**sampling_body(model, dialect, "tokens", draw, tops), "logit_bias": [[eos_id, 1000]]}

    for part, places in groupby(range(start, len(ids)), lambda at: "\ufffd" in tokenizer.decode([ids[at]])):
        found = list(places)
        if part:
            for at in found:
                yield body(at, 1, _WHOLE_VOCABULARY), _looked_up(ids[at])
            continue
        tokens = ids[found[0] : found[-1] + 1]
        grammar = " ".join(f"<[{token}]>" for token in tokens if token != eos_id) or '""'
        yield {**body(found[0], len(found), 0), "grammar": f"root ::= {grammar}"}, _generated(tokens)


def _generated(tokens: Sequence[int]) -> Read:
    def read(answer: Completion) -> tuple[float, ...]:
        logprobs, made = token_logprobs(only_choice(answer))[1], entry_ids(answer)
        if logprobs is None or made != list(tokens):
            raise MalformedError(f"wanted the tokens {list(tokens)}, got {made}")
        return logprobs

    return read


def _looked_up(token: int) -> Read:
    def read(answer: Completion) -> tuple[float, ...]:
        found = only_choice(answer).logprobs
        content = found.content if found is not None else None
        tops = (content[0].top_logprobs if content else None) or []
        of = [top.logprob for top in tops if top.id == token]
        if len(of) != 1:
            raise MalformedError(f"no log-probability of token {token} among {len(tops)}")
        return tuple(of)

    return read

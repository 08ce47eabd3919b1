"""Log-probabilities of given tokens, within a token budget that is halved when memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dasd.api import BackendError, InputError, Text, TopTokens
from dasd_vllm.engine import Engine, Question
from dasd_vllm.failures import is_out_of_memory, summary
from dasd_vllm.logprobs import of_prompt, table

__all__ = ["Scored", "Scorer"]

_SMALLEST_BUDGET = 16


@dataclass(frozen=True, slots=True)
class Scored:
    """Texts that have finished."""

    texts: list[Text]
    logprobs: list[list[float]]
    """Of the tokens of each."""
    top: list[TopTokens] | None
    """The likeliest tokens at each token of each; None where none were asked for."""


class Scorer:
    """Scores texts with one engine and remembers how much fits into memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._fits: int | None = None

    def score(
        self, texts: Iterable[Text], token_budget: int, top: int, refused: Callable[[Text, str], None]
    ) -> Iterator[Scored]:
        """Yields texts and the log-probabilities of their tokens as they finish; texts are read as there is room.

        With ``top`` the likeliest tokens come with them; InputError where the engine's options forbid so many.

        At most ``token_budget`` tokens are under way, or one longer sequence, which the engine takes in passes
        of its ``batched_tokens``. When memory runs out, both are halved, for good, and the engine starts anew.
        ``refused`` is told of the texts that vLLM doesn't take, and why. Raises BackendError naming the sample
        where even the smallest budget doesn't fit.
        """
        k = min(top, self._engine.vocabulary)
        if k > self._engine.most_top:
            raise InputError(
                f"options.engine.max_logprobs: the {k} likeliest tokens of each position are wanted, and it allows "
                f"{self._engine.most_top}; raise it, or take it out"
            )
        unread = iter(texts)
        again: deque[Text] = deque()
        while True:
            budget = min(token_budget, self._fits or token_budget)
            under_way: dict[str, Text] = {}
            empty: list[Text] = []
            ran_out = ""

            def questions(
                under_way: dict[str, Text] = under_way, empty: list[Text] = empty
            ) -> Iterator[tuple[Text, Question]]:
                while (text := again.popleft() if again else next(unread, None)) is not None:
                    if text.token_ids:
                        under_way[text.request.sample_id] = text
                        yield text, _question(text, k)
                    else:
                        empty.append(text)

            def turned_down(text: Text, why: str, under_way: dict[str, Text] = under_way) -> None:
                del under_way[text.request.sample_id]
                refused(text, why)

            try:
                for finished in self._engine.ask(questions(), turned_down, budget):
                    found = [text for text, _ in finished]
                    read = [_read(text, output, k) for text, output in finished]
                    for text in found:
                        del under_way[text.request.sample_id]
                    yield Scored(
                        found, [logprobs for logprobs, _ in read], [top for _, top in read] if k else None
                    )
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = summary(error)
            if empty:
                none = TopTokens(np.empty((0, k), np.uint32), np.empty((0, k), np.float32))
                yield Scored(empty, [[] for _ in empty], [none] * len(empty) if k else None)
            again.extendleft(reversed(under_way.values()))
            if not ran_out:
                return
            # Outside of the except clause: the error holds the memory of the pass that failed.
            self._halve(min(budget, self._engine.batched_tokens), again[0], ran_out)

    def _halve(self, budget: int, text: Text, why: str) -> None:
        if budget // 2 < _SMALLEST_BUDGET:
            raise BackendError(
                f"sample {text.request.sample_id}: memory runs out while scoring its {len(text.ids)} tokens, even "
                f"{budget} at a time ({why}); lower options.gpu_memory_utilization or options.kv_cache_memory_mib, "
                "which leaves more for the log-probabilities"
            )
        self._fits = budget // 2
        self._engine.shrink(budget // 2)


def _question(text: Text, k: int) -> Question:
    """All tokens but the last are the prompt; the last is the only one that may be sampled.

    So a text may be as long as the context, and nothing is computed that isn't asked for.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=k,
        logprobs=k,
        flat_logprobs=True,
        allowed_token_ids=[text.ids[-1]],
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    return Question(text.ids[:-1], params)


def _read(text: Text, output: Any, k: int) -> tuple[list[float], TopTokens]:
    """Of a text's tokens: the log-probability of each, and the K likeliest at each."""
    name, forced, last = f"sample {text.request.sample_id}", output.outputs[0], text.ids[-1]
    if list(forced.token_ids) != [last]:
        raise BackendError(f"{name}: vLLM returned token {list(forced.token_ids)}; wanted [{last}]")
    before = of_prompt(name, text.ids[:-1], len(text.prompt_ids), output, k)
    behind = table(name, [last], forced.logprobs, k)
    ids, logprobs = (np.concatenate(parts) for parts in zip(before, behind, strict=True))
    return logprobs[:, 0].tolist(), TopTokens(ids[:, 1:], logprobs[:, 1:])

"""Log-probabilities of given tokens, within a token budget that is halved when memory runs out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from dasd.api import BackendError, Text
from dasd_vllm.engine import Engine, Question
from dasd_vllm.failures import is_out_of_memory, summary

__all__ = ["Scorer", "given_logprobs"]

_SMALLEST_BUDGET = 16


class Scorer:
    """Scores texts with one engine and remembers how much fits into memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._fits: int | None = None

    def score(
        self, texts: Iterable[Text], token_budget: int, refused: Callable[[Text, str], None]
    ) -> Iterator[tuple[list[Text], list[list[float]]]]:
        """Yields texts and the log-probabilities of their tokens as they finish; texts are read as there is room.

        At most ``token_budget`` tokens are under way, or one longer sequence, which the engine takes in passes
        of its ``batched_tokens``. When memory runs out, both are halved, for good, and the engine starts anew.
        ``refused`` is told of the texts that vLLM doesn't take, and why. Raises BackendError naming the sample
        where even the smallest budget doesn't fit.
        """
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
                        yield text, _question(text)
                    else:
                        empty.append(text)

            def turned_down(text: Text, why: str, under_way: dict[str, Text] = under_way) -> None:
                del under_way[text.request.sample_id]
                refused(text, why)

            try:
                for finished in self._engine.ask(questions(), turned_down, budget):
                    found = [text for text, _ in finished]
                    values = [_logprobs(text, output) for text, output in finished]
                    for text in found:
                        del under_way[text.request.sample_id]
                    yield found, values
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = summary(error)
            if empty:
                yield empty, [[] for _ in empty]
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


def given_logprobs(name: str, ids: Sequence[int], start: int, output: Any) -> list[float]:
    """Log-probabilities of a prompt's tokens ``ids`` from ``start`` on. vLLM gives none for the first of all, which is
    never asked for."""
    found = output.prompt_logprobs
    if len(found) != len(ids):
        raise BackendError(f"{name}: vLLM returned {len(found)} prompt log-probabilities; wanted {len(ids)}")
    return [entry[token].logprob for entry, token in zip(found[start:], ids[start:], strict=True)]


def _question(text: Text) -> Question:
    """All tokens but the last are the prompt; the last is the only one that may be sampled.

    So a text may be as long as the context, and nothing is computed that isn't asked for.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    params = SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=0,
        logprobs=0,
        allowed_token_ids=[text.ids[-1]],
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    return Question(text.ids[:-1], params)


def _logprobs(text: Text, output: Any) -> list[float]:
    name, forced, last = f"sample {text.request.sample_id}", output.outputs[0], text.ids[-1]
    if list(forced.token_ids) != [last]:
        raise BackendError(f"{name}: vLLM returned token {list(forced.token_ids)}; wanted [{last}]")
    before = given_logprobs(name, text.ids[:-1], len(text.prompt_ids), output)
    return [*before, forced.logprobs[0][last].logprob]

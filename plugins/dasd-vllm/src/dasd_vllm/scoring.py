"""Log-probabilities of given tokens, within a token budget that is halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dasd.api import BackendError
from dasd_vllm.engine import Engine, Question
from dasd_vllm.failures import is_out_of_memory, summary

__all__ = ["Forced", "Scorer"]

_SMALLEST_BUDGET = 16


@dataclass(frozen=True, slots=True)
class Forced:
    """Tokens of a prompt and a text behind it; the last ``scored`` of them are the text."""

    name: str
    ids: tuple[int, ...]
    scored: int


class Scorer:
    """Scores sequences with one engine and remembers how much fits into memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._fits: int | None = None

    def score(
        self, sequences: Sequence[Forced], token_budget: int, refused: Callable[[int, str], None]
    ) -> Iterator[tuple[list[int], list[list[float]]]]:
        """Yields (indices into ``sequences``, log-probabilities of their scored tokens) as they finish.

        At most ``token_budget`` tokens are under way, or one longer sequence, which the engine takes in passes
        of its ``batched_tokens``. When memory runs out, both are halved, for good, and the engine starts anew.
        ``refused`` is told of the indices that vLLM doesn't take, and why. Raises BackendError naming the sequence
        where even the smallest budget doesn't fit.
        """
        empty = [index for index, sequence in enumerate(sequences) if not sequence.scored]
        if empty:
            yield empty, [[] for _ in empty]
        # Longest first; ties by place, so that what runs together depends on the requests alone.
        pending = sorted(
            (index for index, sequence in enumerate(sequences) if sequence.scored),
            key=lambda index: (-len(sequences[index].ids), index),
        )
        while pending:
            budget = min(token_budget, self._fits or token_budget)
            done: set[int] = set()
            ran_out = ""
            asked = list(pending)

            def turned_down(place: int, why: str, asked: list[int] = asked, done: set[int] = done) -> None:
                done.add(asked[place])
                refused(asked[place], why)

            questions = [_question(sequences[index]) for index in asked]
            try:
                for finished in self._engine.ask(questions, turned_down, budget):
                    indices = [asked[place] for place, _ in finished]
                    values = [
                        _logprobs(sequences[i], output)
                        for i, (_, output) in zip(indices, finished, strict=True)
                    ]
                    done.update(indices)
                    yield indices, values
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = summary(error)
            pending = [index for index in pending if index not in done]
            if ran_out:  # outside of the except clause: the error holds the memory of the pass that failed
                self._halve(min(budget, self._engine.batched_tokens), sequences[pending[0]], ran_out)

    def _halve(self, budget: int, sequence: Forced, why: str) -> None:
        if budget // 2 < _SMALLEST_BUDGET:
            raise BackendError(
                f"{sequence.name}: memory runs out while scoring its {len(sequence.ids)} tokens, even {budget} at "
                f"a time ({why}); lower options.gpu_memory_utilization or options.kv_cache_memory_mib, which "
                "leaves more for the log-probabilities"
            )
        self._fits = budget // 2
        self._engine.shrink(budget // 2)


def _question(sequence: Forced) -> Question:
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
        allowed_token_ids=[sequence.ids[-1]],
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    return Question(sequence.ids[:-1], params)


def _logprobs(sequence: Forced, output: Any) -> list[float]:
    """Of the scored tokens. vLLM gives none for the first token of a prompt, which is never scored."""
    before, forced = output.prompt_logprobs, output.outputs[0]
    wanted = sequence.ids[-sequence.scored :]
    first = len(sequence.ids) - sequence.scored
    if len(before) != len(sequence.ids) - 1 or list(forced.token_ids) != [wanted[-1]]:
        raise BackendError(
            f"{sequence.name}: vLLM returned {len(before)} prompt log-probabilities and token "
            f"{list(forced.token_ids)}; wanted {len(sequence.ids) - 1} and [{wanted[-1]}]"
        )
    values = [entry[token].logprob for entry, token in zip(before[first:], wanted[:-1], strict=True)]
    return [*values, forced.logprobs[0][wanted[-1]].logprob]

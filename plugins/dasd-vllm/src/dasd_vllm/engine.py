"""One vLLM engine in this process: started, asked, started again with smaller passes, closed."""

from __future__ import annotations

import contextlib
import gc
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from dasd.api import BackendError, ModelSettings
from dasd_vllm.arguments import batched_tokens, engine_args
from dasd_vllm.draws import keep_draws
from dasd_vllm.environment import check_device, left_alone, on_cpu
from dasd_vllm.failures import cannot_start, summary
from dasd_vllm.heads import kernel_sizes, runnable
from dasd_vllm.options import VllmOptions

__all__ = ["Engine", "Question"]

ItemT = TypeVar("ItemT")

SECONDS = 0.5
"""Finished answers are handed on together after this time, or when they are many: a frame for each costs a small model
several percent."""


@dataclass(frozen=True, slots=True)
class Question:
    """Tokens to go on from, and vLLM's ``SamplingParams``."""

    ids: Sequence[int]
    params: Any


class Engine:
    """Answers questions in token ids.

    It runs in this process, so that the same questions in the same order are batched the same way each time. After
    anything but a normal end it starts anew with the next list.
    """

    _open: ClassVar[str | None] = None
    """The model of the engine that this process has: vLLM shares what connects its processes among all."""

    def __init__(self, settings: ModelSettings, options: VllmOptions, path: str) -> None:
        """Start it for the model at ``path``.

        Raises InputError where options or memory don't fit, BackendError while another engine is open.
        """
        if Engine._open is not None:
            raise BackendError(
                f"backend 'vllm' can't start {settings.model}: a process has one engine of vLLM at a time, and this "
                f"one still has that of {Engine._open}; close it first, or give one of the models a `python` of its "
                "own"
            )
        check_device(settings.device)
        self._settings = settings
        self._options = options
        self._files = contextlib.ExitStack()
        with left_alone(), self._compiling():
            self._path = self._files.enter_context(runnable(path, kernel_sizes())) if on_cpu() else path
        self._numbers = itertools.count()
        self._running = False
        self._engine: Any = None
        self._scheduler: Any = None
        self._model_config: Any = None
        self._batched = batched_tokens(settings, options)
        try:
            self._start()
        except BaseException:
            self._files.close()
            raise
        Engine._open = settings.model

    @property
    def context_length(self) -> int:
        """Longest sequence in tokens."""
        return int(self._model_config.max_model_len)

    @property
    def vocabulary(self) -> int:
        """Tokens that there is a logit of."""
        return int(self._model_config.get_vocab_size())

    @property
    def most_top(self) -> int:
        """Likeliest tokens that may be asked for at a position: all, unless ``options.engine`` bounds them."""
        most = int(self._model_config.max_logprobs)
        return self.vocabulary if most == -1 else most

    @property
    def commit(self) -> str | None:
        """Revision of a named model that was fetched."""
        found = getattr(self._model_config.hf_config, "_commit_hash", None)
        return None if found is None else str(found)

    @property
    def end_ids(self) -> frozenset[int]:
        """End tokens of the model's generation config."""
        declared = self._model_config.try_get_generation_config().get("eos_token_id")
        if declared is None:
            return frozenset()
        return frozenset({declared} if isinstance(declared, int) else map(int, declared))

    @property
    def batched_tokens(self) -> int:
        """Tokens in one forward pass, at most."""
        return int(self._scheduler.max_num_batched_tokens)

    @property
    def together(self) -> int:
        """Sequences that it works on at a time, at most."""
        return int(self._scheduler.max_num_seqs)

    def ask(
        self,
        questions: Iterable[tuple[ItemT, Question]],
        refused: Callable[[ItemT, str], None],
        token_budget: int | None = None,
    ) -> Iterator[list[tuple[ItemT, Any]]]:
        """Yields finished answers, a few at a time: what was asked and vLLM's ``RequestOutput``.

        Questions are read as there is room: a place that becomes free is taken in the next step. ``refused`` is told
        of what vLLM doesn't take, and what it says of it. With ``token_budget`` the questions that are under way hold
        at most that many tokens, or there is one. Raises what vLLM raises, and BackendError while other questions are
        under way.
        """
        if self._running:
            raise BackendError(
                "the engine is still answering another list of requests; read that to its end, or close its "
                "generator, before asking for more"
            )
        if self._engine is None:
            self._start()
        # What earlier lists left in the cache would change the last digits of this one.
        self._engine.reset_prefix_cache()
        self._running = True
        under_way: dict[str, tuple[ItemT, int]] = {}
        unread = iter(questions)
        finished: list[tuple[ItemT, Any]] = []
        last = time.monotonic()
        many = 8 + self.together // 4
        tokens = 0
        sound = False

        def read() -> tuple[ItemT, Question] | None:
            """The next question. What goes wrong there is none of the engine's."""
            nonlocal sound
            sound = True
            question = next(unread, None)
            sound = False
            return question

        try:
            following = read()
            while following is not None or under_way:
                while following is not None and len(under_way) < self.together:
                    item, question = following
                    size = len(question.ids) + 1
                    if token_budget is not None and under_way and tokens + size > token_budget:
                        break
                    following = read()
                    name = f"dasd-{next(self._numbers)}"
                    prompt = {"prompt_token_ids": list(question.ids)}
                    try:
                        self._engine.add_request(name, prompt, question.params)
                    except ValueError as error:  # how vLLM's checks of a request's own values end
                        refused(item, summary(error))
                        continue
                    under_way[name] = item, size
                    tokens += size
                if not under_way:
                    break
                for output in self._engine.step():
                    if output.finished:
                        item, size = under_way.pop(output.request_id)
                        tokens -= size
                        finished.append((item, output))
                if finished and (len(finished) >= many or time.monotonic() - last > SECONDS):
                    yield finished
                    finished, last = [], time.monotonic()
            if finished:
                yield finished
            sound = True
        except GeneratorExit:
            sound = True
            raise
        finally:
            self._running = False
            if sound:
                self._engine.abort_request(list(under_way))
            else:
                self._stop()

    def shrink(self, batched: int) -> None:
        """Start anew with at most ``batched`` tokens in a forward pass, for good."""
        self._stop()
        self._batched = batched
        self._start()

    def close(self) -> None:
        """Release memory and processes."""
        try:
            self._stop()
        finally:
            self._files.close()
            Engine._open = None

    def _start(self) -> None:
        failed: Exception | None = None
        with left_alone(), self._compiling():
            from vllm.v1.engine.llm_engine import LLMEngine

            if on_cpu():
                keep_draws()
            args = engine_args(self._settings, self._options, self._path, self._batched)
            try:
                self._engine = LLMEngine.from_engine_args(args)
                self._scheduler = self._engine.vllm_config.scheduler_config
                self._model_config = self._engine.model_config
            except Exception as error:  # noqa: BLE001 - whatever vLLM raises becomes one of ours
                failed = error
        if failed is not None:
            self._stop()
            raise cannot_start(self._settings, failed) from failed

    def _compiling(self) -> contextlib.AbstractContextManager[object]:
        """Without compilation on a CPU, helpers of the sampler aren't compiled either: that takes 15 seconds."""
        import torch._dynamo.config

        eager = on_cpu() if self._options.enforce_eager is None else self._options.enforce_eager
        if not (on_cpu() and eager):
            return contextlib.nullcontext()
        without: contextlib.AbstractContextManager[object] = torch._dynamo.config.patch(disable=True)
        return without

    def _stop(self) -> None:
        engine, self._engine = self._engine, None
        with left_alone():
            from vllm.distributed import cleanup_dist_env_and_memory

            if engine is not None:
                engine.engine_core.shutdown()
            del engine
            cleanup_dist_env_and_memory()
            gc.collect()

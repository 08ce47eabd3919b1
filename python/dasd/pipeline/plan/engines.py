"""What the engines of a recipe would take for a stage, by simulation of what the recipe says of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydantic import JsonValue

from dasd.models.remote.backend import Backend
from dasd.pipeline.plan.engine_time import Bound, Engine, Simulated, draw_lengths, simulate
from dasd.pipeline.plan.records import Generation
from dasd.pipeline.work.feeding import AHEAD
from dasd.recipe.model_settings import CPU_BATCH_SIZE, ModelSettings
from dasd.recipe.settings import EngineTimes, RecipeSettings

__all__ = ["EnginesPlan"]

GPU_SEQUENCES = 256
"""What vLLM takes together on most GPUs where nobody says otherwise."""
SIMULATED = 4096
"""Requests that are simulated of a longer list: its beginning and its end, between which the rate stays."""
_BOUNDS: dict[Bound, str] = {
    "sequences": "the number of sequences decoded together bounds the rate ({key})",
    "room": "the room for keys and values bounds the rate (plan.{role}_engine.room_tokens)",
    "requests": "there are too few requests to fill it",
}


@dataclass(frozen=True, slots=True)
class EnginesPlan:
    """The engines of one model."""

    settings: RecipeSettings
    model: ModelSettings
    backend: Backend
    times: EngineTimes
    seed: int
    executor_engines: str = ""
    """The option of the recipe's executor that says how many engines work side by side; "": one."""
    prompt: int = 0
    """Tokens of a prompt, where they are known: each is read, and takes room."""

    def of(self, work: Generation) -> tuple[float, str] | None:
        """Seconds of a stage's generation, and in words what was simulated; None where amounts aren't known."""
        requests, tokens, most = work.requests.expected, work.tokens.expected, work.tokens.most
        if not requests or tokens is None:
            return None
        cap = max(1, math.ceil(most / requests)) if most else 2**31
        here = math.ceil(requests / self._engines)
        found, seconds = self._simulated(here, tokens / requests, cap)
        sequences, key = self._sequences()
        each = f"{self._engines} engines" if self._engines > 1 else "one engine"
        bound = _BOUNDS[found.bound].format(key=key, role=work.role)
        words = (
            f"{work.role}: {each} of at most {sequences} sequences, {found.running:.0f} on average; {bound}"
        )
        return seconds + self.times.start_seconds, words

    @property
    def _engines(self) -> int:
        """Side by side."""
        executor = self.settings.executor
        return (
            self.times.engines
            or _counted(executor.options.get(self.executor_engines))
            or _counted(self.model.options.get(self.backend.engines))
            or 1
        )

    def _simulated(self, count: int, mean: float, cap: int) -> tuple[Simulated, float]:
        sequences, _ = self._sequences()
        # A longer list goes on at the rate of its middle: what is simulated has to be many times what runs together.
        some = min(count, max(SIMULATED, 2 * AHEAD * sequences))
        whole = self._run(some, mean, cap)
        if some == count:
            return whole, whole.seconds
        half = self._run(some // 2, mean, cap)
        return whole, whole.seconds + (count - some) * (whole.seconds - half.seconds) / (some - some // 2)

    def _run(self, count: int, mean: float, cap: int) -> Simulated:
        sequences, _ = self._sequences()
        times = self.times
        engine = Engine(
            sequences,
            times.step_ms / 1000,
            times.step_ms_a_sequence / 1000,
            math.inf if times.room_tokens is None else times.room_tokens,
            times.read_ms_a_token / 1000,
        )
        lengths = draw_lengths(count, mean, times.spread, cap, self.seed)
        fed = bool(self.backend.concurrency)
        return simulate(
            lengths,
            engine,
            self.prompt,
            unit=None if fed else self.settings.sampling.chunk,
            ahead=AHEAD if fed else None,
        )

    def _sequences(self) -> tuple[int, str]:
        """How many it decodes together, and the key that says so."""
        if self.times.sequences is not None:
            return self.times.sequences, "plan.*_engine.sequences"
        option = self.backend.concurrency
        given = self.model.options.get(option) if option else None
        if isinstance(given, int):
            return given, f"options.{option}"
        on_cpu = self.model.device == "cpu" or not option
        return self.model.batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_SEQUENCES), "batch_size"


def _counted(option: JsonValue) -> int | None:
    """Engines by an option that says how many, as a number or as a list with an entry for each."""
    if isinstance(option, list):
        return len(option)
    return option if isinstance(option, int) else None

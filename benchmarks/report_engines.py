"""Days that the technical report's sampling takes on engines of different sizes, as `dasd plan` simulates them.

The teacher is gpt-oss-120b (recipe `dasd-4b`). How fast a step is and how many tokens fit are rules on paper, printed
with the table; nothing here was measured on such machines.

Example:
    python -m benchmarks.report_engines
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.report_plan import RECIPE
from dasd.models.remote.backend import Backend
from dasd.pipeline.plan import plan_recipe
from dasd.pipeline.plan.engines import EnginesPlan
from dasd.plugins.recipe import Recipe
from dasd.recipe.settings import EngineTimes

WEIGHTS, TAKEN, ACTIVATIONS = 63e9, 0.9 * 80e9, 4e9
"""Bytes: gpt-oss-120b in MXFP4; what an engine takes of an H100; what isn't left for keys and values."""
A_TOKEN = 36_864
"""Bytes of keys and values of a token: 8 heads of 64 in bf16, in the 18 of 36 layers without a sliding window."""
FED = Backend("teacher 'vllm'", {}, True, True, True, concurrency="max_num_seqs")
LISTS = Backend("teacher that takes lists", {}, True, True, True)


@dataclass(frozen=True)
class Machines:
    """So many engines, each over some GPUs; milliseconds of a step and of each sequence in it."""

    name: str
    engines: int
    gpus: int
    step_ms: float
    step_ms_a_sequence: float

    def times(self, sequences: int) -> EngineTimes:
        """As section ``plan`` of a recipe has them."""
        room = (self.gpus * (TAKEN - ACTIVATIONS) - WEIGHTS) / A_TOKEN
        return EngineTimes(
            step_ms=self.step_ms,
            step_ms_a_sequence=self.step_ms_a_sequence,
            read_ms_a_token=0.02,
            room_tokens=room,
            sequences=sequences,
            engines=self.engines,
            start_seconds=300,
        )


MACHINES = (
    Machines("one H100", 1, 1, 12, 0.05),
    Machines("one server of 8 H100, four engines of two", 4, 2, 10, 0.03),
    Machines("ten servers of 8 H100, forty engines of two", 40, 2, 10, 0.03),
)


def main() -> None:
    """Print the table and its assumptions."""
    recipe = Recipe.load(RECIPE)
    settings = recipe.settings
    with tempfile.TemporaryDirectory() as directory:
        plan = plan_recipe(RECIPE, directory=Path(directory))
    stages = {s.name: s.work.generates for s in plan.stages if s.name in ("sample-low", "sample-high")}
    tokens = {name: sum(part.tokens.expected or 0 for part in parts) for name, parts in stages.items()}
    requests = {name: sum(part.requests.expected or 0 for part in parts) for name, parts in stages.items()}
    for name in stages:
        print(f"{name}: {requests[name]:,} responses, {tokens[name] / 1e9:.2f} G tokens")
    print()
    columns = (
        "machines",
        "step",
        "room, tokens",
        "units, 32 at once: days",
        "fed, 256: days",
        "times faster",
        "bound",
    )
    print(f"| {' | '.join(columns)} |")
    print("|---|---|---:|---:|---:|---:|---|")
    for machines in MACHINES:
        days, words = [], ""
        for backend, sequences in ((LISTS, 32), (FED, 256)):
            engines = EnginesPlan(
                settings, settings.teacher, backend, machines.times(sequences), settings.seed
            )
            found = [engines.of(part) for parts in stages.values() for part in parts]
            days.append(sum(each[0] for each in found if each is not None) / 86_400)
            words = next(each[1] for each in found if each is not None)
        step = f"{machines.step_ms:g} + {machines.step_ms_a_sequence:g} ms a sequence"
        room = machines.times(1).room_tokens or 0
        print(
            f"| {machines.name} | {step} | {room:,.0f} | {days[0]:.3g} | {days[1]:.3g} | "
            f"{days[0] / days[1]:.2f} | {_bound(words)} |"
        )


def _bound(words: str) -> str:
    """What bounds the rate, of the plan's words."""
    return words.rpartition("; ")[2].partition(" bounds")[0].removeprefix("the ")


if __name__ == "__main__":
    main()

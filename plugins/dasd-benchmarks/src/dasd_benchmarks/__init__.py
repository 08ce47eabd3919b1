"""Plugin ``benchmarks``: sources of questions that are benchmarks, with the settings that they are measured with."""

from __future__ import annotations

from functools import partial
from importlib.metadata import version

from dasd.api import Registry, hookimpl
from dasd_benchmarks.gpqa import GPQA
from dasd_benchmarks.humaneval import HUMANEVAL
from dasd_benchmarks.livecodebench import LCB5, LCB6
from dasd_benchmarks.mathematics import AIME24, AIME25, MATH500
from dasd_benchmarks.source import BenchmarkQuestions

__version__ = version("dasd-benchmarks")

BENCHMARKS = (AIME24, AIME25, GPQA, LCB5, LCB6, MATH500, HUMANEVAL)


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register a source of questions for each benchmark; ``NAME:PATH`` of ``--benchmarks`` is the option path."""
    for benchmark in BENCHMARKS:
        registry.questions(
            benchmark.name,
            partial(BenchmarkQuestions, benchmark),
            options=benchmark.options,
            doc=f"{benchmark.title}, from the hub or a file of yours.",
            argument="path",
            attempts=benchmark.attempts,
            max_tokens=benchmark.max_tokens,
            count=benchmark.counts[0],
        )

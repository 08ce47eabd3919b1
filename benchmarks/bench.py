"""The inputs of a benchmark run and what it has measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from benchmarks.corpus import Corpus, make_corpus
from benchmarks.table import Comparison, Contender, Figure, in_turn

SHORT = 1_400.0  # mean tokens a response of the second corpus: more rows, so more planted pairs


@dataclass(frozen=True)
class Sizes:
    """How much of everything; the command's options."""

    tokens: int = 28_000_000
    mean_length: float = 13_800.0
    sampled_tokens: int = 400_000  # for peers in plain Python
    one_core_tokens: int = 6_000_000
    packed: int = 448_000
    text_bytes: int = 64 << 20
    hostile_rows: int = 1_000_000
    rounds: int = 7
    seed: int = 0


@dataclass
class Bench:
    """The inputs, made once, and what was measured so far."""

    sizes: Sizes
    comparisons: list[Comparison] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @cached_property
    def corpus(self) -> Corpus:
        """Responses as long as the report's."""
        return make_corpus(self.sizes.tokens, self.sizes.mean_length, self.sizes.seed)

    @cached_property
    def short_corpus(self) -> Corpus:
        """As many tokens in shorter responses."""
        return make_corpus(self.sizes.tokens, min(SHORT, self.sizes.mean_length), self.sizes.seed + 1)

    @cached_property
    def sample(self) -> Corpus:
        """A small corpus of the same shape, for what is slow."""
        return make_corpus(self.sizes.sampled_tokens, self.sizes.mean_length, self.sizes.seed + 2)

    def compare(self, kernel: str, ours: Callable[[], object], peers: list[Contender]) -> None:
        """Time them in turn and keep the lines."""
        self.comparisons += in_turn(kernel, ours, peers, self.sizes.rounds)

    def agree(self, kernel: str, name: str, apart: float, unit: str = "apart", note: str = "") -> None:
        """Keep whether results agree; anything above 0 is an error."""
        self.figures.append(Figure(kernel, name, (float(apart),), unit, "at most", 0.0, note, is_result=True))

    def rate(self, kernel: str, count: float, unit: str, target: float | None = None) -> None:
        """Keep ours as a rate, from the rounds of the kernel's first comparison."""
        line = next(line for line in self.comparisons if line.kernel == kernel)
        values = tuple(count / taken for taken in line.ours_seconds)
        self.figures.append(Figure(kernel, "rate, all threads", values, unit, "at least", target))

"""How long an engine that decodes many sequences together takes for responses of given lengths: a simulation.

Event by event, not step by step: between two events the number of sequences stays, and each gains a token a step.
Assumptions: a step takes ``step_seconds`` and ``step_seconds_a_sequence`` for each sequence in it; reading tokens (a
prompt, or what was put back) takes ``read_seconds_a_token``; a sequence is taken in while its tokens fit into the room
for keys and values, and where that runs out the youngest is put back and read again, as vLLM does.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

__all__ = ["Engine", "Simulated", "draw_lengths", "simulate"]

Bound = Literal["sequences", "room", "requests"]


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine. Times in seconds, room in tokens."""

    sequences: int
    """Most that are decoded together."""
    step_seconds: float
    step_seconds_a_sequence: float
    room: float = math.inf
    """Tokens whose keys and values fit."""
    read_seconds_a_token: float = 0.0


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a simulation found."""

    seconds: float
    running: float
    """Sequences in a step, on average over the time."""
    read_again: int
    """Tokens that were read again after they had been put back."""
    bounds: dict[Bound, float]
    """Seconds in which each of these kept further sequences out; ``requests``: there were none."""

    @property
    def bound(self) -> Bound:
        """What kept sequences out for the longest time."""
        return max(self.bounds, key=lambda each: self.bounds[each])


def draw_lengths(count: int, mean: float, spread: float, most: int, seed: int) -> list[int]:
    """Log-normal lengths in tokens, at least 1 and cut at ``most``.

    ``mean`` is that of the uncut ones, ``spread`` the standard deviation of the logarithm.
    """
    drawn = random.Random(seed)
    middle = math.log(mean) - spread**2 / 2
    return [max(1, min(most, round(drawn.lognormvariate(middle, spread)))) for _ in range(count)]


@dataclass(slots=True)
class _Sequence:
    order: int
    left: int
    held: int
    """Tokens in the cache when it was last taken in: prompt and what it had written."""
    began: float = 0.0


def simulate(
    lengths: Iterable[int], engine: Engine, prompt: int = 0, unit: int | None = None, ahead: int | None = None
) -> Simulated:
    """Answer requests in order.

    ``unit``: a barrier behind every so many requests, None: none. ``ahead``: as ``feeding.AHEAD``, requests that may
    be given before the oldest unfinished one has finished, as a multiple of ``engine.sequences``.
    """
    run = _Run(engine, prompt)
    waiting = iter(lengths)
    if unit is not None:
        for part in _parts(waiting, unit):
            run.feed(iter(part), None)
    else:
        run.feed(waiting, None if ahead is None else ahead * engine.sequences)
    seconds = max(run.seconds, 1e-12)
    return Simulated(run.seconds, run.area / seconds, run.read_again, run.bounds)


def _parts(items: Iterator[int], size: int) -> Iterator[Sequence[int]]:
    while part := list(islice(items, size)):
        yield part


class _Run:
    """The state of an engine. ``steps`` counts tokens that a sequence would have gained since the start."""

    def __init__(self, engine: Engine, prompt: int) -> None:
        self.engine, self.prompt = engine, prompt
        self.seconds = self.area = self.steps = 0.0
        self.read_again = 0
        self.bounds: dict[Bound, float] = {"sequences": 0.0, "room": 0.0, "requests": 0.0}
        self._offset = 0.0  # tokens in the cache are running * steps + offset
        self._ends: list[tuple[float, int]] = []
        self._running: dict[int, _Sequence] = {}
        self._back: deque[_Sequence] = deque()
        self._given = self._finished = 0
        self._done: set[int] = set()

    def feed(self, lengths: Iterator[int], window: int | None) -> None:
        """Answer these to the last. Lengths are taken from the iterator as there is room."""
        following = next(lengths, None)
        while following is not None or self._running or self._back:
            kept_out: Bound = "requests"
            while following is not None or self._back:
                if len(self._running) >= self.engine.sequences:
                    kept_out = "sequences"
                    break
                tokens = self._back[0].held if self._back else self.prompt
                if self._running and self._tokens + tokens + len(self._running) + 1 > self.engine.room:
                    kept_out = "room"
                    break
                if self._back:
                    self._take(self._back.popleft())
                    continue
                if window is not None and self._given - self._oldest() >= window:
                    break
                assert following is not None
                self._take(_Sequence(self._given, following, self.prompt))
                self._given += 1
                following = next(lengths, None)
            self._advance(kept_out)

    @property
    def _tokens(self) -> float:
        return len(self._running) * self.steps + self._offset

    def _take(self, sequence: _Sequence) -> None:
        sequence.began = self.steps
        self._running[sequence.order] = sequence
        self._offset += sequence.held - self.steps
        heapq.heappush(self._ends, (self.steps + sequence.left, sequence.order))
        self._pass(sequence.held * self.engine.read_seconds_a_token, "requests", counted=False)

    def _advance(self, kept_out: Bound) -> None:
        """To the next sequence that ends, or to where the room is used up."""
        while self._ends[0][1] not in self._running or self._ends[0][0] != self._end(self._ends[0][1]):
            heapq.heappop(self._ends)  # was put back
        count = len(self._running)
        steps = self._ends[0][0] - self.steps
        room = (self.engine.room - self._tokens) / count
        full = count > 1 and room < steps
        steps = max(room, 0.0) if full else steps
        self.steps += steps
        self._pass(steps * (self.engine.step_seconds + count * self.engine.step_seconds_a_sequence), kept_out)
        if full:
            self._put_back(next(reversed(self._running)))
        else:
            order = heapq.heappop(self._ends)[1]
            self._leave(order)
            self._done.add(order)

    def _oldest(self) -> int:
        """The first that hasn't finished."""
        while self._finished in self._done:
            self._done.remove(self._finished)
            self._finished += 1
        return self._finished

    def _end(self, order: int) -> float:
        sequence = self._running[order]
        return sequence.began + sequence.left

    def _leave(self, order: int) -> _Sequence:
        sequence = self._running.pop(order)
        written = self.steps - sequence.began
        self._offset -= sequence.held - sequence.began
        sequence.left -= round(written)
        sequence.held += round(written)
        return sequence

    def _put_back(self, order: int) -> None:
        sequence = self._leave(order)
        sequence.left = max(1, sequence.left)
        self.read_again += sequence.held
        self._back.appendleft(sequence)

    def _pass(self, seconds: float, kept_out: Bound, *, counted: bool = True) -> None:
        self.seconds += seconds
        self.area += seconds * len(self._running)
        if counted:
            self.bounds[kept_out] += seconds

"""The driver's end of a replica, with Ray's many errors made into two: it is lost, or the engine says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from dasd.api import BackendError, DasdError, ModelSettings, OpenedTeacher, SamplingSpec, ScoringSpec
from dasd_ray.items import Item, Kind, Opened, Request
from dasd_ray.replica import Replica

__all__ = ["LostError", "Member", "fetch"]

WAIT_SECONDS = 0.5


class LostError(Exception):
    """A replica died, or its engine failed: another one may do what it was asked."""


def fetch(reference: Any, going: Callable[[], None] | None = None) -> Any:
    """The value behind a reference of a replica's. Raises LostError, or the engine's own error for wrong input.

    ``going`` is called while it is waited for, and raises where waiting is in vain.
    """
    while going is not None and not ray.wait([reference], timeout=WAIT_SECONDS)[0]:
        going()
    try:
        return ray.get(reference)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, DasdError) and not isinstance(cause, BackendError):
            raise cause from None
        text = str(cause).strip() or type(cause).__name__
        raise LostError(
            text if isinstance(cause, BackendError) else f"{type(cause).__name__}: {text}"
        ) from None
    except (RayError, ConnectionError, OSError) as error:
        raise LostError(_first_lines(error)) from None


class Member:
    """A replica that was asked for; ``opened`` once its engine is open."""

    def __init__(
        self,
        cpus: float,
        gpus: float,
        others: dict[str, float],
        settings: ModelSettings,
        start: Callable[[ModelSettings], OpenedTeacher],
        going: Callable[[], None],
    ) -> None:
        """Ask Ray for it; ``opening`` refers to what it says of itself when it is there.

        ``going`` is called while it is waited for, and raises where the cluster is no more.
        """
        actor = ray.remote(Replica).options(
            num_cpus=cpus,
            num_gpus=gpus,
            resources=others,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._going = going
        self._actor: Any = actor.remote()
        self.opening: Any = self._actor.open.remote(settings, start)
        self.opened: Opened | None = None

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"replica on {self.opened.host} (process {self.opened.pid})" if self.opened else "a replica"

    def begin(
        self, kind: Kind, requests: Sequence[Request], spec: SamplingSpec | ScoringSpec, last: bool
    ) -> None:
        """Begin a call; ``step`` brings what comes of it. Raises as ``fetch``."""
        own = replace(spec, on_refused=_told_elsewhere)
        fetch(self._actor.begin.remote(kind, list(requests), own, last), self._going)

    def step(self, following: Sequence[Request] = (), last: bool = False) -> Any:
        """A reference to the items of the next step."""
        return self._actor.step.remote(list(following), last)

    def ask(
        self, kind: Kind, requests: Sequence[Request], spec: SamplingSpec | ScoringSpec
    ) -> Iterator[Item]:
        """One call with all its requests: frames and refusals. Raises as ``fetch``."""
        self.begin(kind, requests, spec, last=True)
        while True:
            self._going()
            for item in fetch(self.step(), self._going):
                if item == "end":
                    return
                yield item

    def cancel(self) -> None:
        """End the call that is under way."""
        self._actor.cancel.remote()

    def close(self) -> Any:
        """Have the engine closed; a reference that is ready when it is."""
        return self._actor.close.remote()

    def leave(self) -> Any:
        """Have its process end itself, which needs no head; a reference that is ready when it is about to."""
        return self._actor.leave.remote()

    def kill(self) -> None:
        """End its process."""
        ray.kill(self._actor, no_restart=True)


def _told_elsewhere(sample_id: str, reason: str) -> None:
    raise AssertionError(f"the replica has its own: {sample_id}, {reason}")


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:500] or type(error).__name__

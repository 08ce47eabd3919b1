"""What only the user can know about a model or its data."""

from __future__ import annotations

from dataclasses import dataclass

from dasd.errors import InputError

__all__ = ["CardOptions", "HubBenchmark"]


@dataclass(frozen=True, slots=True)
class HubBenchmark:
    """Which registered benchmark of the hub a benchmark of the run is."""

    name: str
    """In the run."""
    dataset: str
    """``OWNER/NAME`` of the hub's dataset."""
    task: str
    """Its id in that dataset's eval.yaml."""
    percent: bool
    """The leaderboard wants 0 to 100 instead of 0 to 1."""

    @classmethod
    def parse(cls, text: str) -> HubBenchmark:
        """``NAME=OWNER/DATASET:TASK`` or ``NAME=OWNER/DATASET:TASK:percent``. Raises InputError."""
        name, _, rest = text.rpartition("=")
        parts = rest.split(":")
        scale = parts[2:] or ["share"]
        if not name or len(parts) not in (2, 3) or not all(parts) or "/" not in parts[0]:
            raise InputError(
                f"hub benchmark {text!r}: wanted NAME=OWNER/DATASET:TASK, e.g. "
                "gpqa-diamond=Idavidrein/gpqa:gpqa_diamond"
            )
        if scale[0] not in ("share", "percent"):
            raise InputError(
                f"hub benchmark {text!r}: wanted nothing or `percent` at the end, got {scale[0]!r}"
            )
        return cls(name, parts[0], parts[1], scale[0] == "percent")


@dataclass(frozen=True, slots=True)
class CardOptions:
    """What a card is told. None or empty: look it up, or say that it is unknown."""

    license: str | None = None
    """Of what the card is of, by the hub's identifier."""
    base_license: str | None = None
    teacher_license: str | None = None
    data_license: str | None = None
    """Of the questions."""
    base_model: str | None = None
    """The student's name on the hub, where the recipe has a directory."""
    trained_on: tuple[str, ...] = ()
    """Names of the training data on the hub."""
    language: tuple[str, ...] = ()
    benchmarks: tuple[HubBenchmark, ...] = ()

"""Seconds of a stage's work, by rates that are given or measured in the run, and its bytes on disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from dasd.pipeline.plan.disk_and_memory import STATE_BYTES, total_of, trained_parameters
from dasd.pipeline.plan.engines import EnginesPlan
from dasd.pipeline.plan.measured import Measured, RateKind
from dasd.pipeline.plan.records import (
    LIKELIEST_BYTES,
    Amount,
    Generation,
    Given,
    ModelRole,
    StageCost,
    StageWork,
)
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["Costs"]

_RATES: dict[RateKind, tuple[str, str]] = {
    "teacher": ("teacher generates", "--rate"),
    "student": ("student generates", "--student-rate"),
    "score": ("student scores", "--score-rate"),
    "train": ("training", "--train-rate"),
}
_BYTES = {"samples": 16, "scores": 12, "sentences": 2, "train": 4, "eval": 4}
"""Bytes a token before compression. SAMPLES: id, end and log-probability of 4 bytes each and about 4 of text;
SCORES without text; SENTENCES: about 40 bytes a sentence of 20 tokens; TRAIN: ids; EVAL: text."""
_BYTES_A_ROW = 400
"""Ids, names and settings of a row."""
_BYTES_A_PART = 8192
"""Header and footer of a Parquet file, and the manifest's line of it."""
_BYTES_A_STEP = 64
"""Of a training's curve, which the run and the checkpoint both hold."""


class Costs:
    """What stages cost. The grounds of its rates are in ``assumptions``, in their order."""

    def __init__(
        self,
        settings: RecipeSettings,
        given: Given,
        measured: Measured,
        parameters: int | None,
        stored: int | None,
        engines: Mapping[ModelRole, EnginesPlan],
    ) -> None:
        """``parameters`` and ``stored`` bytes of the student; None where they aren't known.

        ``engines``: of the models whose engines the recipe describes.
        """
        self._engines = engines
        self._settings = settings
        self._given = given
        self._measured = measured
        self._parameters = parameters
        self._stored = 2 * parameters if stored is None and parameters is not None else stored
        self.assumptions: dict[str, None] = {}

    def of(self, kind: str, work: StageWork, trainer: TrainerSettings | None) -> StageCost:
        """Cost of work that is still to be done."""
        missing: dict[str, None] = {}
        seconds: list[float | None] = []
        longest: list[float | None] = []
        timed: list[tuple[RateKind, Amount]] = []
        for part in work.generates:
            simulated = self._simulated(part)
            if simulated is None:
                timed.append((part.role, part.tokens))
            else:
                seconds.append(simulated)
                longest.append(None)
        timed += [("score", part.tokens) for part in work.scores]
        timed += [("train", work.trains.tokens)] if work.trains is not None else []
        for each, tokens in timed:
            rate = self._rate(each)
            if rate is None:
                what, option = _RATES[each]
                missing[f"{what}: no rate is given ({option}) or measured in the run"] = None
            elif tokens.expected is None:
                missing["how much there is to do is unknown"] = None
            seconds.append(None if rate is None or tokens.expected is None else tokens.expected / rate)
            longest.append(None if rate is None or tokens.most is None else tokens.most / rate)
        return StageCost(
            seconds=total_of(seconds),
            seconds_most=total_of(longest),
            disk_bytes=self._disk(kind, work, trainer, "expected"),
            disk_bytes_most=self._disk(kind, work, trainer, "most"),
            scratch_bytes=self._scratch(work, trainer),
            missing=tuple(missing),
        )

    def _simulated(self, part: Generation) -> float | None:
        """Seconds where the recipe describes the engine, and the amounts are known."""
        engines = self._engines.get(part.role)
        found = engines.of(part) if engines is not None else None
        if found is None:
            return None
        self.assumptions[found[1]] = None
        return found[0]

    def _rate(self, kind: RateKind) -> float | None:
        """Tokens a second of all devices together."""
        of = self._given
        rates = {
            "teacher": of.rate,
            "student": of.student_rate,
            "score": of.score_rate,
            "train": of.train_rate,
        }
        given = rates[kind]
        if (
            given is None
            and kind == "student"
            and self._settings.student.model == self._settings.teacher.model
        ):
            given = of.rate
        what, option = _RATES[kind]
        if given is not None:
            self.assumptions[f"{what}: {given:,.0f} tokens/s ({option})"] = None
            return given
        measured = self._measured.rate(kind)
        if measured is not None:
            self.assumptions[f"{what}: {measured:,.0f} tokens/s, measured in this run, loading included"] = (
                None
            )
        return measured

    def _disk(
        self, kind: str, work: StageWork, trainer: TrainerSettings | None, which: Literal["expected", "most"]
    ) -> int | None:
        """Bytes of its rows, and of what a training leaves in checkpoints/; None where a count isn't known."""
        parts: list[float | None] = []

        def add(amount: Amount, each: float) -> int:
            count: int | None = getattr(amount, which)
            parts.append(None if count is None else count * each)
            return count or 0

        def add_rows(amount: Amount, each: float = _BYTES_A_ROW) -> None:
            parts.append((add(amount, each) // self._settings.sampling.chunk + 1) * _BYTES_A_PART)

        frames = [("eval" if kind == "evaluate" else "samples", p.requests, p.tokens) for p in work.generates]
        frames += [
            ("sentences" if kind == "report" else "scores", p.responses, p.tokens) for p in work.scores
        ]
        if work.takes is not None:
            frames.append(("samples", work.takes.responses, work.takes.tokens))
        if work.trains is not None and trainer is not None:
            frames.append(("train", work.trains.rows, work.trains.row_tokens))
            add(work.trains.steps, 2 * _BYTES_A_STEP)
            parts += [2 * _BYTES_A_PART, self._stored]
            if trainer.adapter is not None:  # beside the merged weights, in float32
                parts.append(4 * (self._trained(trainer) or 0))
            add(work.trains.row_tokens, work.trains.told)
        for each in work.scores:
            add(each.tokens, each.top * LIKELIEST_BYTES)
        for frame, rows, tokens in frames:
            add_rows(rows)
            measured = self._measured.bytes_per_token(frame) if which == "expected" else None
            add(tokens, measured or _BYTES[frame])
        if kind in ("questions", "filter", "dedup", "select"):
            add_rows(work.rows, _BYTES_A_ROW / 4)
        whole = total_of(parts)
        return None if whole is None else round(whole)

    def _scratch(self, work: StageWork, trainer: TrainerSettings | None) -> int | None:
        """A training's saved state, twice: the new one is whole before the old one goes; what rows are told, flat."""
        if work.trains is None or trainer is None:
            return 0
        trained, tokens = self._trained(trainer), work.trains.row_tokens.most
        if trained is None or (tokens is None and work.trains.told):
            return None
        return 2 * STATE_BYTES[trainer.optimizer] * trained + (tokens or 0) * work.trains.told

    def _trained(self, trainer: TrainerSettings) -> int | None:
        return trained_parameters(trainer, self._settings.student, self._parameters)

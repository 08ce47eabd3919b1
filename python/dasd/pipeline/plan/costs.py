"""Seconds, device hours and bytes on disk of a stage's work."""

from __future__ import annotations

from collections.abc import Sequence

from dasd.pipeline.plan.adapters import adapter_of
from dasd.pipeline.plan.measured import Done, Measured
from dasd.pipeline.plan.rates import Rates
from dasd.pipeline.plan.records import Amount, Generation, ModelPlan, Scoring, StageCost, StageWork, Training
from dasd.recipe.training_settings import TrainerSettings

__all__ = ["BYTES", "Costs"]

BYTES = {"samples": 16, "scores": 12, "sentences": 2, "train": 4, "eval": 4}
"""Bytes a token before compression. SAMPLES: id, end and log-probability of 4 bytes each and about 4 of text;
SCORES without text; SENTENCES: about 40 bytes a sentence of 20 tokens; TRAIN: ids; EVAL: text."""
BYTES_A_ROW = 400
"""Ids, names and settings of a row."""
BYTES_A_PART = 8192
"""Header and footer of a Parquet file, and the manifest's line of it."""
BYTES_A_STEP = 64
"""Of a training's curve, which the run and the checkpoint both hold."""
STATE_BYTES = {"adamw": 12, "muon": 8}
"""Of a trainer's saved state a parameter, in float32: master weights, and two moments (Muon: one)."""


class Costs:
    """What stages cost, by rates, sizes of models, and bytes measured in the run where there are any."""

    def __init__(
        self, rates: Rates, measured: Measured, student: ModelPlan, student_bytes: int | None, chunk: int
    ):
        """``student_bytes``: of the student's files as they are stored, None where that isn't known."""
        self._rates = rates
        self._measured = measured
        self._student = student
        self._student_settings = rates.settings.student
        self._student_bytes = student_bytes
        self._chunk = chunk

    def done(self, stage: Done) -> StageCost:
        """A stage that is done takes no more time and holds what it holds."""
        return StageCost(0.0, 0.0, 0.0, stage.disk_bytes, stage.disk_bytes)

    def of(self, kind: str, work: StageWork, trainer: TrainerSettings | None) -> StageCost:
        """Cost of work that is still to be done."""
        missing: dict[str, None] = {}
        expected = most = 0.0
        unknown = unbounded = False
        for tokens, rate in self._timed(work, trainer):
            if isinstance(rate, str):
                missing[rate] = None
                unknown = unbounded = True
                continue
            if tokens.expected is None:
                unknown = True
                missing["how much there is to do is unknown"] = None
            else:
                expected += tokens.expected / rate
            if tokens.most is None:
                unbounded = True
            else:
                most += tokens.most / rate
        disk, disk_most = self._disk(kind, work, trainer)
        return StageCost(
            seconds=None if unknown else expected,
            seconds_most=None if unbounded else most,
            device_hours=None if unknown else expected / 3600 * self._rates.given.devices,
            disk_bytes=disk,
            disk_bytes_most=disk_most,
            scratch_bytes=self._scratch(work, trainer),
            missing=tuple(missing),
        )

    def _timed(self, work: StageWork, trainer: TrainerSettings | None) -> list[tuple[Amount, float | str]]:
        found = [(part.tokens, self._rates.generating(part.role)) for part in work.generates]
        found += [(part.tokens, self._rates.scoring(part.role)) for part in work.scores]
        if work.trains is not None and trainer is not None:
            found.append((work.trains.tokens, self._rates.training(trainer)))
        return found

    def _disk(
        self, kind: str, work: StageWork, trainer: TrainerSettings | None
    ) -> tuple[int | None, int | None]:
        frames = _frames(kind, work)
        if work.trains is not None:
            rows = _frame_bytes("train", work.trains, BYTES["train"], self._chunk)
            steps = work.trains.steps
            curves = [
                None if n is None else 2 * (n * BYTES_A_STEP + BYTES_A_PART)
                for n in (steps.expected, steps.most)
            ]
            adapter = 0
            if trainer is not None and trainer.adapter is not None:
                adapter = 4 * (self._trained(trainer) or 0)  # beside the merged weights, in float32
            left = [_plus(_plus(curve, self._student_bytes), adapter) for curve in curves]
            return _plus(rows[0], left[0]), _plus(rows[1], left[1])
        expected: int | None = 0
        most: int | None = 0
        for frame, part in frames:
            measured = self._measured.bytes_per_token(frame) if frame in ("samples", "scores") else None  # type: ignore[arg-type]
            size = _frame_bytes(frame, part, measured or BYTES[frame], self._chunk)
            expected, most = _plus(expected, size[0]), _plus(most, size[1])
        if kind in ("questions", "filter", "dedup", "select") and work.rows.expected is not None:
            expected = _plus(expected, work.rows.expected * BYTES_A_ROW // 4 + BYTES_A_PART)
            most = _plus(
                most, None if work.rows.most is None else work.rows.most * BYTES_A_ROW // 4 + BYTES_A_PART
            )
        return expected, most

    def _scratch(self, work: StageWork, trainer: TrainerSettings | None) -> int | None:
        """A training's saved state, twice: the new one is whole before the old one goes."""
        if work.trains is None or trainer is None:
            return 0
        trained = self._trained(trainer)
        return None if trained is None else 2 * STATE_BYTES[trainer.optimizer] * trained

    def _trained(self, trainer: TrainerSettings) -> int | None:
        """Parameters that a training changes."""
        if trainer.adapter is None:
            return self._student.parameters
        adapter = adapter_of(trainer, self._student_settings)
        return None if adapter is None else adapter.trained


def _frames(kind: str, work: StageWork) -> list[tuple[str, Generation | Scoring]]:
    frame = "eval" if kind == "evaluate" else "samples"
    found: list[tuple[str, Generation | Scoring]] = [(frame, part) for part in work.generates]
    found += [("sentences" if kind == "report" else "scores", part) for part in work.scores]
    found += [("samples", part) for part in (work.takes,) if part is not None]
    return found


def _frame_bytes(
    frame: str, part: Generation | Scoring | Training, a_token: float, chunk: int
) -> tuple[int | None, int | None]:
    """Expected and most bytes of the rows of one frame."""
    rows = (
        part.requests
        if isinstance(part, Generation)
        else part.responses
        if isinstance(part, Scoring)
        else part.rows
    )
    written = part.row_tokens if isinstance(part, Training) else part.tokens
    sizes: Sequence[tuple[int | None, int | None, float]] = (
        (rows.expected, written.expected, a_token),
        (rows.most, written.most, BYTES[frame]),
    )
    found = [
        None
        if count is None or tokens is None
        else round(count * BYTES_A_ROW + tokens * size + (count // chunk + 1) * BYTES_A_PART)
        for count, tokens, size in sizes
    ]
    return found[0], found[1]


def _plus(one: int | None, two: int | None) -> int | None:
    return None if one is None or two is None else one + two

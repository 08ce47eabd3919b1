"""What an existing run tells of the work to come: lengths, shares, rates and bytes, stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import JsonValue

from dasd.store import Manifest, Run
from dasd.store.directory import RUN

__all__ = ["Done", "Measured", "read_run"]

RateKind = Literal["teacher", "student", "score", "train"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that a finished stage wrote or scored, and in how many responses."""

    teacher_requests: int = 0
    teacher_tokens: int = 0
    student_requests: int = 0
    student_tokens: int = 0
    scored_responses: int = 0
    scored_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """Figures of one finished stage."""

    name: str
    kind: str
    rows: Mapping[str, int]
    summary: Mapping[str, JsonValue]
    seconds: float
    bytes_by_frame: Mapping[str, int]
    artifact_bytes: int
    tokens: Tokens
    taken: bool = False
    """Its responses were copied from another run, which is no measure of an engine."""

    def number(self, key: str) -> int:
        """A whole number of the summary, 0 where it isn't there."""
        value = self.summary.get(key)
        return int(value) if isinstance(value, (int, float)) else 0

    @property
    def disk_bytes(self) -> int:
        """Bytes of its rows and artifacts."""
        return sum(self.bytes_by_frame.values()) + self.artifact_bytes


@dataclass(frozen=True, slots=True)
class Measured:
    """Finished stages of a run by name; none where there is no run yet."""

    stages: Mapping[str, Done] = field(default_factory=dict)

    def of(self, *kinds: str) -> list[Done]:
        """Finished stages of these kinds."""
        return [stage for stage in self.stages.values() if stage.kind in kinds]

    def response_tokens(self, name: str) -> float | None:
        """Mean tokens of a teacher's response: of the sample stage of that name, else of all of them."""
        own = self.stages.get(name)
        chosen = [own] if own is not None and own.tokens.teacher_requests else self.of("sample")
        return _ratio(
            sum(s.tokens.teacher_tokens for s in chosen), sum(s.tokens.teacher_requests for s in chosen)
        )

    def answer_tokens(self) -> float | None:
        """Mean tokens of a student's answer in evaluation, the latest evaluation's."""
        found = self.of("evaluate")
        return _ratio(found[-1].tokens.student_tokens, found[-1].tokens.student_requests) if found else None

    def scored_tokens(self) -> float | None:
        """Mean tokens of a teacher's response as the student's tokenizer writes it."""
        found = self.of("score")
        return _ratio(
            sum(s.tokens.scored_tokens for s in found), sum(s.tokens.scored_responses for s in found)
        )

    def kept_share(self, stage: str) -> float | None:
        """Share of the responses that filters and deduplication keep: of this training stage, else of all."""
        names = [f"dedup-{stage}"] if f"dedup-{stage}" in self.stages else [s.name for s in self.of("dedup")]
        dedups = [self.stages[name] for name in names]
        samples = [self.stages.get(name.replace("dedup-", "sample-", 1)) for name in names]
        responses = sum(sample.tokens.teacher_requests for sample in samples if sample is not None)
        return _ratio(sum(dedup.number("kept") for dedup in dedups), responses)

    def mixed(self) -> tuple[float, float] | None:
        """Share of a student's answers that drift, and share of these whose continuation is kept."""
        found = self.of("mix")
        answered = sum(s.number("answered") for s in found)
        drifted = sum(s.number("drifted") for s in found)
        if not answered:
            return None
        return drifted / answered, _ratio(sum(s.number("kept") for s in found), drifted) or 0.0

    def rate(self, kind: RateKind) -> float | None:
        """Tokens a second in stages that do this and little else; loading the model is counted in."""
        if kind == "teacher":
            sampled = [s for s in self.of("sample") if not s.taken]
            return _ratio(*_sums((s.tokens.teacher_tokens, s.seconds) for s in sampled))
        if kind == "student":
            return _ratio(*_sums((s.tokens.student_tokens, s.seconds) for s in self.of("evaluate")))
        if kind == "score":
            return _ratio(*_sums((s.tokens.scored_tokens, s.seconds) for s in self.of("score")))
        return _ratio(*_sums((s.number("tokens"), s.seconds) for s in self.of("train") if s.number("steps")))

    def bytes_per_token(self, frame: str) -> float | None:
        """Bytes on disk a token of SAMPLES or SCORES rows; None of other frames."""
        found = self.of({"samples": "sample", "scores": "score"}.get(frame, ""))
        tokens = sum(s.tokens.teacher_tokens + s.tokens.scored_tokens for s in found)
        return _ratio(sum(s.bytes_by_frame.get(frame, 0) for s in found), tokens)


def read_run(directory: Path) -> Measured:
    """What the finished stages of the run in ``directory`` measured. Raises StoreError for a damaged run."""
    if not (directory / RUN).is_file():
        return Measured()
    run = Run.open(directory)
    return Measured({manifest.name: _done(run, manifest) for manifest in run.stages()})


def _done(run: Run, manifest: Manifest) -> Done:
    by_frame: dict[str, int] = {}
    for part in manifest.parts:
        by_frame[part.frame] = by_frame.get(part.frame, 0) + part.bytes
    return Done(
        name=manifest.name,
        kind=manifest.kind,
        rows=manifest.rows,
        summary=manifest.summary,
        seconds=manifest.seconds,
        bytes_by_frame=by_frame,
        artifact_bytes=sum(file.bytes for item in manifest.artifacts for file in item.files),
        tokens=_tokens(run, manifest),
        taken="source" in manifest.settings,
    )


def _tokens(run: Run, manifest: Manifest) -> Tokens:
    summary, name = manifest.summary, manifest.name
    if manifest.kind == "sample":
        return Tokens(
            teacher_requests=_whole(summary.get("responses")), teacher_tokens=_whole(summary.get("tokens"))
        )
    if manifest.kind == "score":
        return Tokens(
            scored_responses=_whole(summary.get("responses")),
            scored_tokens=_whole(summary.get("student_tokens")),
        )
    if manifest.kind == "evaluate":
        answers = run.frame("eval", name).select(pl.len(), pl.col("tokens").sum()).collect().row(0)
        scores = run.frame("scores", name).select(pl.len(), pl.col("token_ids").list.len().sum())
        return Tokens(0, 0, *answers, *scores.collect().row(0))
    if manifest.kind == "rollout":
        answers = _whole(summary.get("responses")), _whole(summary.get("tokens"))
        return Tokens(student_requests=answers[0], student_tokens=answers[1])
    if manifest.kind == "mix" and "source" not in manifest.settings:
        return _mixed(run, name)
    return Tokens()


def _mixed(run: Run, name: str) -> Tokens:
    """The student's answers, and what the teacher added to those that drifted."""
    samples = run.frame("samples", name)
    own = pl.col("stage") == f"{name}-student"
    answers = samples.filter(own).select(pl.len(), pl.col("token_ids").list.len().sum()).collect().row(0)
    continued = samples.filter(~own).select("token_ends", "prefix_end").collect()
    # Tokens of the prefix end inside it; the teacher wrote the others.
    written = continued.explode("token_ends").filter(pl.col("token_ends") > pl.col("prefix_end"))
    return Tokens(continued.height, written.height, *answers)


def _whole(value: JsonValue | None) -> int:
    return int(value) if isinstance(value, (int, float)) else 0


def _sums(pairs: Iterable[tuple[float, float]]) -> tuple[float, float]:
    found = list(pairs)
    return sum(pair[0] for pair in found), sum(pair[1] for pair in found)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None

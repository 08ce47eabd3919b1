"""A whole run directory, written by the real store through the real runner from made-up rows.

The stages here have the names, frames and summaries of a recipe's own; the last one is the real report stage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from pathlib import Path

import polars as pl
from pydantic import JsonValue

from dasd import kernels
from dasd.base.progress import Console
from dasd.base.records import ModelInfo, ScoreRequest, ScoringSpec
from dasd.base.schemas import (
    ALL,
    EVAL,
    METRICS,
    QUESTIONS,
    SAMPLES,
    SCORES,
    SENTENCES,
    TRAIN,
    VERDICTS,
    Schema,
)
from dasd.errors import BackendError
from dasd.evaluation.verifiers.number import NumberVerifier
from dasd.pipeline.runner import Pipeline
from dasd.pipeline.stages.report import ReportStage
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store import Run

SCRIPT = "<script>alert('question')</script>"
QUESTIONS_MADE = 40
CANDIDATES = 3

RECIPE: dict[str, JsonValue] = {
    "name": "made-up",
    "seed": 7,
    "teacher": {"model": "big-teacher", "backend": "scripted"},
    "student": {"model": "dasd:mini-student", "backend": "scripted"},
    "questions": {"train": [{"source": "file"}], "eval": [{"source": "file"}]},
    "stages": [
        {"name": "low", "kind": "off-policy", "temperature": 0.6},
        {"name": "high", "kind": "off-policy", "temperature": 1.0},
        {"name": "mixed", "kind": "mixed-policy"},
    ],
}


def tokens_of(text: str) -> list[int]:
    """Byte offsets at which made-up tokens end: one a word with the space before it, then the end token."""
    raw = text.encode()
    ends = [index for index in range(1, len(raw)) if raw[index : index + 1] in b" \n"] + [len(raw)]
    return [*ends, len(raw)]


class ScriptedModel:
    """Scores what fits its context: the same text gets the same log-probabilities, on the whole likely ones."""

    def __init__(self, name: str = "") -> None:
        self._name = "checkpoint" if "checkpoints" in name else name

    info = ModelInfo("scripted", "1", "t0", "scripted", "1.0", "raw", 4096)

    def sample(self, requests: object, spec: object) -> Iterator[pl.DataFrame]:
        raise NotImplementedError

    def continue_(self, requests: object, spec: object) -> Iterator[pl.DataFrame]:
        raise NotImplementedError

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        rows = []
        for request in requests:
            draw = random.Random(f"{self._name} {request.sample_id}")
            ends = tokens_of(request.text)
            if len(ends) > self.info.context_length:
                spec.on_refused(request.sample_id, f"{len(ends)} tokens exceed the context")
                continue
            logprobs = [log(draw.uniform(0.4, 1.0)) for _ in ends]
            rows.append((request.sample_id, "scripted", list(range(len(ends))), ends, logprobs))
        yield pl.DataFrame(rows, schema=dict(SCORES.columns), orient="row")

    def close(self) -> None:
        pass


class ChatOnlyModel(ScriptedModel):
    """A server that takes no tokens, so that it can't score."""

    def score(self, requests: Sequence[ScoreRequest], spec: ScoringSpec) -> Iterator[pl.DataFrame]:
        raise BackendError("the chat endpoint can't score a text")


def registry() -> Registry:
    made = Registry()
    made.teacher("scripted", lambda settings: ScriptedModel(settings.model))
    made.teacher("chat-only", lambda settings: ChatOnlyModel(settings.model))
    made.teacher("recorded", lambda settings: ScriptedModel(settings.model), gives_logprobs=False)
    made.verifier("number", NumberVerifier)
    made.verifier("of-a-plugin", NumberVerifier)
    return made


@dataclass(frozen=True)
class WrittenStage:
    """A stage whose rows are known beforehand."""

    name: str
    kind: str
    needs: tuple[str, ...] = ()
    frames: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    summary: Mapping[str, JsonValue] = field(default_factory=dict)
    checkpoint: str = ""

    def settings(self) -> Mapping[str, JsonValue]:
        return {"rows": {name: rows.height for name, rows in self.frames.items()}}

    def run(self, context: StageContext) -> None:
        for name, rows in self.frames.items():
            for start in range(0, rows.height, 50):
                context.writer.append(name, rows.slice(start, 50), key=f"{name}-{start}")
                context.writer.finish_unit(f"{name}-{start}")
        if self.checkpoint:
            directory = context.writer.artifact(self.checkpoint)
            directory.mkdir(parents=True)
            (directory / "config.json").write_text("{}")
        context.writer.summarise(self.summary)


def frame(schema: Schema, rows: Sequence[Sequence[object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict(schema.columns), orient="row")


def questions(mark_all: bool = False, verifier: str = "number") -> pl.DataFrame:
    rows = []
    for number in range(QUESTIONS_MADE):
        split = "train" if number < QUESTIONS_MADE * 3 // 4 else "eval"
        text = f"What is {number} + {number}?" + (f" {SCRIPT}" if mark_all or number % 5 == 0 else "")
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
        domain = "sums" if number % 2 else "doubles"
        rows.append((f"q{number:03d}", turns, domain, str(2 * number), verifier, "file", split))
    return frame(QUESTIONS, rows)


def response(draw: random.Random, number: int) -> str:
    lines = [f"<think>We add {number} and {number}."]
    lines += [f" Step {step} gives {draw.randint(0, 99)}." for step in range(1, draw.randint(3, 9))]
    answer = 2 * number if draw.random() < 0.85 else 2 * number + 1
    return "".join(lines) + f"</think> So <b>it</b> is {answer}."


def samples(asked: pl.DataFrame, stage: str, temperature: float, candidates: int) -> pl.DataFrame:
    rows = []
    for question in asked["question_id"]:
        for candidate in range(candidates):
            draw = random.Random(f"{stage} {question} {candidate}")
            sample_id = f"{draw.getrandbits(128):032x}"
            text = response(draw, int(question[1:]))
            ends = tokens_of(text)
            low = 0.75 if temperature < 1 else 0.3
            logprobs = [log(draw.uniform(low, 1.0)) for _ in ends]
            finish = "length" if draw.random() < 0.05 else "stop"
            rows.append(
                (
                    *(
                        sample_id,
                        question,
                        stage,
                        candidate,
                        text,
                        list(range(len(ends))),
                        ends,
                        logprobs,
                        "raw",
                    ),
                    *(temperature, 1.0, candidate, finish, 0, "big-teacher", "rev1", "t0", "scripted", "1.0"),
                )
            )
    return frame(SAMPLES, rows)


def verdicts(rows: pl.DataFrame, stage: str, reason: Callable[[int], str]) -> pl.DataFrame:
    reasons = [reason(index) for index in range(rows.height)]
    return frame(
        VERDICTS,
        [
            (sample_id, stage, not why, why, "its reason in words" if why else "")
            for sample_id, why in zip(rows["sample_id"], reasons, strict=True)
        ],
    )


def sentences(rows: pl.DataFrame) -> pl.DataFrame:
    found = []
    for sample_id, text in rows.select("sample_id", "text").iter_rows():
        draw = random.Random(f"sentences {sample_id}")
        start = 0
        for number, end in enumerate(kernels.sentence_ends(pl.Series([text]))[0]):
            p_teacher, p_student = draw.uniform(0.5, 1.0), draw.uniform(0.2, 1.0)
            delta = p_teacher - p_student
            kind = "teacher" if delta > 0.1 else "student" if delta < -0.1 else "common"
            found.append((sample_id, number, start, end, p_teacher, p_student, None, kind))
            start = end
    return frame(SENTENCES, found)


def metrics(checkpoint: str, rank: int) -> pl.DataFrame:
    rows: list[tuple[object, ...]] = []
    for group, shift in (("all", 0.0), ("doubles", 0.05), ("sums", -0.05)):
        rows.append((checkpoint, "eval", "accuracy", group, 0.2 + 0.2 * rank + shift, 0.031, 10))
    rows.append((checkpoint, "eval", "length_tokens", "all", 40.0 + 11 * rank, 2.5, 10))
    rows.append((checkpoint, "eval", "cut_off_rate", "all", 0.3 - 0.09 * rank, 0.02, 10))
    if checkpoint == "before":
        rows.append(("teacher", "eval", "accuracy", "all", 0.9, 0.05, 10))
        rows.append(("teacher", "eval", "length_tokens", "all", 33.0, 1.5, 10))
    rows.append((checkpoint, "heldout", "kl_nats_per_response", "all", 60.0 - 17 * rank, 1.9, 10))
    return frame(METRICS, rows)


def own_answers(asked: pl.DataFrame) -> pl.DataFrame:
    """EVAL rows: eight answers a question, five of them right; the last wrong one is over every context."""
    rows = []
    for question in asked["question_id"]:
        for attempt in range(8):
            draw = random.Random(f"answer {question} {attempt}")
            text = response(draw, int(question[1:]))
            rows.append(
                ("eval", question, attempt, text, None, attempt < 5, "stop", len(tokens_of(text)), 0.1)
            )
    *rest, last = rows
    return frame(EVAL, [*rest, (*last[:3], "Again. " * 5000, *last[4:])])


def losses(stage: str, start: float) -> pl.DataFrame:
    draw = random.Random(stage)
    steps = 900 if stage == "low" else 60
    rows = [
        (
            stage,
            step,
            step / 10,
            start / (1 + step / 40) + draw.uniform(0, 0.1),
            1e-4,
            1.0,
            step * 512,
            step * 0.1,
        )
        for step in range(1, steps + 1)
    ]
    return frame(ALL["losses"], rows)


def off_policy(name: str, temperature: float, asked: pl.DataFrame) -> list[WrittenStage]:
    drawn = samples(asked, f"sample-{name}", temperature, CANDIDATES)
    reasons = {0: "length", 1: "repetition"}
    filtered = verdicts(drawn, f"filter-{name}", lambda index: reasons.get(index % 11, ""))
    left = drawn.join(filtered.filter(pl.col("kept")), on="sample_id", how="semi", maintain_order="left")
    deduplicated = verdicts(left, f"dedup-{name}", lambda index: "near_duplicate" if index % 17 == 5 else "")
    left = left.join(deduplicated.filter(pl.col("kept")), on="sample_id", how="semi", maintain_order="left")
    seen: set[str] = set()
    chosen = {
        s for s, q in left.select("sample_id", "question_id").iter_rows() if not (q in seen or seen.add(q))
    }
    ids = left["sample_id"].to_list()
    picked = verdicts(left, f"select-{name}", lambda index: "" if ids[index] in chosen else "not_selected")
    scores = pl.concat([*ScriptedModel().score(score_requests(left), ScoringSpec("score", 1))])
    summary: dict[str, JsonValue] = {
        "questions": len(chosen),
        "score_length_correlation": 0.62,
        "agreement_longest": 0.7,
        "agreement_random": 0.35,
        "tokens_mean_before": 31.5,
        "tokens_mean_after": 40.25,
        "wrong_before": 0.12,
        "wrong_after": 0.16,
        "warnings": ["the score follows the length."] if name == "high" else [],
    }
    return [
        WrittenStage(f"sample-{name}", "sample", ("questions",), {"samples": drawn}),
        WrittenStage(f"filter-{name}", "filter", (f"sample-{name}",), {"verdicts": filtered}),
        WrittenStage(f"dedup-{name}", "dedup", (f"filter-{name}",), {"verdicts": deduplicated}),
        WrittenStage(f"score-{name}", "score", (f"dedup-{name}",), {"scores": scores}),
        WrittenStage(
            f"select-{name}",
            "select",
            (f"score-{name}",),
            {"sentences": sentences(left), "verdicts": picked},
            summary,
        ),
    ]


def score_requests(rows: pl.DataFrame) -> list[ScoreRequest]:
    return [ScoreRequest(s, (), text, ended=True) for s, text in rows.select("sample_id", "text").iter_rows()]


def trained(name: str, number: int, rows: int, answers: pl.DataFrame | None) -> list[WrittenStage]:
    train = frame(TRAIN, [(f"{name}-{row}", [1] * 30, [10, 20], 1.0, name) for row in range(rows)])
    return [
        WrittenStage(
            f"train-{name}",
            "train",
            ("questions",),
            {"train": train, "losses": losses(name, 4.0 / number)},
            checkpoint=f"checkpoints/stage{number}",
        ),
        WrittenStage(
            f"evaluate-{name}",
            "evaluate",
            (f"train-{name}",),
            {"metrics": metrics(name, number), **({} if answers is None else {"eval": answers})},
        ),
    ]


def graph(
    until: str = "", mark_all: bool = False, verifier: str = "number", answered: bool = False
) -> list[WrittenStage]:
    """The stages of the recipe in order, up to the one named ``until``."""
    every = questions(mark_all, verifier)
    asked, held = every.filter(pl.col("split") == "train"), every.filter(pl.col("split") == "eval")
    told = own_answers(held) if answered else None
    answers = samples(asked, "mix-mixed-student", 1.0, 1)
    drift = random.Random("drift")
    answers = answers.with_columns(
        finish_reason=pl.Series([drift.choice(["stop", "stop", "length"]) for _ in range(answers.height)]),
    )
    ended = answers.filter(pl.col("finish_reason") == "stop")
    continued = samples(asked, "mix-mixed", 1.0, 1).join(ended, on="question_id", how="anti")
    continued = continued.with_columns(prefix_end=pl.lit(9, pl.UInt32))
    mixed = pl.concat(
        [
            verdicts(ended, "mix-mixed", lambda _: "not_drifted"),
            verdicts(continued, "mix-mixed", lambda index: "answer" if index % 4 == 0 else ""),
        ]
    )
    stages = [
        WrittenStage("questions", "questions", (), {"questions": every}),
        *off_policy("low", 0.6, asked),
        *off_policy("high", 1.0, asked),
        WrittenStage(
            "sample-heldout", "sample", ("questions",), {"samples": samples(held, "sample-heldout", 1.0, 1)}
        ),
        WrittenStage("evaluate-before", "evaluate", ("questions",), {"metrics": metrics("before", 0)}),
        *trained("low", 1, 25, told),
        *trained("high", 2, 24, told),
        WrittenStage(
            "mix-mixed",
            "mix",
            ("train-high",),
            {"samples": pl.concat([answers, continued]), "verdicts": mixed},
        ),
        *trained("mixed", 3, 30, told),
    ]
    names = [stage.name for stage in stages]
    return stages[: names.index(until) + 1] if until else stages


def make_run(
    directory: Path,
    until: str = "",
    mark_all: bool = False,
    verifier: str = "number",
    teacher: str = "scripted",
    answers: bool = False,
    reported: bool = True,
) -> Run:
    """A finished run. ``until``: the stage after which the report comes at once; ``mark_all``: every question
    holds a script element; ``verifier``: of every question; ``teacher``: its backend; ``answers``: evaluations hold
    the student's answers, not figures alone; ``reported``: whether the report, which takes seconds, is made."""
    recipe = Recipe.load({**RECIPE, "teacher": {"model": "big-teacher", "backend": teacher}})
    stages = graph(until, mark_all, verifier, answers)
    known = registry()
    report = ReportStage(recipe, known, tuple(stage.name for stage in stages))
    until = "report" if reported else stages[-1].name
    return Pipeline(recipe, known, [*stages, report], Console(quiet=True)).run(directory, until=until)

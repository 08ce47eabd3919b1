"""What ``dasd inspect`` shows: a list of a run's samples, and one sample with what was decided about it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd.errors import InputError
from dasd.results.report.data import Part
from dasd.results.report.numbers import finite
from dasd.results.report.response import Grade, SentenceView, sentence_views
from dasd.results.report.series import rows_of, selected_sentences
from dasd.store import Run

__all__ = [
    "ListedSample",
    "Sample",
    "SampleVerdict",
    "Turn",
    "count_samples",
    "find_sample",
    "listing",
    "sample",
]

CANDIDATES_SHOWN = 8


class ListedSample(Part):
    """One line of the list."""

    sample_id: str
    question_id: str
    question: str
    """The user's last turn."""
    stage: str
    candidate: int
    tokens: int
    """Of the model that wrote the response."""
    teacher: int | None
    """Sentences of that kind; None where the response was not scored under both models."""
    student: int | None
    common: int | None
    selected: bool | None
    """None if the response never came to a selection."""
    dropped_by: str | None
    """The stage that dropped it, with its reason."""
    correct: bool | None


class SampleVerdict(Part):
    """What one stage decided."""

    stage: str
    kept: bool
    reason: str
    detail: str


class Turn(Part):
    """One turn of the question."""

    role: str
    content: str


class Sample(Part):
    """One response, sentence by sentence."""

    sample_id: str
    question_id: str
    stage: str
    candidate: int
    model: str
    temperature: float
    tokens: int
    finish_reason: str
    response_probability: float | None
    """Geometric mean of the token probabilities."""
    correct: bool | None
    answer: str | None
    turns: tuple[Turn, ...]
    text: str
    sentences: tuple[SentenceView, ...]
    """Empty where the response was not scored under both models."""
    verdicts: tuple[SampleVerdict, ...]

    @property
    def third(self) -> bool:
        """Whether a distilled model has scored it."""
        return any(view.p_distilled is not None for view in self.sentences)


def _samples(run: Run, stage: str | None) -> pl.LazyFrame:
    """Samples with column run_stage; of the stage, or of all stages of a training, named ``stage``."""
    samples = run.frame("samples", with_stage=True)
    if stage is None:
        return samples
    owners = [manifest.name for manifest in run.stages() if "samples" in manifest.rows]
    chosen = [name for name in owners if name == stage or name.partition("-")[2] == stage]
    if not chosen:
        raise InputError(
            f"no finished stage {stage!r} of {run.directory} has samples; those that have: "
            f"{', '.join(owners) or 'none'}"
        )
    return samples.filter(pl.col("run_stage").is_in(chosen))


def count_samples(run: Run, stage: str | None) -> int:
    """How many samples there are to list."""
    return int(_samples(run, stage).select(pl.len()).collect().item())


def listing(run: Run, stage: str | None, limit: int, grade: Grade) -> list[ListedSample]:
    """The first ``limit`` samples. Raises InputError for a stage without samples."""
    rows = (
        _samples(run, stage)
        .select(
            "sample_id",
            "question_id",
            "run_stage",
            "candidate",
            "text",
            tokens=pl.col("token_ids").list.len(),
        )
        .head(limit)
        .collect()
    )
    ids = rows["sample_id"].to_list()
    kinds = _kinds(run, ids)
    verdicts = _verdicts(run, ids)
    questions = _questions(run, rows["question_id"].unique().to_list())
    return [
        ListedSample(
            sample_id=row["sample_id"],
            question_id=row["question_id"],
            question=_asked(questions.get(row["question_id"], ())),
            stage=row["run_stage"],
            candidate=row["candidate"],
            tokens=row["tokens"],
            **_counted(kinds.get(row["sample_id"])),
            selected=_selected(verdicts.get(row["sample_id"], ())),
            dropped_by=_dropped(verdicts.get(row["sample_id"], ())),
            correct=correct,
        )
        for row, correct in zip(rows.iter_rows(named=True), grade(rows), strict=True)
    ]


def find_sample(run: Run, prefix: str, stage: str | None = None) -> str:
    """The sample_id that starts with ``prefix``. Raises InputError for none and for several, naming them."""
    found = (
        _samples(run, stage)
        .filter(pl.col("sample_id").str.starts_with(prefix))
        .select("sample_id", "run_stage", "question_id", "candidate")
        .head(CANDIDATES_SHOWN + 1)
        .collect(engine="streaming")
    )
    if not found.height:
        raise InputError(
            f"no sample of {run.directory} has an id that starts with {prefix!r}; "
            f"`dasd inspect {run.directory}` lists them"
        )
    exact = found.filter(pl.col("sample_id") == prefix)
    ids = found["sample_id"].unique(maintain_order=True).to_list()
    if len(ids) == 1 or exact.height:
        return str(ids[0] if len(ids) == 1 else prefix)
    lines = [
        f"  {sample_id}  {owner}, question {question}, candidate {candidate}"
        for sample_id, owner, question, candidate in found.head(CANDIDATES_SHOWN).iter_rows()
    ]
    more = "  and more" if found.height > CANDIDATES_SHOWN else ""
    raise InputError(
        "\n".join([f"several samples start with {prefix!r}; give more of the id:", *lines, more]).rstrip()
    )


def sample(run: Run, sample_id: str, grade: Grade) -> Sample:
    """All that the run knows of one sample. ``sample_id``: whole, as ``find_sample`` gives it."""
    rows = run.frame("samples", with_stage=True).filter(pl.col("sample_id") == sample_id)
    found = rows.collect(engine="streaming").head(1)
    row = found.row(0, named=True)
    question = run.frame("questions").filter(pl.col("question_id") == row["question_id"]).head(1).collect()
    turns = question["messages"][0] if question.height else []
    logprobs = found["logprobs"][0]
    mean = logprobs.mean() if logprobs is not None and len(logprobs) else None
    verdicts = run.frame("verdicts", with_stage=True).filter(pl.col("sample_id") == sample_id)
    return Sample(
        sample_id=sample_id,
        question_id=row["question_id"],
        stage=row["run_stage"],
        candidate=row["candidate"],
        model=row["model"],
        temperature=row["temperature"],
        tokens=len(row["token_ids"]),
        finish_reason=row["finish_reason"],
        response_probability=None if mean is None else finite(pl.Series([mean]).exp().item()),
        correct=grade(found)[0],
        answer=question["answer"][0] if question.height else None,
        turns=tuple(Turn(role=turn["role"], content=turn["content"]) for turn in turns),
        text=row["text"],
        sentences=tuple(_sentences(run, sample_id, row["text"])),
        verdicts=tuple(
            SampleVerdict(stage=owner, kept=kept, reason=reason, detail=detail)
            for owner, kept, reason, detail in verdicts.select("run_stage", "kept", "reason", "detail")
            .collect()
            .iter_rows()
        ),
    )


def _sentences(run: Run, sample_id: str, text: str) -> list[SentenceView]:
    """Its sentences; those with the third probability, where the report has scored it."""
    rows = run.frame("sentences").filter(pl.col("sample_id") == sample_id)
    return sentence_views(text, rows.collect(engine="streaming"))


def _kinds(run: Run, sample_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Sentences by kind of each sample that has any, under teacher and student."""
    counts = (
        selected_sentences(run)
        .filter(pl.col("sample_id").is_in(list(sample_ids)))
        .group_by("sample_id", "kind")
        .len()
        .collect(engine="streaming")
    )
    found: dict[str, dict[str, int]] = {}
    for sample_id, kind, number in counts.iter_rows():
        found.setdefault(sample_id, {})[kind] = int(number)
    return found


def _counted(kinds: dict[str, int] | None) -> dict[str, int | None]:
    names = ("teacher", "student", "common")
    return {name: None if kinds is None else kinds.get(name, 0) for name in names}


Verdicts = Sequence[tuple[str, bool, str]]


def _verdicts(run: Run, sample_ids: Sequence[str]) -> dict[str, list[tuple[str, bool, str]]]:
    """Stage, kept and reason of every verdict on each sample, in the order of the stages."""
    rows = rows_of(run.frame("verdicts", with_stage=True), sample_ids)
    found: dict[str, list[tuple[str, bool, str]]] = {}
    for sample_id, stage, kept, reason in rows.select("sample_id", "run_stage", "kept", "reason").iter_rows():
        found.setdefault(sample_id, []).append((stage, kept, reason))
    return found


def _selected(verdicts: Verdicts) -> bool | None:
    return next((kept for stage, kept, _ in verdicts if stage.startswith("select-")), None)


def _dropped(verdicts: Verdicts) -> str | None:
    lost = [
        f"{stage}: {reason}"
        for stage, kept, reason in verdicts
        if not kept and not stage.startswith("select-")
    ]
    return lost[0] if lost else None


def _questions(run: Run, question_ids: Sequence[str]) -> dict[str, Sequence[dict[str, str]]]:
    rows = run.frame("questions").filter(pl.col("question_id").is_in(list(question_ids)))
    return dict(rows.select("question_id", "messages").collect().iter_rows())


def _asked(messages: Sequence[dict[str, str]]) -> str:
    """The user's last turn."""
    return next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")

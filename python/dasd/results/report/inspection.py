"""What ``dasd inspect`` shows: a list of a run's samples, and one sample with what was decided about it."""

from __future__ import annotations

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
            "candidate",
            "text",
            stage="run_stage",
            tokens=pl.col("token_ids").list.len(),
        )
        .head(limit)
        .collect()
    )
    listed = (
        rows.with_columns(correct=grade(rows))
        .join(_asked(run, rows["question_id"]), on="question_id", how="left", maintain_order="left")
        .join(_kinds(run, rows["sample_id"]), on="sample_id", how="left", maintain_order="left")
        .join(_judged(run, rows["sample_id"]), on="sample_id", how="left", maintain_order="left")
        .with_columns(pl.col("question").fill_null(""))
    )
    return [ListedSample(**row) for row in listed.iter_rows(named=True)]


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


def _kinds(run: Run, sample_ids: pl.Series) -> pl.DataFrame:
    """sample_id, and sentences of each kind under teacher and student, of the samples that have any."""
    return (
        selected_sentences(run)
        .filter(pl.col("sample_id").is_in(sample_ids.to_list()))
        .group_by("sample_id")
        .agg((pl.col("kind") == kind).sum().alias(kind) for kind in ("teacher", "student", "common"))
        .collect(engine="streaming")
    )


def _judged(run: Run, sample_ids: pl.Series) -> pl.DataFrame:
    """sample_id, whether the first selection that it came to took it, and the first other stage that dropped it."""
    selection = pl.col("run_stage").str.starts_with("select-")
    return (
        rows_of(run.frame("verdicts", with_stage=True), sample_ids.to_list())
        .group_by("sample_id", maintain_order=True)
        .agg(
            selected=pl.col("kept").filter(selection).first(),
            dropped_by=pl.format("{}: {}", "run_stage", "reason")
            .filter(~selection & ~pl.col("kept"))
            .first(),
        )
    )


def _asked(run: Run, question_ids: pl.Series) -> pl.DataFrame:
    """question_id and the user's last turn."""
    users = pl.element().filter(pl.element().struct.field("role") == "user")
    return (
        run.frame("questions")
        .filter(pl.col("question_id").is_in(question_ids.to_list()))
        .select(
            "question_id", question=pl.col("messages").list.eval(users).list.last().struct.field("content")
        )
        .collect()
    )

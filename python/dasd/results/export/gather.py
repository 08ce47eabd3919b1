"""The rows that a run trains on, stage by stage, as exporters read them: streamed, in the order of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Literal

import polars as pl

from dasd.base.frames import count_rows, kept_set, only
from dasd.base.id_set import IdSet
from dasd.base.rows_file import FileFormat
from dasd.base.schemas import QUESTIONS, SAMPLES
from dasd.base.suggest import did_you_mean
from dasd.errors import InputError
from dasd.models.tokens.chat import ChatTokenizer
from dasd.models.tokens.think_opening import Reading, prompt_opening, teacher_opening
from dasd.plugins.exports import EXPORT, SAMPLED_TOKENS, TRAINED_TOKENS, ExportRun, ExportStage
from dasd.plugins.recipe import Recipe
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, OnPolicyStage
from dasd.store import Run
from dasd.store.origin import origin_of
from dasd.store.question_lookup import QuestionLookup
from dasd.training.row_maker import RowMaker, balance_ids

__all__ = ["ROWS", "Rows", "gather"]

Rows = Literal["trained", "sampled"]
ROWS: tuple[Rows, ...] = ("trained", "sampled")
ROWS_PER_FRAME = 256
"""Rows of up to 65,536 tokens that are in memory together: some tens of MiB, a few hundred at worst."""

_LIGHT = ("text", *(name for name in EXPORT.columns if name in SAMPLES.columns))
_Sources = tuple[tuple[str, IdSet | None], ...]
_Questions = Callable[[], QuestionLookup]
_FACTS = ("question_id", "messages", "domain", "answer", "verifier")


def gather(
    run: Run,
    *,
    stages: Sequence[str] = (),
    rows: Rows = "trained",
    files: FileFormat | None = None,
    scratch: Path | None = None,
) -> tuple[ExportRun, list[str]]:
    """What of ``run`` is exported, and sentences about what is left out.

    ``stages``: names of trainings, all that can be exported by default. ``rows``: "trained", what was selected
    (and for mixed-policy trainings the whole responses with the off-policy ones that balance them), or
    "sampled", every response of off-policy trainings, to be judged and selected anew. ``scratch``: a directory for a
    file of the questions, which is there once rows are read. The selection has to be done, the training need not be.
    Raises InputError for a stage that isn't there or isn't ready.
    """
    settings = run.settings
    origin = origin_of(run)
    known = [stage.name for stage in settings.stages]
    for name in stages:
        if name not in known:
            raise InputError(
                f"there is no training {name!r}{did_you_mean(name, known)} Trainings: {', '.join(known)}"
            )
    finished = {manifest.name for manifest in run.stages()}
    found: list[ExportStage] = []
    left_out: list[str] = []
    questions = cache(lambda: QuestionLookup.of(run.rows("questions", "questions"), scratch))
    author = teacher_opening(settings.teacher)
    source = ""
    for number, stage in enumerate(settings.stages, 1):
        source = stage.name if isinstance(stage, OffPolicyStage) else source
        if stages and stage.name not in stages:
            continue
        if isinstance(stage, OnPolicyStage):
            problem: str | None = (
                f"{stage.name} is left out: it trains on the student's own answers of each round"
            )
        else:
            problem = _problem(stage, source, rows, finished)
        if problem is not None or isinstance(stage, OnPolicyStage):
            if stages:
                raise InputError(f"{run.directory}: {problem}")
            left_out.append(str(problem))
            continue
        sources = _sources(run, stage, source, rows)
        size = sum(_size(run, name, wanted) for name, wanted in sources)
        if not size:
            left_out.append(f"{stage.name} is left out: no response is left to train on")
            continue
        found.append(
            ExportStage(
                stage.name,
                number,
                stage.kind,
                stage.temperature,
                settings.trainer_for(stage),
                size,
                partial(_frames, run, stage, sources, questions, Reading(author, "")),
            )
        )
    if not found:
        raise InputError(f"{run.directory} has nothing to export: {'; '.join(left_out)}")
    return (
        ExportRun(
            settings.name,
            settings.seed,
            settings.questions.system_prompt,
            settings.filters.structure if origin is None else origin.structure,
            settings.teacher,
            settings.student,
            bool(author),
            lambda: prompt_opening(ChatTokenizer.load(settings.student)),
            tuple(found),
            files,
            lambda _: None,
        ),
        left_out,
    )


def _problem(
    stage: OffPolicyStage | MixedPolicyStage, source: str, rows: Rows, finished: set[str]
) -> str | None:
    """Why a training can't be exported; None if it can."""
    mixed = isinstance(stage, MixedPolicyStage)
    if rows == "sampled" and mixed:
        return f"{stage.name} is left out: what its models wrote can't be selected anew; it goes with --rows trained"
    needs = [f"sample-{source}"]
    if rows == "trained":
        needs.append(f"select-{source}")
    if mixed:
        needs.append(f"mix-{stage.name}")
    missing = [need for need in needs if need not in finished]
    if missing:
        return f"{stage.name} is left out: its stage {missing[0]} is not done (`dasd pipeline --until {missing[0]}`)"
    return None


def _sources(run: Run, stage: OffPolicyStage | MixedPolicyStage, source: str, rows: Rows) -> _Sources:
    """Stages of samples and which of theirs are wanted (None: all), in the order in which they are trained."""
    samples = f"sample-{source}"
    if rows == "sampled":
        return ((samples, None),)
    selected = run.frame("verdicts", f"select-{source}")
    if isinstance(stage, OffPolicyStage):
        return ((samples, kept_set(selected)),)
    mixed = kept_set(run.frame("verdicts", f"mix-{stage.name}"))
    balance = balance_ids(selected, round(stage.balance * len(mixed)), run.settings.seed)
    # The pipeline trains on nothing where nothing mixed is left: balance is then empty as well.
    return ((f"mix-{stage.name}", mixed), (samples, balance))


def _size(run: Run, stage: str, wanted: IdSet | None) -> int:
    return count_rows(run.frame("samples", stage)) if wanted is None else len(wanted)


def _frames(
    run: Run,
    stage: OffPolicyStage | MixedPolicyStage,
    sources: _Sources,
    questions: _Questions,
    whole: Reading,
    *,
    sampled_tokens: bool,
    trained_tokens: bool,
) -> Iterator[pl.DataFrame]:
    train_prefix = not isinstance(stage, MixedPolicyStage) or stage.train_prefix
    maker = (
        RowMaker(Recipe(run.settings), questions().messages, stage.name, train_prefix)
        if trained_tokens
        else None
    )
    columns = [*_LIGHT, *(SAMPLED_TOKENS if sampled_tokens else ())]
    tokens = {
        **(SAMPLED_TOKENS if sampled_tokens else {}),
        **(TRAINED_TOKENS if trained_tokens else {}),
    }
    weights = _weights(run, stage.name)
    for rows in _in_frames(run, sources, columns):
        made = rows.join(
            _facts(questions(), rows), on="question_id", how="left", maintain_order="left"
        ).with_columns(
            response=whole.texts(rows["text"]),
            opening=pl.Series([whole.opened(text) for text in rows["text"]], dtype=pl.String),
            policy=pl.when(pl.col("prefix_end") > 0)
            .then(pl.lit("mixed-policy"))
            .otherwise(pl.lit("off-policy")),
            prefix_masked=(pl.col("prefix_end") > 0) & pl.lit(not train_prefix),
            prefix_end=_prefix_ends(rows, whole),
            weight=pl.Series([weights.get(i, 1.0) for i in rows["sample_id"]], dtype=pl.Float32),
        )
        if maker is not None:
            trained = maker.rows(rows)
            made = made.with_columns(train_token_ids=trained["token_ids"], loss_mask=trained["loss_mask"])
        yield made.select([*EXPORT.columns, *tokens])


def _facts(questions: QuestionLookup, rows: pl.DataFrame) -> pl.DataFrame:
    """Columns of QUESTIONS that an export has, of the questions of some rows."""
    asked = rows.get_column("question_id").unique(maintain_order=True)
    known = [record for question in asked if (record := questions.record(question)) is not None]
    columns = {name: QUESTIONS.columns[name] for name in questions.columns}
    return pl.DataFrame(known, schema=columns, orient="row").select(_FACTS)


def _in_frames(run: Run, sources: _Sources, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The wanted rows, ROWS_PER_FRAME in a frame whatever the parts that they lie in: the same every time."""
    held: list[pl.DataFrame] = []
    size = 0
    for name, wanted in sources:
        samples = run.frame("samples", name).select(columns)
        for batch in samples.collect_batches(chunk_size=ROWS_PER_FRAME):
            rows = batch if wanted is None else only(batch, wanted)
            held.append(rows)
            size += rows.height
            if size < ROWS_PER_FRAME:
                continue
            together = pl.concat(held)
            whole = size - size % ROWS_PER_FRAME
            yield from together.head(whole).iter_slices(ROWS_PER_FRAME)
            held, size = [together.slice(whole)], size - whole
    if size:
        yield pl.concat(held)


def _prefix_ends(rows: pl.DataFrame, whole: Reading) -> pl.Series:
    """Bytes that the student wrote, of the whole response."""
    columns = rows.select("text", "prefix_end").iter_rows()
    return pl.Series([whole.view(text).offset(end) for text, end in columns], dtype=pl.UInt32)


def _weights(run: Run, stage: str) -> dict[str, float]:
    """Weights other than 1 that the training gave its rows, if it has run."""
    if f"train-{stage}" not in {manifest.name for manifest in run.stages()}:
        return {}
    rows = run.frame("train", f"train-{stage}").select("sample_id", "weight")
    return dict(rows.filter(pl.col("weight") != 1.0).collect().iter_rows())

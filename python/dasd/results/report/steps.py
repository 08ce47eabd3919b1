"""What each step between sampling and training left, and what selection did."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import OffPolicyStage, OnPolicyStage
from dasd.results.report.data import FlowRow, SelectionFigures
from dasd.results.report.numbers import as_float, as_int
from dasd.results.report.series import compared
from dasd.store import Run

__all__ = ["flow", "selections"]


_FROM_SUMMARY = (
    "score_length_correlation",
    "agreement_longest",
    "agreement_random",
    "agreement_random_expected",
    "discriminated",
    "tokens_mean_before",
    "tokens_mean_after",
    "wrong_before",
    "wrong_after",
)


class _Step(NamedTuple):
    """Responses that a stage judged."""

    kept: int | None
    dropped: dict[str, int]


def flow(run: Run) -> tuple[FlowRow, ...]:
    """A row a training stage of the recipe."""
    done = {manifest.name for manifest in run.stages()}
    trained = _trained(run)
    taken = run.settings.data is not None
    rows = []
    for stage in run.settings.stages:
        if isinstance(stage, OnPolicyStage):
            continue  # a table of its own: nothing is filtered or selected
        if isinstance(stage, OffPolicyStage):
            # What another run selected meets one judgement: whether this student can be trained on it.
            filtered = _judged(run, f"{'select' if taken else 'filter'}-{stage.name}", done)
            deduplicated = _judged(run, f"dedup-{stage.name}", done)
            selected = _judged(run, f"select-{stage.name}", done).kept
            questions, sampled = _sampled(run, f"sample-{stage.name}", done)
            continued = None
        else:
            filtered = _judged(run, f"mix-{stage.name}", done)
            # An answer that didn't drift met no filter.
            filtered.dropped.pop("not_drifted", None)
            deduplicated, selected = _Step(None, {}), None
            author = "" if taken else f"mix-{stage.name}-student"
            questions, sampled = _sampled(run, f"mix-{stage.name}", done, author)
            _, continued = (None, None) if taken else _sampled(run, f"mix-{stage.name}", done)
        count, tokens = trained.get(stage.name, (None, None))
        rows.append(
            FlowRow(
                stage=stage.name,
                kind=stage.kind,
                temperature=stage.temperature,
                questions=questions,
                sampled=sampled,
                continued=continued,
                dropped_by_filter=filtered.dropped,
                after_filter=filtered.kept,
                dropped_by_dedup=deduplicated.dropped,
                after_dedup=deduplicated.kept,
                selected=selected,
                trained_rows=count,
                trained_tokens=tokens,
            )
        )
    return tuple(rows)


def _sampled(run: Run, stage: str, done: set[str], author: str = "") -> tuple[int | None, int | None]:
    """Questions and responses among the SAMPLES that a stage wrote as ``author``, in its own name if empty.

    A mix stage writes the student's answers as ``mix-NAME-student``, what the teacher continued as
    ``mix-NAME``.
    """
    if stage not in done:
        return None, None
    own = run.frame("samples", stage).filter(pl.col("stage") == (author or stage))
    rows = own.select(pl.col("question_id").n_unique(), pl.len().alias("responses"))
    questions, responses = rows.collect(engine="streaming").row(0)
    return int(questions), int(responses)


def _judged(run: Run, stage: str, done: set[str]) -> _Step:
    """Kept responses and dropped ones by reason, the most frequent reason first."""
    if stage not in done:
        return _Step(None, {})
    counts = run.frame("verdicts", stage).group_by("kept", "reason").len().collect()
    lost = counts.filter(~pl.col("kept")).sort("len", "reason", descending=[True, False])
    return _Step(
        int(counts.filter(pl.col("kept"))["len"].sum()),
        {reason: int(number) for _, reason, number in lost.iter_rows()},
    )


def _trained(run: Run) -> dict[str, tuple[int, int]]:
    """Rows and tokens with loss by training stage. ``loss_mask``: runs masked, trained, masked, ..."""
    rows = (
        run.frame("train")
        .select("stage", trained=pl.col("loss_mask").list.gather_every(2, 1).list.sum())
        .group_by("stage")
        .agg(pl.len(), pl.col("trained").cast(pl.UInt64).sum())
        .collect(engine="streaming")
    )
    return {
        stage.removeprefix("train-").removeprefix("mix-"): (int(count), int(tokens))
        for stage, count, tokens in rows.iter_rows()
    }


def selections(run: Run) -> tuple[SelectionFigures, ...]:
    """A row a select stage, from its sentences, its verdicts and its summary; none where another run selected."""
    settings = run.settings
    if settings.data is not None:
        return ()
    done = {manifest.name for manifest in run.stages()}
    return tuple(
        _selection(run, settings, stage)
        for stage in settings.stages
        if isinstance(stage, OffPolicyStage) and f"select-{stage.name}" in done
    )


def _selection(run: Run, settings: RecipeSettings, stage: OffPolicyStage) -> SelectionFigures:
    name = f"select-{stage.name}"
    summary = run.summary(name)
    rows = run.frame("sentences", name)
    kinds = dict(compared(rows).group_by("kind").len().collect(engine="streaming").iter_rows())
    known = sum(kinds.values())
    verdicts = run.frame("verdicts", name).select(pl.len(), pl.col("kept").sum()).collect()
    candidates, selected = verdicts.row(0)
    warnings = summary.get("warnings")

    def share(kind: str) -> float | None:
        return kinds.get(kind, 0) / known if known else None

    return SelectionFigures(
        stage=stage.name,
        temperature=stage.temperature,
        selector=settings.select.selector,
        beta=settings.select.beta,
        candidates=int(candidates),
        questions=as_int(summary.get("questions")) or 0,
        selected=int(selected),
        sentences=int(rows.select(pl.len()).collect().item()),
        teacher_share=share("teacher"),
        student_share=share("student"),
        common_share=share("common"),
        warnings=tuple(map(str, warnings)) if isinstance(warnings, list) else (),
        **{name: as_float(summary.get(name)) for name in _FROM_SUMMARY},
    )

"""A report from a run directory: gathers the numbers, draws the figures, renders the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

import polars as pl

from dasd.base.schemas import SENTENCES
from dasd.base.small_files import read_small
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.results.report import cutoffs, gather, rounds, series, steps
from dasd.results.report.answers import MOST, PARTS, OwnAnswers, along_answers, own_answers_figures
from dasd.results.report.data import CheckpointFigures, FigureNote, ReportData, RoundFigures
from dasd.results.report.distilled import Distilled, distilled_figures
from dasd.results.report.page import Example, render
from dasd.results.report.response import Grade, illustrative, sentence_views
from dasd.store import Run
from dasd.store.origin import origin_of

if TYPE_CHECKING:
    from dasd.results.report.drawing import Drawing, Plot

__all__ = ["Report", "build"]

_CAN_DRAW = find_spec("matplotlib") is not None
DENSITY_RESPONSES = 4000
POSITION_RESPONSES = 3000
POSITION_BINS = 10
EXAMPLE_SENTENCES = 80

KL_NOTE = (
    "KL: mean over held-out teacher responses of log p_teacher − log p_student of the whole response, in "
    "nats a response: the objective of sequence-level distillation itself, so lower is better. The teacher "
    "counts with the tokens that it sampled, and so does a student with the same tokenizer; any other student "
    "counts with its own tokenization of the same text. The true probability of a text sums over all its "
    "tokenizations, so with two tokenizers both are too small: the teacher's part lowers "
    "the estimate, the student's raises it. The teacher's is the same in every row: differences between rows "
    "are cleaner than the level."
)


@dataclass(frozen=True, slots=True)
class Report:
    """The report as numbers and as a page."""

    data: ReportData
    html: str


@dataclass(slots=True)
class _Gallery:
    """Figures that could be drawn, and a note on each that was asked for."""

    drawings: dict[str, Drawing] = field(default_factory=dict)
    notes: list[FigureNote] = field(default_factory=list)

    def add(self, figure: str, title: str, why_not: str, draw: Callable[[], Plot]) -> None:
        """Draw unless ``why_not`` says why not."""
        if not why_not and not _CAN_DRAW:
            why_not = "matplotlib is not installed; pip install 'dasd[report]' and run the stage again."
        if why_not:
            self.notes.append(FigureNote(figure=figure, title=title, shown=False, n="", why_not=why_not))
            return
        from dasd.results.report.drawing import drawing

        self.drawings[figure] = drawn = drawing(figure, title, draw)
        self.notes.append(FigureNote(figure=figure, title=title, shown=True, n=drawn.n))


def build(run: Run, grade: Grade, distilled: Distilled | None, answers: OwnAnswers) -> Report:
    """Everything the finished stages of ``run`` allow. What has no data is left out and says so."""
    checkpoints = gather.checkpoints(run)
    selections = steps.selections(run)
    example = _example(run, grade, distilled)
    gallery = _Gallery()
    _draw_checkpoints(gallery, checkpoints)
    _draw_sentences(gallery, run, grade, distilled, example)
    _draw_answers(gallery, answers)
    of_rounds = rounds.rounds(run)
    _draw_training(gallery, run, of_rounds)
    origin = origin_of(run)
    has_kl = any(item.metric("kl_nats_per_response") for item in checkpoints)
    data = ReportData(
        run=gather.run_facts(run),
        checkpoints=checkpoints,
        selections=selections,
        flow=steps.flow(run),
        trainings=gather.trainings(run),
        rounds=of_rounds,
        distilled=None if distilled is None else distilled_figures(distilled),
        own_answers=own_answers_figures(answers),
        figures=tuple(gallery.notes),
        stages=gather.stage_times(run),
        warnings=tuple(gather.warnings_of(run, checkpoints, selections)),
        notes=(*((origin.sentence(),) if origin is not None else ()), *((KL_NOTE,) if has_kl else ())),
    )
    recipe = read_small(run.directory / "recipe.yaml").decode("utf-8")
    return Report(data, render(data, gallery.drawings, example, recipe))


def _draw_checkpoints(gallery: _Gallery, checkpoints: Sequence[CheckpointFigures]) -> None:
    if _CAN_DRAW:
        from dasd.results.report import figures_training

    students = [item for item in checkpoints if item.role != "teacher"]
    measured = [item for item in students if item.metric("accuracy") or item.metric("kl_nats_per_response")]
    benchmark = next(
        (metric.benchmark for item in students for metric in item.metrics if metric.metric == "accuracy"),
        None,
    )
    why_not = "" if len(measured) > 1 else "fewer than two checkpoints were evaluated."
    gallery.add(
        "checkpoints",
        "Accuracy and KL over the checkpoints",
        why_not,
        lambda: figures_training.checkpoints_figure(checkpoints, benchmark),
    )


def _draw_sentences(
    gallery: _Gallery, run: Run, grade: Grade, distilled: Distilled | None, example: Example | None
) -> None:
    if _CAN_DRAW:
        from dasd.results.report import figures_sentences

    seed = run.record.seed
    sampled = [f"sample-{stage.name}" for stage in run.settings.stages if isinstance(stage, OffPolicyStage)]
    there = [name for name in sampled if name in series.stage_names(run, "sample")]
    probabilities = series.response_probabilities(run, there, DENSITY_RESPONSES, seed)
    enough = probabilities.height > 1 and probabilities.group_by("stage").len()["len"].min() > 1  # type: ignore[operator]
    why_not = "" if enough else "the teacher's responses carry no raw log-probabilities."
    gallery.add(
        "density",
        "Response probability by temperature",
        why_not,
        lambda: figures_sentences.density_figure(probabilities),
    )
    chosen = [
        stage.removeprefix("sample-")
        for stage in there
        if stage.replace("sample-", "select-", 1) in series.stage_names(run, "select")
    ]
    compared = series.selected_and_random(run, chosen, DENSITY_RESPONSES, seed)
    enough = compared.height > 0 and compared.group_by("stage", "group").len()["len"].min() > 1  # type: ignore[operator]
    why_not = "" if enough else "no response with raw log-probabilities was selected."
    gallery.add(
        "density-selected",
        "Response probability of selected and random responses",
        why_not,
        lambda: figures_sentences.selected_density_figure(compared),
    )
    every = series.selected_sentences(run)
    ids = series.sampled_ids(every, POSITION_RESPONSES, seed, "positions")
    sentences = series.rows_of(every, ids)
    _draw_positions(
        gallery,
        "positions",
        "Kinds of sentences by position",
        sentences,
        lambda: _correct(run, grade, ids),
        "Shares of Teacher, Student and Common sentences among the candidates that were scored, by relative "
        "position in the response, at both temperatures together.",
        "no sentences were scored under both models.",
    )
    gallery.add(
        "response",
        "One response, sentence by sentence",
        "" if example is not None else "no response has sentences scored under both models.",
        lambda: figures_sentences.probabilities_figure(example.sentences if example else SENTENCES.empty()),
    )
    third = distilled.sentences if distilled is not None else sentences.clear()
    _draw_positions(
        gallery,
        "positions-distilled",
        "Kinds of sentences by position, after distillation",
        third,
        lambda: _correct(run, grade, third["sample_id"].unique().sort().to_list()),
        "The same for a few selected responses with the distilled model as the third: Shared where all three "
        "probabilities lie within α of one another; then Teacher and Student by β; Boosted where teacher and "
        "student agree within β and the distilled model lies apart.",
        "no distilled model has scored the responses.",
    )


def _draw_answers(gallery: _Gallery, answers: OwnAnswers) -> None:
    """The student's own answers: probabilities and kinds along them."""
    if _CAN_DRAW:
        from dasd.results.report import figures_sentences

    drawn = (
        f"Up to {MOST} right and {MOST} wrong answers of the student after {answers.checkpoint}, drawn from its "
        "evaluation by the run's seed"
        + (f"; {answers.refused} that a model couldn't score are left out" if answers.refused else "")
        + "."
    )
    along = along_answers(answers.sentences)
    gallery.add(
        "answers",
        "Probability of sentences in the student's own answers",
        answers.why_not,
        lambda: figures_sentences.answer_probabilities_figure(along, answers.sentences, PARTS, drawn),
    )
    _draw_positions(
        gallery,
        "positions-answers",
        "Kinds of sentences in the student's own answers",
        answers.sentences.drop("correct"),
        lambda: answers.sentences.select("sample_id", "correct").unique(maintain_order=True),
        f"The same answers. Kinds by three models, with α = {answers.alpha:g} and β = {answers.beta:g}.",
        answers.why_not,
    )


def _draw_positions(
    gallery: _Gallery,
    name: str,
    title: str,
    sentences: pl.DataFrame,
    correct: Callable[[], pl.DataFrame],
    caption: str,
    missing: str,
) -> None:
    if _CAN_DRAW:
        from dasd.results.report import figures_sentences

    gallery.add(
        name,
        title,
        "" if sentences.height else missing,
        lambda: figures_sentences.positions_figure(
            series.positions(sentences, correct(), POSITION_BINS), caption
        ),
    )


def _draw_training(gallery: _Gallery, run: Run, of_rounds: Sequence[RoundFigures]) -> None:
    if _CAN_DRAW:
        from dasd.results.report import figures_rounds, figures_sentences, figures_training

    bins = cutoffs.cut_off_bins(cutoffs.cut_offs(run))
    missing = "" if bins.height else "no mixed-policy stage has run, so the student answered nothing itself."
    gallery.add(
        "cut-off",
        "Cut-off rate by length of the training response",
        missing,
        lambda: figures_sentences.cut_off_figure(bins),
    )
    gallery.add(
        "rounds",
        "The student's answers round by round",
        "" if of_rounds else "no on-policy stage has run.",
        lambda: figures_rounds.rounds_figure(of_rounds),
    )
    losses = series.losses(run)
    gallery.add(
        "losses",
        "Training loss",
        "" if losses.height else "no training has run.",
        lambda: figures_training.losses_figure(losses),
    )


def _texts(run: Run, sample_ids: Sequence[str]) -> pl.DataFrame:
    """sample_id, question_id and text of teacher responses."""
    columns = ("sample_id", "question_id", "text")
    return series.rows_of(run.frame("samples").select(columns), sample_ids).unique(
        "sample_id", maintain_order=True
    )


def _correct(run: Run, grade: Grade, sample_ids: Sequence[str]) -> pl.DataFrame:
    """sample_id and whether its answer is right, null where nobody knows."""
    rows = _texts(run, sample_ids)
    return rows.select("sample_id", grade(rows).alias("correct"))


def _example(run: Run, grade: Grade, distilled: Distilled | None) -> Example | None:
    """A response that shows several kinds of sentences, with its question."""
    sentences, stage = _example_sentences(run, distilled)
    correct = _correct(run, grade, sentences["sample_id"].unique().sort().to_list())
    right = correct.filter(pl.col("correct").fill_null(value=False))["sample_id"].to_list()
    sample_id = illustrative(sentences, right)
    if sample_id is None:
        return None
    own = sentences.filter(pl.col("sample_id") == sample_id).sort("sentence")
    sample: Mapping[str, str] = _texts(run, [sample_id]).row(0, named=True)
    messages = (
        run.frame("questions")
        .filter(pl.col("question_id") == sample["question_id"])
        .select("messages")
        .collect()
    )
    verdicts: dict[bool | None, str] = {True: "right answer", False: "wrong answer"}
    known: dict[str, bool | None] = dict(correct.iter_rows())
    return Example(
        sample_id=sample_id,
        stage=stage,
        verdict=verdicts.get(known.get(sample_id), "answer not graded"),
        turns=messages["messages"][0].to_list(),
        sentences=own,
        views=tuple(sentence_views(sample["text"], own.head(EXAMPLE_SENTENCES))),
        omitted=max(0, own.height - EXAMPLE_SENTENCES),
    )


def _example_sentences(run: Run, distilled: Distilled | None) -> tuple[pl.DataFrame, str]:
    """Sentences to choose the example from, and the training stage that they belong to."""
    if distilled is not None:
        return distilled.sentences, distilled.stage
    for name in reversed(series.stage_names(run, "select")):
        chosen = run.frame("verdicts", name).filter(pl.col("kept"))
        ids = series.sampled_ids(chosen, 64, run.record.seed, "example")
        return series.rows_of(run.frame("sentences", name), ids), name.removeprefix("select-")
    return SENTENCES.empty(), ""

"""The scores of a run's checkpoints, for people and for the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import yaml

from dasd.base.suggest import did_you_mean
from dasd.errors import InputError
from dasd.results import Evaluation
from dasd.results.cards.facts import Facts
from dasd.results.cards.options import CardOptions, HubBenchmark
from dasd.results.report.data import Metric
from dasd.results.report.numbers import MISSING, plus_minus
from dasd.results.report.tables import TextTable

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["eval_results", "eval_results_file", "score_tables", "teacher_accuracies"]

_HEADS = {"length_tokens": "length, tokens", "truncation_rate": "truncated, %"}
_TYPES = {"avg": "accuracy", "pass": "pass@k", "majority": "majority@k"}


def sampling_words(evaluation: Evaluation, benchmark: str) -> str:
    """How the answers to a benchmark were sampled, as far as it is on record."""
    found = evaluation.sampling(benchmark)
    parts = [
        ("temperature", found.temperature),
        ("top-p", found.top_p),
        ("tokens at most", found.max_tokens),
        ("seed", evaluation.origin.seed),
    ]
    return ", ".join(f"{what} {value}" for what, value in parts if value is not None) or "settings unknown"


def score_tables(facts: Facts, checkpoint: str) -> list[TextTable]:
    """One table a benchmark, checkpoints against scores with their errors, and one of the KL of each checkpoint."""
    found = []
    for part in facts.scores.partition_by("benchmark", maintain_order=True):
        benchmark = part.item(0, "benchmark")
        metrics = list(dict.fromkeys(part["metric"]))
        rows = tuple(
            (_called(name, checkpoint), *(_cell(own, metric) for metric in metrics))
            for (name,), own in part.group_by("checkpoint", maintain_order=True)
        )
        head = ("model", *map(_head, metrics))
        found.append(TextTable(benchmark, head, rows, _note(facts, part, benchmark)))
    measured = [(item.name, item.metric("kl_nats_per_response")) for item in facts.data.checkpoints]
    known = [(name, kl) for name, kl in measured if kl is not None]
    if known:
        note = (
            f"Mean over {known[-1][1].n} held-out teacher responses of log p_teacher − log p_student of the whole "
            "response, at temperature 1; lower is better."
        )
        rows = tuple(
            (_called(name, checkpoint), plus_minus(kl.value, kl.standard_error)) for name, kl in known
        )
        found.append(TextTable("Distance to the teacher", ("model", "KL, nats a response"), rows, note))
    return found


def teacher_accuracies(facts: Facts) -> list[Metric]:
    """The teacher's own accuracy, by benchmark."""
    teachers = (item for item in facts.data.checkpoints if item.role == "teacher")
    return [
        metric
        for item in teachers
        for metric in item.metrics
        if (metric.metric, metric.group) == ("accuracy", "all")
    ]


def _head(metric: str) -> str:
    return _HEADS.get(metric, f"{metric}, %")


def _called(name: str, checkpoint: str) -> str:
    words = {"before": "student before training", "teacher": "teacher"}.get(name, f"after {name}")
    return f"**{words} (this model)**" if name == checkpoint else words


def _cell(rows: pl.DataFrame, metric: str) -> str:
    found = rows.filter(pl.col("metric") == metric)
    if not found.height:
        return MISSING
    value, error = found.select("value", "standard_error").row(0)
    return plus_minus(value, error, as_percent=metric != "length_tokens")


def _note(facts: Facts, part: pl.DataFrame, benchmark: str) -> str:
    own = [item for item in facts.evaluations if benchmark in item.benchmarks]
    questions, attempts = part.select(pl.col("questions").max(), pl.col("attempts").max()).row(0)
    ungraded = sum(item.answers for evaluation in own for item in evaluation.ungraded)
    failed = f" {ungraded} answers could not be graded and count as wrong." if ungraded else ""
    return (
        f"Mean ± one standard error over {questions} questions, {attempts} answers in all; "
        f"{sampling_words(own[-1], benchmark)}.{failed}"
    )


def eval_results(facts: Facts, checkpoint: str, options: CardOptions) -> list[EvalResult]:
    """The checkpoint's scores for `model-index`: values as shares (0 to 1), errors and settings as arguments."""
    from huggingface_hub import EvalResult

    known = {item.name: item for item in options.benchmarks}
    found = []
    for row in facts.scores.filter(pl.col("checkpoint") == checkpoint).iter_rows(named=True):
        name, _, k = row["metric"].partition("@")
        if name not in _TYPES:
            continue
        evaluation = facts.evaluation(checkpoint)
        sampling = evaluation.sampling(row["benchmark"])
        arguments = {
            "k": int(k),
            "standard_error": row["standard_error"],
            "questions": row["questions"],
            "answers": row["attempts"],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": evaluation.origin.seed,
        }
        registered = known.get(row["benchmark"])
        found.append(
            EvalResult(
                task_type="text-generation",
                dataset_type=registered.dataset if registered else row["benchmark"],
                dataset_name=row["benchmark"],
                metric_type=_TYPES[name],
                metric_name=row["metric"],
                metric_value=row["value"],
                metric_args={key: value for key, value in arguments.items() if value is not None},
            )
        )
    return found


def eval_results_file(facts: Facts, checkpoint: str, benchmarks: tuple[HubBenchmark, ...]) -> str | None:
    """`.eval_results/*.yaml` of the hub: avg@k on those benchmarks that are registered there; None for none.

    Raises InputError for a benchmark on which the checkpoint wasn't evaluated.
    """
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    own = facts.scores.filter((pl.col("checkpoint") == checkpoint) & pl.col("metric").str.starts_with("avg@"))
    entries = []
    for item in benchmarks:
        rows = own.filter(pl.col("benchmark") == item.name)
        if not rows.height:
            raise InputError(
                f"hub benchmark {item.name!r}: checkpoint {checkpoint} has no score on it"
                f"{did_you_mean(item.name, own['benchmark'])} "
                f"Scores on: {', '.join(own['benchmark']) or 'none'}"
            )
        row = rows.row(0, named=True)
        evaluation = facts.evaluation(checkpoint)
        scale = 100 if item.percent else 1
        error = row["standard_error"]
        entries.append(
            EvalResultEntry(
                dataset_id=item.dataset,
                task_id=item.task,
                value=row["value"] * scale,
                date=evaluation.origin.finished.date().isoformat(),
                notes=f"{row['metric']}"
                + ("" if error is None else f", standard error {error * scale:.4g}")
                + f", {row['questions']} questions; {sampling_words(evaluation, item.name)}; dasd",
            )
        )
    if not entries:
        return None
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)

"""The report's tables as rows of words, for the page and the terminal alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dasd.base.progress import human_seconds
from dasd.results.report.data import FlowRow, Metric, ReportData, SelectionFigures
from dasd.results.report.numbers import MISSING, count, decimal, number, percent, plus_minus, short

__all__ = [
    "TextTable",
    "benchmarks",
    "domain_tables",
    "dropped_table",
    "flow_tables",
    "headline_tables",
    "selection_table",
    "time_table",
    "training_table",
    "with_error",
]

ACCURACY, LENGTH, CUT_OFF, KL = "accuracy", "length_tokens", "cut_off_rate", "kl_nats_per_response"


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of words. The first column heads its row; ``reference`` rows are set apart."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    reference: frozenset[int] = frozenset()


def benchmarks(data: ReportData) -> list[str]:
    """Names of the benchmarks that the student was measured on, in order."""
    found: dict[str, None] = {}
    for checkpoint in data.checkpoints:
        for metric in checkpoint.metrics:
            if metric.metric == ACCURACY and checkpoint.role != "teacher":
                found[metric.benchmark] = None
    return list(found)


def headline_tables(data: ReportData) -> list[TextTable]:
    """One table a benchmark: checkpoints against accuracy, length, cut-off rate and KL."""
    names: Sequence[str | None] = benchmarks(data) or [None]
    return [_headline(data, name) for name in names] if data.checkpoints else []


def _headline(data: ReportData, benchmark: str | None) -> TextTable:
    rows, reference = [], set()
    questions = kl_responses = None
    for index, checkpoint in enumerate(data.checkpoints):
        teacher = checkpoint.role == "teacher"
        accuracy, length, cut_off = (
            checkpoint.metric(name, benchmark=benchmark) for name in (ACCURACY, LENGTH, CUT_OFF)
        )
        kl = checkpoint.metric(KL)
        if teacher:
            reference.add(index)
        else:
            questions = questions or (accuracy.n if accuracy else None)
            kl_responses = kl_responses or (kl.n if kl else None)
        rows.append(
            (
                {"before": "before training", "teacher": "teacher (reference)"}.get(
                    checkpoint.name, f"after {checkpoint.name}"
                ),
                with_error(accuracy, as_percent=True),
                with_error(length),
                with_error(cut_off, as_percent=True),
                with_error(kl) if not teacher else "0",
            )
        )
    parts = []
    if questions:
        parts.append(f"n = {count(questions)} questions")
    if kl_responses:
        parts.append(f"KL: n = {count(kl_responses)} held-out teacher responses")
    if reference:
        found = data.checkpoints[min(reference)].metric(ACCURACY, benchmark=benchmark)
        if found is not None:
            parts.append(f"teacher: n = {count(found.n)} held-out responses, one a question")
    several = len(benchmarks(data)) > 1
    return TextTable(
        caption="Checkpoints" + (f" on {benchmark}" if several else ""),
        head=("model", "accuracy, %", "length, tokens", "cut off, %", "KL, nats a response"),
        rows=tuple(rows),
        note="Mean ± one standard error; length in the student's tokens. "
        + "; ".join(parts)
        + ("." if parts else ""),
        reference=frozenset(reference),
    )


def domain_tables(data: ReportData) -> list[TextTable]:
    """Accuracy by domain, one table a benchmark that has more than one."""
    tables = []
    for benchmark in benchmarks(data):
        students = [item for item in data.checkpoints if item.role != "teacher"]
        sizes: dict[str, int] = {}
        for checkpoint in students:
            for metric in checkpoint.metrics:
                if (metric.metric, metric.benchmark) == (ACCURACY, benchmark) and metric.group != "all":
                    sizes.setdefault(metric.group, metric.n)
        if len(sizes) < 2:
            continue
        rows = [
            (
                "before training" if item.name == "before" else f"after {item.name}",
                *(with_error(item.metric(ACCURACY, domain, benchmark), as_percent=True) for domain in sizes),
            )
            for item in students
        ]
        tables.append(
            TextTable(
                caption=f"Accuracy by domain on {benchmark}, %",
                head=("model", *sizes),
                rows=tuple(rows),
                note="Mean ± one standard error; questions: "
                + ", ".join(f"{domain} {count(n)}" for domain, n in sizes.items())
                + ".",
            )
        )
    return tables


def selection_table(data: ReportData) -> TextTable | None:
    """What selection did, a column a temperature."""
    if not data.selections:
        return None
    figures: list[tuple[str, Callable[[SelectionFigures], str]]] = [
        ("candidates", lambda item: count(item.candidates)),
        ("selected", lambda item: count(item.selected)),
        ("sentences of the candidates", lambda item: count(item.sentences)),
        ("Teacher sentences, %", lambda item: _percent(item.teacher_share)),
        ("Student sentences, %", lambda item: _percent(item.student_share)),
        ("Common sentences, %", lambda item: _percent(item.common_share)),
        ("length, tokens", lambda item: _change(item.tokens_mean_before, item.tokens_mean_after, number)),
        ("wrong answers, %", lambda item: _change(item.wrong_before, item.wrong_after, _percent)),
        ("correlation of score and length", lambda item: decimal(item.score_length_correlation)),
        ("same as the longest, %", lambda item: _percent(item.agreement_longest)),
        ("same as a random one, %", lambda item: _percent(item.agreement_random)),
    ]
    first = data.selections[0]
    return TextTable(
        caption="Selection by temperature",
        head=("stage", *(f"{item.stage}, T\u00a0=\u00a0{item.temperature:g}" for item in data.selections)),
        rows=tuple((what, *(show(item) for item in data.selections)) for what, show in figures),
        note=f"Selector {first.selector}, β = {first.beta:g}. Teacher, Student and Common sentences: shares of "
        "the candidates' sentences. Length (mean, in the student's tokens) and wrong answers: among the "
        "candidates → among the selected. Correlation: of ranks, between the selector's score and the "
        "response's length. Same as: share of the questions with a choice where that would be selected too.",
    )


_Column = tuple[str, Callable[[FlowRow], str]]
_FILTERED: _Column = ("after filters", lambda row: _left(row.after_filter, row.dropped_by_filter))
_TRAINED: tuple[_Column, ...] = (
    ("trained rows", lambda row: count(row.trained_rows)),
    ("trained tokens", lambda row: short(row.trained_tokens)),
)
_OFF_POLICY: tuple[_Column, ...] = (
    ("questions", lambda row: count(row.questions)),
    ("sampled", lambda row: count(row.sampled)),
    _FILTERED,
    ("after dedup", lambda row: _left(row.after_dedup, row.dropped_by_dedup)),
    ("selected", lambda row: count(row.selected)),
    *_TRAINED,
)
_MIXED: tuple[_Column, ...] = (
    ("student's answers", lambda row: count(row.sampled)),
    ("continued by the teacher", lambda row: count(row.continued)),
    _FILTERED,
    *_TRAINED,
)


def flow_tables(data: ReportData) -> list[TextTable]:
    """From samples to trained tokens: one table of the off-policy stages, one of the mixed-policy ones."""
    tables = (
        (
            "off-policy",
            _OFF_POLICY,
            "From samples to training rows",
            "Counts of the teacher's responses. Trained tokens: tokens with loss, once through the data.",
        ),
        (
            "mixed-policy",
            _MIXED,
            "From the student's answers to training rows",
            (
                "One answer a question. The teacher goes on from those that drifted, which is to say hit their "
                "cap. Trained rows: what passed the filters, and off-policy responses for balance."
            ),
        ),
    )
    return [
        TextTable(
            caption=caption,
            head=("stage", *(head for head, _ in columns)),
            rows=tuple((row.stage, *(show(row) for _, show in columns)) for row in rows),
            note=note,
        )
        for kind, columns, caption, note in tables
        if (rows := [row for row in data.flow if row.kind == kind])
    ]


def dropped_table(data: ReportData) -> TextTable | None:
    """Why responses were dropped, a column a training stage."""
    steps = {
        "filters": [row.dropped_by_filter for row in data.flow],
        "dedup": [row.dropped_by_dedup for row in data.flow],
    }
    reasons = dict.fromkeys((step, reason) for step, rows in steps.items() for row in rows for reason in row)
    if not reasons:
        return None
    rows = [
        (
            f"{step}: {reason.replace('_', ' ')}",
            *(count(dropped.get(reason, 0)) for dropped in steps[step]),
        )
        for step, reason in reasons
    ]
    return TextTable(
        caption="Dropped responses by reason",
        head=("reason", *(row.stage for row in data.flow)),
        rows=tuple(rows),
        note="The first filter that drops a response names the reason. Of a mixed-policy stage, responses "
        "that the teacher continued.",
    )


def training_table(data: ReportData) -> TextTable | None:
    """What each training did."""
    if not data.trainings:
        return None
    rows = [
        (
            item.stage,
            item.trained,
            count(item.steps),
            short(item.tokens),
            decimal(item.first_loss, 3),
            decimal(item.last_loss, 3),
            human_seconds(item.seconds),
        )
        for item in data.trainings
    ]
    return TextTable(
        caption="Trainings",
        head=("stage", "trained", "steps", "tokens", "first loss", "last loss", "time"),
        rows=tuple(rows),
        note="Tokens over all epochs; loss in nats a token, of the first and the last optimiser step.",
    )


def time_table(data: ReportData) -> TextTable:
    """Working time of the stages; of those under a hundredth of the whole, only the sum."""
    total = sum(item.seconds for item in data.stages)
    rows = [
        (item.stage, human_seconds(item.seconds), percent(item.seconds / total if total else None, 0))
        for item in data.stages
        if item.seconds >= 0.01 * total
    ]
    rest = [item.seconds for item in data.stages if item.seconds < 0.01 * total]
    if rest:
        rows.append((f"{len(rest)} others", human_seconds(sum(rest)), percent(sum(rest) / total, 0)))
    rows.append(("all", human_seconds(total), ""))
    return TextTable("Time by stage", ("stage", "time", "share"), tuple(rows))


def with_error(metric: Metric | None, *, as_percent: bool = False) -> str:
    """The figure with its standard error in words."""
    if metric is None:
        return MISSING
    return plus_minus(metric.value, metric.standard_error, as_percent=as_percent)


def _left(kept: int | None, dropped: dict[str, int]) -> str:
    lost = sum(dropped.values())
    return count(kept) + (f" (−{count(lost)})" if kept is not None and lost else "")


def _change(before: float | None, after: float | None, show: Callable[[float | None], str]) -> str:
    return MISSING if before is None and after is None else f"{show(before)} → {show(after)}"


def _percent(value: float | None) -> str:
    """A share in per cent, without the sign."""
    return plus_minus(value, None, as_percent=True)

"""One sample as a small page of its own."""

from __future__ import annotations

from collections import Counter

from dasd.results.report.inspection import Sample
from dasd.results.report.numbers import MISSING, decimal
from dasd.results.report.page import environment, legend, style

__all__ = ["facts", "render_sample", "totals"]


def facts(sample: Sample) -> list[tuple[str, str]]:
    """What heads a sample, as names and words."""
    verdict = {True: "right", False: "wrong", None: "not graded"}[sample.correct]
    answer = f"{verdict}; wanted {sample.answer}" if sample.answer is not None else verdict
    return [
        ("sample", sample.sample_id),
        ("model", sample.model),
        ("temperature", f"{sample.temperature:g}"),
        ("tokens", f"{sample.tokens}, finished by {sample.finish_reason}"),
        ("response probability", decimal(sample.response_probability, 3)),
        ("answer", answer),
    ]


def totals(sample: Sample) -> str:
    """Sentences by kind and the mean difference of the probabilities, in words."""
    counts = ", ".join(
        f"{number} {kind}" for kind, number in Counter(view.kind for view in sample.sentences).items()
    )
    deltas = [view.delta for view in sample.sentences if view.delta is not None]
    mean = f"{sum(deltas) / len(deltas):+.3f}".replace("-", "−") if deltas else MISSING
    return f"{len(sample.sentences)} sentences: {counts}; mean Δ {mean}"


def render_sample(sample: Sample, run: str) -> str:
    """The page as text. ``run``: the run's name."""
    return (
        environment()
        .get_template("inspect.html.j2")
        .render(
            css=style(),
            sample=sample,
            run=run,
            facts=facts(sample),
            legend=legend({view.kind for view in sample.sentences}),
            totals=totals(sample),
        )
    )

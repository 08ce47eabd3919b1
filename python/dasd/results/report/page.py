"""The page: one HTML file that needs nothing else. The template escapes all words of users and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import polars as pl

from dasd.base.printable import printable
from dasd.results.report import tables, tables_sentences
from dasd.results.report.data import ReportData
from dasd.results.report.numbers import MISSING, decimal
from dasd.results.report.response import SentenceView
from dasd.results.report.rounds import round_tables

if TYPE_CHECKING:
    import jinja2

    from dasd.results.report.drawing import Drawing

__all__ = ["Example", "environment", "legend", "render", "style"]

_MEANINGS = {
    "teacher": "p_teacher − p_student > β",
    "student": "p_student − p_teacher > β",
    "common": "the two agree within β",
    "shared": "all three within α",
    "boosted": "only the distilled model lies apart",
}


@dataclass(frozen=True, slots=True)
class Example:
    """One response of the run with its question."""

    sample_id: str
    stage: str
    verdict: str
    turns: Sequence[Mapping[str, str]]
    """Role and content of the turns of the question."""
    sentences: pl.DataFrame
    """All its SENTENCES rows in order."""
    views: tuple[SentenceView, ...]
    """Those that are shown as text."""
    omitted: int

    @property
    def third(self) -> bool:
        """Whether a distilled model has scored it."""
        return any(view.p_distilled is not None for view in self.views)

    @property
    def role(self) -> str:
        """What stands over the response."""
        return f"teacher, stage {self.stage}, {self.verdict}, sample {self.sample_id[:8]}"

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Kinds that occur, with their meanings."""
        return legend({view.kind for view in self.views})


def legend(kinds: set[str]) -> list[tuple[str, str]]:
    """Kind and meaning of each of ``kinds``, in a fixed order."""
    return [(kind, words) for kind, words in _MEANINGS.items() if kind in kinds]


def style() -> str:
    """The style sheet of all pages."""
    return files("dasd.results.report").joinpath("templates/style.css").read_text(encoding="utf-8")


def _shown(value: object) -> object:
    """``value`` without control characters if it is text, still marked as safe if it was."""
    return type(value)(printable(value)) if isinstance(value, str) else value


def environment() -> jinja2.Environment:
    """Templates of the package; everything is escaped and printable, an unknown name is an error."""
    import jinja2

    def load(name: str) -> str:
        return files("dasd.results.report").joinpath("templates", name).read_text(encoding="utf-8")

    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["p"] = lambda value: decimal(value, 2)
    made.globals["signed"] = lambda value: MISSING if value is None else f"{value:+.2f}".replace("-", "−")
    return made


def render(data: ReportData, drawings: Mapping[str, Drawing], example: Example | None, recipe: str) -> str:
    """The page as text."""
    names = {model.role: _name(model.model) for model in data.run.models}
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            css=style(),
            data=data,
            teacher=names.get("teacher", MISSING),
            student=names.get("student", MISSING),
            date=data.run.started[:10],
            tiles=_tiles(data),
            headlines=tables.headline_tables(data),
            domains=tables.domain_tables(data),
            selection=tables.selection_table(data),
            distilled=tables_sentences.distilled_table(data),
            own_answers=tables_sentences.own_answers_table(data),
            flows=tables.flow_tables(data),
            dropped=tables.dropped_table(data),
            training=tables.training_table(data),
            rounds=round_tables(data),
            times=tables.time_table(data),
            notes={note.figure: note for note in data.figures},
            drawings=drawings,
            example=example,
            run_path=f"runs/{data.run.name}",
            facts=_facts(data),
            recipe=recipe,
        )
    )


def _name(model: str) -> str:
    """The last part of a path; a hub name or a bundled model's as it is."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith("/") else model


def _tiles(data: ReportData) -> list[dict[str, str]]:
    """Figures before and after, in large type."""
    students = [item for item in data.checkpoints if item.role != "teacher"]
    if len(students) < 2:
        return []
    before, after = students[0], students[-1]
    benchmark = (tables.benchmarks(data) or [None])[0]  # type: ignore[list-item]
    wanted = (
        ("Accuracy, %", "accuracy", True, benchmark),
        ("KL, nats a response", "kl_nats_per_response", False, None),
        ("Answers cut off, %", "cut_off_rate", True, benchmark),
        ("Response length, tokens", "length_tokens", False, benchmark),
    )
    tiles = []
    for what, name, as_percent, source in wanted:
        first, last = before.metric(name, benchmark=source), after.metric(name, benchmark=source)
        if first is not None and last is not None:
            start, _, start_error = tables.with_error(first, as_percent=as_percent).partition(" ")
            end, _, end_error = tables.with_error(last, as_percent=as_percent).partition(" ")
            error = f"{start_error} before, {end_error} after {after.name}"
            error = error if start_error and end_error else ""
            tiles.append({"what": what, "before": start, "after": end, "error": error})
    return tiles


def _facts(data: ReportData) -> list[tuple[str, str]]:
    run = data.run
    machine = run.machine
    facts = [("started", f"{run.started[:16].replace('T', ' ')} UTC"), ("seed", str(run.seed))]
    for model in run.models:
        engine = " ".join(part for part in (model.engine or model.backend, model.engine_version) if part)
        facts.append((model.role, f"{model.model}, {engine}"))
        if model.revision:
            facts.append((f"{model.role}'s content", model.revision[:32]))
    memory = f"{machine.memory_bytes / 2**30:.0f} GiB"
    facts.append(("machine", f"{machine.cpu}, {machine.cores} cores, {memory}"))
    facts.append(("accelerators", ", ".join(machine.accelerators) or "none"))
    facts.append(("system", machine.platform))
    facts.append(("dasd", run.dasd_version))
    facts += sorted(run.versions.items())
    return facts

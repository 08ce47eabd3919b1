"""The words of a card: ``templates/card.md.j2`` with what a run says filled in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.stage_settings import MixedPolicyStage
from dasd.results.cards.facts import Facts, shown_model
from dasd.results.cards.licences import Licences
from dasd.results.cards.names import public
from dasd.results.report import tables
from dasd.results.report.gather import what_is_trained
from dasd.results.report.numbers import MISSING, count, plus_minus
from dasd.results.report.tables import TextTable

__all__ = ["card_text"]

_MARKUP = frozenset("<&[`|\\")


def card_text(facts: Facts, licences: Licences, title: str, **more: Any) -> str:
    """The card's text below its front matter; ``more``: what the model's or the data set's part of it shows."""
    import jinja2

    # Markdown, no HTML: words of the data go through _plain_words, all others are the run's own.
    made = jinja2.Environment(  # noqa: S701
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "bullets": _bullets,
        "fenced": _fenced,
        "quoted": json.dumps,
        "table": lambda rows, *head: _table(head, rows),
        "text_table": _text_table,
    }
    template = files("dasd.results.cards").joinpath("templates/card.md.j2").read_text(encoding="utf-8")
    settings, run = facts.settings, facts.data.run
    text = made.from_string(template).render(
        facts=facts,
        licences=licences,
        title=title,
        settings=settings,
        run=run,
        student=shown_model(settings.student.model),
        teacher=shown_model(settings.teacher.model),
        prompt=settings.questions.system_prompt,
        mixed=any(isinstance(stage, MixedPolicyStage) for stage in _stages(facts)),
        made=[found for found in _made(facts) if found is not None],
        questions=[
            (_plain_words(item.source), _plain_words(item.domain), count(item.questions))
            for item in facts.questions
        ],
        sources=_sources(facts),
        models=_models(facts, licences),
        versions=list({"dasd": run.dasd_version, **run.versions}.items()),
        plus_minus=plus_minus,
        **more,
    )
    return text.rstrip("\n") + "\n"


_DATA = {
    "off-policy": "teacher's answers",
    "mixed-policy": "student starts, teacher goes on",
    "on-policy": "student's answers, scored by the teacher",
}
"""What a training is on, by its kind."""


def _stages(facts: Facts) -> list[Any]:
    return [stage for stage in facts.settings.stages if stage.name in facts.stages]


def _made(facts: Facts) -> list[TextTable | None]:
    """Tables of how it was made: stages, what was kept and dropped, what selection did, trainings."""
    head = [
        "stage",
        "data",
        "temperature",
        "trained",
        "epochs",
        "learning rate",
        "packs a step",
        "tokens a pack",
    ]
    rows = []
    for stage in _stages(facts):
        trainer = facts.settings.trainer_for(stage)
        rows.append(
            (
                stage.name,
                _DATA[stage.kind],
                f"{stage.temperature:g}",
                what_is_trained(trainer),
                f"{trainer.epochs:g}",
                f"{trainer.learning_rate:g} → {trainer.min_learning_rate:g}",
                str(trainer.batch_size),
                count(trainer.max_length),
            )
        )
    return [
        TextTable("Stages of training", tuple(head), tuple(rows)),
        *tables.flow_tables(facts.data),
        tables.dropped_table(facts.data),
        tables.selection_table(facts.data),
        tables.training_table(facts.data),
    ]


def _sources(facts: Facts) -> list[str]:
    asked = facts.settings.questions
    named = [("Training", source) for source in asked.train]
    named += [
        (f"Training {stage.name}", source)
        for stage in facts.settings.stages
        for source in getattr(stage, "sources", ())
    ]
    named += [("Evaluation", source) for source in asked.eval]
    return [f"{what}: {_source(source)}" for what, source in named]


def _source(source: QuestionSource) -> str:
    options = ", ".join(f"{key}: {public(value)}" for key, value in source.options.items())
    most = "" if source.count is None else f", at most {source.count} questions"
    return f"source `{source.source}`" + (f" ({options})" if options else "") + most


def _models(facts: Facts, licences: Licences) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for role, section, licence in (
        ("teacher", facts.settings.teacher, licences.teacher),
        ("student", facts.settings.student, licences.base),
    ):
        model = facts.model(role)
        engine = " ".join(filter(None, (model.engine, model.engine_version)))
        revision = section.revision or model.revision
        rows.append(
            (
                role,
                *map(
                    _plain_words,
                    (shown_model(section.model), revision or MISSING, engine or model.backend),
                ),
                str(licence),
            )
        )
    return rows


# -- pieces of Markdown; each ends with an empty line, or is nothing ------------------------------------


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; no rows: nothing."""
    body = [_row(row) for row in rows]
    return "\n".join([_row(head), "|" + "---|" * len(head), *body, "\n"]) if body else ""


def _text_table(found: TextTable) -> str:
    """A table of the report with its caption and its note."""
    if not found.rows:
        return ""
    rows = [
        [_plain_words(cell) for cell in row] for row in found.rows
    ]  # a filter's reasons are a plugin's words
    return (
        f"**{_plain_words(found.caption)}**\n\n"
        + _table(found.head, rows)
        + (f"{found.note}\n\n" if found.note else "")
    )


def _plain_words(text: str) -> str:
    """Words of data, such as a domain, as Markdown that shows them: no markup, no HTML, no cell of their own."""
    return "".join(f"&#{ord(sign)};" if sign in _MARKUP else sign for sign in " ".join(text.split()))


def _fenced(text: str, language: str) -> str:
    """A block of code, whatever strokes the code has in it."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n" + text.rstrip("\n") + f"\n{fence}\n\n"


def _bullets(items: Sequence[str]) -> str:
    """A list; no items: nothing."""
    return "".join(f"- {item}\n" for item in items) + ("\n" if items else "")


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

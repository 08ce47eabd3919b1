"""The words of a card: ``templates/card.md.j2`` with what a run says filled in."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.stage_settings import MixedPolicyStage
from dasd.results.cards import markdown
from dasd.results.cards.facts import Facts, shown_model
from dasd.results.cards.licences import Licences
from dasd.results.cards.names import public
from dasd.results.report import tables
from dasd.results.report.gather import what_is_trained
from dasd.results.report.numbers import MISSING, count, plus_minus
from dasd.results.report.tables import TextTable

__all__ = ["card_text"]


def card_text(facts: Facts, licences: Licences, title: str, **more: Any) -> str:
    """The card's text below its front matter; ``more``: what the model's or the data set's part of it shows."""
    import jinja2

    # Markdown, no HTML: words of the data go through plain_words, all others are the run's own.
    made = jinja2.Environment(  # noqa: S701
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "bullets": markdown.bullets,
        "fenced": markdown.fenced,
        "quoted": json.dumps,
        "table": lambda rows, *head: markdown.table(head, rows),
        "text_table": markdown.text_table,
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
            (markdown.plain_words(item.source), markdown.plain_words(item.domain), count(item.questions))
            for item in facts.questions
        ],
        sources=_sources(facts),
        models=_models(facts, licences),
        versions=list({"dasd": run.dasd_version, **run.versions}.items()),
        plus_minus=plus_minus,
        **more,
    )
    return text.rstrip("\n") + "\n"


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
        mixed = isinstance(stage, MixedPolicyStage)
        rows.append(
            (
                stage.name,
                "student starts, teacher goes on" if mixed else "teacher's answers",
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
                    markdown.plain_words,
                    (shown_model(section.model), revision or MISSING, engine or model.backend),
                ),
                str(licence),
            )
        )
    return rows

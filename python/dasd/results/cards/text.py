"""Sections that a model card and a dataset card have in common."""

from __future__ import annotations

from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.stage_settings import MixedPolicyStage
from dasd.results.cards.facts import Facts, shown_model
from dasd.results.cards.licences import Licences
from dasd.results.cards.markdown import bullets, fenced, plain_words, table, text_table
from dasd.results.cards.names import public
from dasd.results.report import tables
from dasd.results.report.gather import what_is_trained
from dasd.results.report.numbers import MISSING, count

__all__ = ["data_section", "licence_lines", "method_section", "models_section", "recipe_section"]

_METHOD = (
    "The teacher answers every question several times, first at a low and then at a high temperature, and "
    "each answer is kept with the log-probabilities of its tokens. Of the answers that pass the filters, those "
    "are chosen in which most sentences are likelier under the teacher than under the untrained student, and "
    "the student is fine-tuned on them, low temperature first."
)
_MIXED = (
    " Where the trained student drifts in answers of its own, the teacher goes on from there, and a short last "
    "training learns from these."
)


def method_section(facts: Facts) -> list[str]:
    """How it was made: the method, its stages, what was kept and dropped, what selection did."""
    settings = facts.settings
    stages = [stage for stage in settings.stages if stage.name in facts.stages]
    mixed = any(isinstance(stage, MixedPolicyStage) for stage in stages)
    lines = ["## How it was made", "", _METHOD + (_MIXED if mixed else ""), ""]
    if facts.origin is not None:
        lines += [
            (
                f"The responses are not this run's own: run `{facts.origin.selected_in}` chose them for "
                f"`{facts.chosen_for}`, and this student was trained on them as they are"
                + (", on beginnings that the other student wrote too." if mixed else ".")
            ),
            "",
        ]
    rows = []
    for stage in stages:
        trainer = settings.trainer_for(stage)
        rows.append(
            (
                stage.name,
                "student starts, teacher goes on"
                if isinstance(stage, MixedPolicyStage)
                else "teacher's answers",
                f"{stage.temperature:g}",
                what_is_trained(trainer),
                f"{trainer.epochs:g}",
                f"{trainer.learning_rate:g} → {trainer.min_learning_rate:g}",
                str(trainer.batch_size),
                count(trainer.max_length),
            )
        )
    head = (
        "stage",
        "data",
        "temperature",
        "trained",
        "epochs",
        "learning rate",
        "packs a step",
        "tokens a pack",
    )
    lines += ["**Stages of training**", "", *table(head, rows)]
    return [*lines, *_counts(facts)]


def _counts(facts: Facts) -> list[str]:
    lines: list[str] = []
    for found in tables.flow_tables(facts.data):
        lines += text_table(found)
    lines += text_table(tables.dropped_table(facts.data))
    lines += text_table(tables.selection_table(facts.data))
    return [*lines, *text_table(tables.training_table(facts.data))]


def data_section(facts: Facts) -> list[str]:
    """Where the questions came from."""
    settings = facts.settings
    lines = ["## Questions", ""]
    lines += table(
        ("source", "domain", "training questions"),
        [
            (plain_words(item.source), plain_words(item.domain), count(item.questions))
            for item in facts.questions
        ],
    )
    lines += bullets(f"Training: {_source(source)}" for source in settings.questions.train)
    lines += bullets(
        f"Training {stage.name}: {_source(source)}"
        for stage in settings.stages
        for source in getattr(stage, "sources", ())
    )
    lines += bullets(f"Evaluation: {_source(source)}" for source in settings.questions.eval)
    prompt = settings.questions.system_prompt
    lines += [
        "No system prompt was added." if prompt is None else f"System prompt: `{prompt}`",
        "",
        _contamination(facts),
        "",
    ]
    return lines


def _source(source: QuestionSource) -> str:
    options = ", ".join(f"{key}: {public(value)}" for key, value in source.options.items())
    most = "" if source.count is None else f", at most {source.count} questions"
    return f"source `{source.source}`" + (f" ({options})" if options else "") + most


def _contamination(facts: Facts) -> str:
    settings = facts.settings
    if facts.origin is not None:
        return (
            f"Run `{facts.origin.selected_in}` decontaminated its questions by its own recipe; of these, questions "
            "that are evaluation questions here word for word were left out."
        )
    share = settings.dedup.contamination
    if share is None:
        return "Overlap of training questions with the evaluation questions was **not** checked."
    return (
        f"Training questions of which more than {share:.0%} of the {settings.dedup.contamination_ngram}-grams "
        "of words occur in the evaluation questions were dropped; rewordings and translations are not found this way."
    )


def models_section(facts: Facts, licences: Licences) -> list[str]:
    """Models with revision and engine, versions, seed and machine."""
    settings, run = facts.settings, facts.data.run
    rows = []
    for role, section, licence in (
        ("teacher", settings.teacher, licences.teacher),
        ("student", settings.student, licences.base),
    ):
        model = facts.model(role)
        engine = " ".join(filter(None, (model.engine, model.engine_version)))
        revision = section.revision or model.revision
        rows.append(
            (role, shown_model(section.model), revision or MISSING, engine or model.backend, str(licence))
        )
    versions = {"dasd": run.dasd_version, **run.versions}
    machine = ", ".join(run.machine.accelerators) or f"{run.machine.cores} cores of {run.machine.cpu}"
    return [
        "## Models, versions, seed",
        "",
        *table(("role", "model", "revision", "engine", "licence"), rows),
        "A revision without a name is the hash of the model's files.",
        "",
        *table(("package", "version"), list(versions.items())),
        f"Seed {run.seed}; last started on {machine}.",
        "",
    ]


def recipe_section(facts: Facts) -> list[str]:
    """The resolved recipe."""
    return [
        "## Recipe",
        "",
        "Resolved, as it ran; paths are cut to their last names. `dasd pipeline recipe.yaml` runs it.",
        "",
        *fenced(facts.recipe, "yaml"),
    ]


def licence_lines(facts: Facts, licences: Licences, what: str) -> list[str]:
    """Licences of everything that had part in it; what nobody states is said to be unknown."""
    settings = facts.settings
    return [
        "## Licences",
        "",
        *bullets(
            (
                f"{what}: {licences.own}",
                f"student before training, {shown_model(settings.student.model)}: {licences.base}",
                f"teacher, {shown_model(settings.teacher.model)}: {licences.teacher}",
                f"questions: {licences.data}",
            )
        ),
        (
            "The teacher's licence or terms of use may bind what is made of its responses, models trained on them "
            "included: read them before you use or pass this on."
        ),
        "",
    ]

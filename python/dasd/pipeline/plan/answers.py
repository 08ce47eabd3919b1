"""Whether answers can be graded: questions with answers, verifiers that are known and can be made."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd.errors import DasdError
from dasd.evaluation.terms import grades_by_verifier
from dasd.pipeline.plan.questions import BenchmarkFacts
from dasd.pipeline.plan.records import Finding
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = ["check_answers"]


def check_answers(
    recipe: Recipe, registry: Registry, rows: pl.DataFrame, benchmarks: Sequence[BenchmarkFacts]
) -> list[Finding]:
    """Findings on the answers of QUESTIONS rows, as far as these could be read."""
    settings = recipe.settings
    findings = _verifiers(registry, rows)
    gradable = pl.col("answer").is_not_null() & pl.col("verifier").is_not_null()
    train = rows.filter(pl.col("split") == "train")
    bare = train.filter(~gradable).height
    if settings.filters.answer and train.height and bare:
        if bare == train.height:
            text = "is true, but no training question has an answer and a verifier, so no response is checked"
            advice = "give the questions answers, or set it to false"
            findings.append(Finding("problem", "filters.answer", text, advice))
        else:
            text = f"checks nothing of {bare} of {train.height} training questions: no answer or no verifier"
            findings.append(Finding("warning", "filters.answer", text))
    graded = [
        label
        for each in benchmarks
        if grades_by_verifier(each.how.evaluator, registry)
        for label in each.labels
    ]
    evaluated = rows.filter((pl.col("split") == "eval") & pl.col("source").is_in(graded))
    bare = evaluated.filter(~gradable).height
    if bare:
        first = evaluated.filter(~gradable).get_column("question_id")[0]
        text = f"{bare} of {evaluated.height} questions have no answer or no verifier, e.g. {first}"
        findings.append(Finding("problem", "questions.eval", text, "give them both, or leave them out"))
    return findings


def _verifiers(registry: Registry, rows: pl.DataFrame) -> list[Finding]:
    findings = []
    named: dict[str, tuple[VerifierSettings, list[str]]] = {}
    for text, split in rows.select("verifier", "split").drop_nulls().iter_rows():
        how = VerifierSettings.of(text)
        named.setdefault(how.component, (how, []))[1].append(split)
    for _, (how, splits) in sorted(named.items()):
        try:
            registry.make_verifier(how.name, how.options)
        except DasdError as error:
            key = f"questions.{splits[0]}" if len(set(splits)) == 1 else "questions"
            findings.append(
                Finding("problem", key, f"{len(splits)} questions name verifier {how.name!r}: {error}")
            )
    return findings

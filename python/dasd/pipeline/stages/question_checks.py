"""Which training questions are set aside before anything is sampled, and why.

A question that is another's repeat, or a benchmark's, would be paid for at every temperature for nothing, or worse.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import polars as pl

from dasd.base.schemas import SET_ASIDE
from dasd.errors import DasdError, InputError, PluginError, RecipeError
from dasd.pipeline.stages.decontamination import contamination
from dasd.pipeline.work.context_room import Prompts, unanswerable
from dasd.pipeline.work.question_places import with_place
from dasd.pipeline.work.repeats import near_repeats
from dasd.plugins.checked import CheckedVerifier
from dasd.plugins.registry import Registry
from dasd.recipe.curation_settings import DedupSettings
from dasd.recipe.verifier_settings import VerifierSettings

__all__ = ["Sieve", "answerable", "contents", "distinct", "usable", "with_system_prompt", "without_repeats"]


class Sieve:
    """Takes rows out of frames of questions and keeps them with the reason."""

    def __init__(self) -> None:
        self._aside: list[pl.DataFrame] = []

    def take(self, rows: pl.DataFrame, reason: str, details: Mapping[int, str]) -> pl.DataFrame:
        """The rows without those that ``details`` tells of, by their number."""
        return self.take_all(rows, {row: (reason, detail) for row, detail in details.items()})

    def take_all(self, rows: pl.DataFrame, why: Mapping[int, tuple[str, str]]) -> pl.DataFrame:
        """The same, with a reason and a detail of its own for each row."""
        if not why:
            return rows
        gone = pl.int_range(pl.len()).is_in(list(why))
        reasons, details = zip(*(why[row] for row in sorted(why)), strict=True)
        aside = rows.filter(gone).with_columns(
            reason=pl.Series(reasons, dtype=pl.String), detail=pl.Series(details, dtype=pl.String)
        )
        self._aside.append(aside.select(list(SET_ASIDE.columns)))
        return rows.filter(~gone)

    @property
    def rows(self) -> pl.DataFrame:
        """SET_ASIDE of all that was taken out."""
        return pl.concat([SET_ASIDE.empty(), *self._aside])

    def counts(self, split: str | None = None) -> dict[str, int]:
        """Questions by reason, of one split or of both."""
        rows = self.rows if split is None else self.rows.filter(pl.col("split") == split)
        return dict(Counter(rows.get_column("reason")))


def distinct(rows: pl.DataFrame, within: str, sieve: Sieve) -> pl.DataFrame:
    """One split's questions, each conversation once for each value of ``within``."""
    first: dict[tuple[str, str], int] = {}
    again: dict[int, str] = {}
    for row, key in enumerate(zip(rows.get_column(within), contents(rows), strict=True)):
        if (earlier := first.setdefault(key, row)) != row:
            again[row] = f"the same as {_named(rows, earlier)}"
    return sieve.take(rows, "exact_duplicate", again)


def usable(rows: pl.DataFrame, registry: Registry, graded: Collection[str], sieve: Sieve) -> pl.DataFrame:
    """The questions whose verifier is there and can read their answer.

    ``graded``: sources of which every question needs both. Raises the first question's PluginError or InputError
    for a source of which every question is bad.
    """
    why: dict[int, tuple[str, str]] = {}
    first: dict[str, DasdError] = {}
    good: set[str] = set()
    verifiers: dict[str, CheckedVerifier | DasdError] = {}
    for row, (verifier, answer, source) in enumerate(rows.select("verifier", "answer", "source").iter_rows()):
        try:
            _check(verifier, answer, source in graded, registry, verifiers)
            good.add(source)
        except DasdError as error:
            why[row] = (
                "unknown_verifier" if isinstance(error, PluginError | RecipeError) else "unreadable_answer",
                str(error),
            )
            first.setdefault(source, type(error)(f"{_named(rows, row)}: {error}"))
    for source, wrong in first.items():
        if source not in good:
            raise wrong
    return sieve.take_all(rows, why)


def _check(
    verifier: str | None,
    answer: str | None,
    graded: bool,
    registry: Registry,
    verifiers: dict[str, CheckedVerifier | DasdError],
) -> None:
    if graded and (verifier is None or answer is None):
        raise InputError("no answer or no verifier, and it is to be graded")
    if verifier is None:
        return
    how = VerifierSettings.of(verifier)
    if how.component not in verifiers:
        try:
            registry.check_verifier(how)
            verifiers[how.component] = registry.make_verifier(how.name, how.options)
        except DasdError as error:
            verifiers[how.component] = error
    made = verifiers[how.component]
    if isinstance(made, DasdError):
        raise made
    if answer is not None:
        made.check(answer, how.argument)


def answerable(
    rows: pl.DataFrame,
    role: str,
    prompts: Prompts | None,
    max_tokens: int,
    system_prompt: str | None,
    sieve: Sieve,
) -> pl.DataFrame:
    """The questions to which the context of a model has room for an answer, and that its chat template takes."""
    if prompts is None or not rows.height:
        return rows
    asked = with_system_prompt(rows, system_prompt)
    long, refused = unanswerable(asked, role, prompts, max_tokens)
    why = {row: ("no_room", detail) for row, detail in long.items()}
    why |= {row: ("refused", detail) for row, detail in refused.items()}
    sources = rows.get_column("source").to_list()
    for source, size in rows.group_by("source", maintain_order=True).len().iter_rows():
        here = [row for row in why if sources[row] == source]
        if len(here) == size:
            raise InputError(
                f"none of the {size} questions of {source!r} can be asked; {_named(rows, here[0])}: {why[here[0]][1]}"
            )
    return sieve.take_all(rows, why)


def with_system_prompt(questions: pl.DataFrame, prompt: str | None) -> pl.DataFrame:
    """Put ``prompt`` before every conversation without a system message of its own."""
    if prompt is None:
        return questions
    turn = pl.element().struct
    told = pl.col("messages").list.eval(turn.field("role") == "system").list.any()
    kind = questions.schema["messages"]
    first = pl.lit(pl.Series([[{"role": "system", "content": prompt}]], dtype=kind)).first()
    return questions.with_columns(pl.when(told).then("messages").otherwise(first.list.concat("messages")))


def without_repeats(
    train: pl.DataFrame,
    evaluation: pl.DataFrame,
    benchmarks: pl.DataFrame,
    settings: DedupSettings,
    sieve: Sieve,
) -> pl.DataFrame:
    """The training questions that neither are a benchmark's nor say nearly what an earlier one says.

    ``benchmarks``: see ``decontamination.benchmark_questions``.
    """
    asked = dict(zip(contents(evaluation), range(evaluation.height), strict=True))
    shared = {row: asked[content] for row, content in enumerate(contents(train)) if content in asked}
    train = sieve.take(
        train,
        "evaluation_question",
        {
            row: f"the same as {_named(evaluation, at)} of {evaluation['source'][at]}"
            for row, at in shared.items()
        },
    )
    found = contamination(train, benchmarks, settings)
    ngram = settings.contamination_ngram
    train = sieve.take(
        train,
        "contaminated",
        {
            row: f"{overlap.share:.0%} of its {ngram}-grams are in benchmark questions, {overlap.question_share:.0%} "
            f"in question {overlap.question_id} of {overlap.benchmark}"
            for row, overlap in found.items()
        },
    )
    if settings.near_questions is None:
        return train
    repeats = near_repeats(train, settings.near_questions, settings.ngram)
    return sieve.take(
        train,
        "near_duplicate",
        {each.row: f"{each.similarity:.0%} like {_named(train, each.of)}" for each in repeats},
    )


def contents(questions: pl.DataFrame) -> list[str]:
    """One text a conversation, to compare whole conversations: a line of JSON a turn."""
    turns = pl.col("messages").list.eval(pl.element().struct.json_encode())
    return questions.select(turns.list.join("\n")).to_series().to_list()


def _named(rows: pl.DataFrame, row: int) -> str:
    return with_place(rows["question_id"][row], rows["place"][row])

"""The questions of a recipe, read and counted as the run will do it, and all that is wrong with them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import polars as pl
from pydantic import JsonValue

from dasd.base.progress import Console
from dasd.base.records import Message
from dasd.base.schemas import QUESTIONS
from dasd.errors import DasdError, InputError, NotHereError, StoreError
from dasd.evaluation.terms import EvaluationTerms, default_terms, terms_of
from dasd.models.files import declared_context
from dasd.models.pool import ModelPool
from dasd.models.tokens.chat import ChatTokenizer
from dasd.pipeline.plan.models import find_model
from dasd.pipeline.plan.records import UNKNOWN, Amount, Finding
from dasd.pipeline.plan.shares import Askable, check_shares
from dasd.pipeline.stages.questions import QuestionsStage
from dasd.pipeline.work.context_room import Prompts
from dasd.pipeline.work.stage import StageContext
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.recipe.model_settings import ModelSettings
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.stage_settings import OffPolicyStage
from dasd.store import FinishedInputs, PartRows

__all__ = ["BenchmarkFacts", "QuestionFacts", "read_questions"]

SPLITS = ("train", "eval")


@dataclass(frozen=True, slots=True)
class BenchmarkFacts:
    """The questions of one source of ``questions.eval``, and how they are evaluated."""

    labels: tuple[str, ...]
    """What QUESTIONS rows carry as ``source``: one, unless a plugin's source holds several benchmarks."""
    questions: Amount
    how: EvaluationTerms
    max_tokens_key: str
    """Key of the recipe that changes its cap on tokens."""

    @property
    def label(self) -> str:
        """For people."""
        return ", ".join(self.labels)


@dataclass(frozen=True, slots=True)
class QuestionFacts:
    """Counts of both splits, and the questions as far as they could be read."""

    train: Amount
    evaluation: Amount
    rows: pl.DataFrame
    """QUESTIONS rows, system prompt included where the whole stage could be run."""
    all_here: bool
    """No source is missing from this machine."""
    benchmarks: tuple[BenchmarkFacts, ...]
    """One for each of ``questions.eval``."""
    askable: Mapping[str, Askable]
    """By the name of the off-policy stage; none where a source couldn't be counted."""


class _Collected(Console):
    """Keeps warnings instead of printing them."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class _Memory:
    """A StageWriter that keeps rows in memory; files go to a directory that is thrown away."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.frames: dict[str, list[pl.DataFrame]] = {}
        self.summary: dict[str, JsonValue] = {}

    def append(self, frame: str, rows: pl.DataFrame, key: str = "") -> None:  # noqa: ARG002 (a protocol's)
        self.frames.setdefault(frame, []).append(rows)

    def finish_unit(self, key: str) -> None:
        del key

    def done(self) -> Set[str]:
        return frozenset()

    def read(self, frame: str) -> pl.LazyFrame:
        return pl.concat(self.frames[frame]).lazy()

    def rows(self, frame: str, keys: str = "") -> PartRows:
        raise StoreError(f"{frame} {keys}: rows that are kept in memory lie in no parts")

    def artifact(self, relative: str) -> Path:
        return self.directory / relative

    def scratch(self) -> Path:
        return self.directory

    def summarise(self, summary: Mapping[str, JsonValue]) -> None:
        self.summary.update(summary)

    def event(self, kind: str, **fields: JsonValue) -> None:
        del kind, fields


def read_questions(
    recipe: Recipe, registry: Registry, *, with_data: bool = True
) -> tuple[QuestionFacts, list[Finding]]:
    """Run stage ``questions`` in memory; where that fails look at every source, so that all is told at once.

    A file that isn't here but whose source says ``count`` is planned with that count, as an upper bound.
    ``with_data``: the run of ``data``, which brings the training questions, can be read.
    """
    absent = _absent(recipe)
    if not absent and with_data:
        try:
            rows, labels, askable, told = _run(recipe, registry)
        except DasdError as error:
            facts, findings = _by_source(recipe, registry, {})
            told_already = isinstance(error, NotHereError) or any(f.level == "problem" for f in findings)
            return facts, findings if told_already else [
                *findings,
                Finding("problem", "questions", str(error)),
            ]
        findings = [Finding("warning", "questions", text) for text in told]
        counts = [Amount.exactly(rows.filter(pl.col("split") == split).height) for split in SPLITS]
        asked = rows.filter(pl.col("split") == "eval")
        names: list[list[str]] = [[] for _ in recipe.settings.questions.eval]
        for label, number in labels.items():
            names[int(str(number))].append(label)
        benchmarks = tuple(
            _benchmark(
                recipe,
                registry,
                number,
                of,
                Amount.exactly(asked.filter(pl.col("source").is_in(of)).height),
            )
            for number, of in enumerate(names)
        )
        findings += check_shares(recipe.settings, askable)
        return QuestionFacts(counts[0], counts[1], rows, True, benchmarks, askable), findings
    facts, findings = _by_source(recipe, registry, absent)
    return replace(facts, train=UNKNOWN) if recipe.settings.data is not None else facts, findings


def _absent(recipe: Recipe) -> dict[str, int]:
    """Sources, by their key, whose file isn't here but that say how many questions it will hold."""
    return {
        key: source.count
        for key, _, source in _sources(recipe)
        if source.count is not None and (path := _path(source)) is not None and not path.exists()
    }


def _off_policy(recipe: Recipe) -> list[OffPolicyStage]:
    return [stage for stage in recipe.settings.stages if isinstance(stage, OffPolicyStage)]


def _by_domain(rows: pl.DataFrame) -> dict[str, int]:
    return {str(domain): int(count) for domain, count in rows.get_column("domain").value_counts().iter_rows()}


def _sources(recipe: Recipe) -> list[tuple[str, str, QuestionSource]]:
    """Key, split and settings of every source."""
    section = recipe.settings.questions
    sections = [("questions.train", "train", section.train), ("questions.eval", "eval", section.eval)]
    for index, stage in enumerate(recipe.settings.stages):
        sections.append((f"stages.{index}.sources", "train", getattr(stage, "sources", ())))
    return [
        (f"{key}.{number}", split, source)
        for key, split, sources in sections
        for number, source in enumerate(sources)
    ]


def _path(source: QuestionSource) -> Path | None:
    path = source.options.get("path")
    return Path(path) if isinstance(path, str) else None


def _benchmark(
    recipe: Recipe, registry: Registry, number: int, labels: Sequence[str], count: Amount
) -> BenchmarkFacts:
    source = recipe.settings.questions.eval[number]
    evaluation = recipe.settings.evaluation
    default = default_terms(evaluation)
    try:
        how = terms_of(source, evaluation, registry)
        own = source.max_tokens or registry.component("questions", source.source).max_tokens
    except DasdError:  # told with the recipe
        how, own = default, None
    key = "evaluation.max_tokens" if own is None else f"questions.eval.{number}.max_tokens"
    return BenchmarkFacts(tuple(labels) or (source.name or source.source,), count, how, key)


def _run(
    recipe: Recipe, registry: Registry
) -> tuple[pl.DataFrame, Mapping[str, JsonValue], dict[str, Askable], list[str]]:
    """QUESTIONS rows, label -> number of its evaluation source, what each stage may ask, and warnings."""
    console = _Collected()
    with tempfile.TemporaryDirectory(prefix="dasd-plan-") as place:
        writer = _Memory(Path(place))
        stage = QuestionsStage(recipe, registry, prompts=_prompts)
        inputs = FinishedInputs(stage.name, {})
        stage.run(StageContext(stage.name, recipe, registry, ModelPool(registry), writer, inputs, console))
    labels = writer.summary["benchmarks"]
    found = labels if isinstance(labels, Mapping) else {}
    rows = pl.concat(writer.frames["questions"])
    train = rows.filter(pl.col("split") == "train")
    askable = {}
    for of in _off_policy(recipe):
        own = train
        if "asked" in writer.frames:
            asked = pl.concat(writer.frames["asked"]).filter(pl.col("stage") == of.name)
            own = train.join(asked, on="question_id", how="semi")
        askable[of.name] = Askable(_by_domain(own), exact=True)
    return rows, found, askable, console.warnings


def _prompts(settings: ModelSettings) -> Prompts | None:
    """From the model's files; None where they aren't here. What is wrong with them is told with the models."""
    try:
        path = find_model(settings)
        here = settings.model_copy(update={"model": str(path)})
        context = declared_context(here) if path is not None else None
    except DasdError:
        return None
    if context is None:
        return None

    @cache
    def chat() -> ChatTokenizer | None:
        try:
            return ChatTokenizer.load(here)
        except (DasdError, ImportError):
            return None

    def count(conversations: Sequence[Sequence[Message]]) -> list[int]:
        if (known := chat()) is None:
            return [0] * len(conversations)
        try:
            return [len(ids) for ids in known.prompts_ids(conversations)]
        except InputError:
            if len(conversations) == 1:
                raise
            return [0] * len(conversations)  # the system prompt is refused, which is told with the models

    return Prompts(context, count)


def _by_source(
    recipe: Recipe, registry: Registry, absent: Mapping[str, int]
) -> tuple[QuestionFacts, list[Finding]]:
    findings: list[Finding] = []
    frames: list[pl.DataFrame] = []
    counts: dict[str, list[int | None]] = {split: [] for split in SPLITS}
    labels: list[list[str]] = [[] for _ in recipe.settings.questions.eval]
    train: dict[str, Askable | None] = {}
    for of, split, source in _sources(recipe):
        path = _path(source)
        key = of + (".options.path" if path is not None else "")
        count = absent.get(of)
        if count is not None:
            text = f"{path} isn't here; planned with count: {count}, and nothing in it is checked"
            findings.append(Finding("warning", key, text, "put the file there before the run"))
            counts[split].append(count)
            if split == "train":
                train[of] = _unread(source, count)
            continue
        try:
            read = registry.make_questions(source.source).load(source, split, recipe.settings.seed)
        except DasdError as error:
            count = _registered(registry, source) if isinstance(error, NotHereError) else None
            if count is None:
                findings.append(Finding("problem", key, str(error)))
            else:
                text = f"planned with about {count} questions, and nothing in them is checked. {error}"
                findings.append(Finding("warning", key, text))
            counts[split].append(count)
            if split == "train":
                train[of] = None if count is None else _unread(source, count)
            continue
        findings += [Finding("warning", key, str(each)) for each in read.set_aside]
        rows = read.rows
        if not rows.height:
            findings.append(Finding("problem", key, "the source holds no question of this split"))
        counts[split].append(rows.height)
        if split == "train":
            train[of] = Askable(_by_domain(rows))
        if source.name is not None:
            rows = rows.with_columns(source=pl.lit(source.name))
        if split == "eval":
            labels[int(of.rpartition(".")[2])] = (
                rows.get_column("source").unique(maintain_order=True).to_list()
            )
        frames.append(rows)
    amounts = [_sum(counts[split]) for split in SPLITS]
    benchmarks = tuple(
        _benchmark(
            recipe, registry, number, labels[number], UNKNOWN if count is None else Amount(count, count)
        )
        for number, count in enumerate(counts["eval"])
    )
    rows = pl.concat([QUESTIONS.empty(), *frames])
    askable = {}
    for index, stage in enumerate(recipe.settings.stages):
        if isinstance(stage, OffPolicyStage):
            pool = f"stages.{index}.sources." if stage.sources else "questions.train."
            together = _together([each for name, each in train.items() if name.startswith(pool)])
            if together is not None:
                askable[stage.name] = together
    findings += check_shares(recipe.settings, askable)
    all_here = rows.height == sum(count or 0 for of in counts.values() for count in of)
    return QuestionFacts(amounts[0], amounts[1], rows, all_here, benchmarks, askable), findings


def _registered(registry: Registry, source: QuestionSource) -> int | None:
    """Questions of a source that can't be had, as its plugin says."""
    count = registry.component("questions", source.source).count
    return count if count is None or source.count is None else min(count, source.count)


def _unread(source: QuestionSource, count: int) -> Askable:
    return Askable({}, count) if source.domain is None else Askable({source.domain: count})


def _together(sources: Sequence[Askable | None]) -> Askable | None:
    """All that is askable of several sources; None where one of them couldn't be counted."""
    domains: dict[str, int] = {}
    unsaid = 0
    for source in sources:
        if source is None:
            return None
        unsaid += source.unsaid
        for domain, count in source.domains.items():
            domains[domain] = domains.get(domain, 0) + count
    return Askable(domains, unsaid)


def _sum(counts: list[int | None]) -> Amount:
    """Of sources that could be counted; repeats and overlaps are still among them, so a bound."""
    if any(count is None for count in counts):
        return UNKNOWN
    total = sum(count or 0 for count in counts)
    return Amount(total, total)

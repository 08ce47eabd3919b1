"""Procedural questions of the package reasoning-gym."""

from __future__ import annotations

import json
import warnings
from types import ModuleType

from pydantic import Field, JsonValue

from dasd.base.records import Message, QuestionRows
from dasd.base.seeds import seed_of
from dasd.curation.sources.rows import question_row, questions_frame
from dasd.errors import InputError, PluginError
from dasd.plugins.components import Options
from dasd.recipe.question_settings import QuestionSource

__all__ = ["GymOptions", "GymQuestions", "reasoning_gym_package"]

DEFAULT_COUNT = 500


class GymOptions(Options):
    """Options of the source ``reasoning-gym``."""

    dataset: str = Field(description="Name of the set, e.g. `chain_sum`.")
    seed: int | None = Field(None, ge=0, description="Seed of the questions; the recipe's when absent.")
    config: dict[str, JsonValue] = Field(default_factory=dict, description="The set's own configuration.")


class GymQuestions:
    """Questions of one reasoning-gym set; training and evaluation draw with different seeds."""

    def load(self, source: QuestionSource, split: str, seed: int) -> QuestionRows:
        """``source.count`` (500 when absent) QUESTIONS rows, fewer where the set repeats a question.

        The verifier is ``reasoning-gym:`` and a JSON object (dataset, seed, size, index, config), from which
        the set's own scorer is made again. Raises InputError for an unknown set or a wrong configuration.
        """
        options = GymOptions.model_validate(source.options)
        count = DEFAULT_COUNT if source.count is None else source.count
        base = seed if options.seed is None else options.seed
        gym_seed = seed_of("reasoning-gym", options.dataset, split, base) % 2**31
        rows: dict[str, dict[str, object]] = {}
        for index, (question, answer) in enumerate(_entries(options, count, gym_seed)):
            argument = {
                "dataset": options.dataset,
                "seed": gym_seed,
                "size": count,
                "index": index,
                "config": options.config,
            }
            row = question_row(
                [Message("user", question)],
                identifier=None,
                domain=source.domain or options.dataset,
                answer=answer,
                verifier=f"reasoning-gym:{json.dumps(argument, sort_keys=True)}",
                source=options.dataset,
                split=split,
            )
            rows.setdefault(question, row)
        return QuestionRows(questions_frame(list(rows.values())))


def reasoning_gym_package(who: str) -> ModuleType:
    """The module ``reasoning_gym``. Raises PluginError, naming who needs it, where it isn't installed."""
    try:
        with warnings.catch_warnings():
            # One of its dependencies compares strings by identity, which Python tells when it compiles it.
            warnings.simplefilter("ignore", SyntaxWarning)
            import reasoning_gym
    except ImportError as error:
        raise PluginError(f"{who} needs the package reasoning-gym: pip install 'dasd[gym]'") from error
    module: ModuleType = reasoning_gym
    return module


def _entries(options: GymOptions, count: int, seed: int) -> list[tuple[str, str]]:
    """Question and answer ("" where the set has no single one) of every entry."""
    reasoning_gym = reasoning_gym_package("the source 'reasoning-gym'")
    try:
        entries = reasoning_gym.create_dataset(options.dataset, seed=seed, size=count, **options.config)
        return [(entry["question"], entry["answer"] or "") for entry in entries]
    except (ValueError, TypeError, AssertionError) as error:
        raise InputError(f"questions from 'reasoning-gym', set {options.dataset!r}: {error}") from error

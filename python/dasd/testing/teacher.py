"""The suite of a teacher: sampling, continuing, scoring and being kept full, with a real model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from dasd.api import Teacher
from dasd.plugins.components import Role
from dasd.recipe.model_settings import ModelSettings
from dasd.testing.bench import QUESTIONS, Bench
from dasd.testing.continuing import ContinuingChecks
from dasd.testing.feeding import FeedingChecks
from dasd.testing.scoring import ScoringChecks

__all__ = ["TeacherSuite"]


class TeacherSuite(ContinuingChecks, ScoringChecks, FeedingChecks):
    """Set ``name``; ``options`` or ``make_options`` where the backend has some.

    The engine is opened once for the class. Override ``make_settings`` for another model, or the fixture
    ``settings`` where it depends on fixtures of yours (a server that has to run).
    """

    role: ClassVar[Role] = "teacher"
    model: ClassVar[str] = "dasd:mini-teacher"
    """The model to run; its tokenizer has to be on this disk."""
    precision: ClassVar[Literal["fp32", "bf16"]] = "fp32"
    device: ClassVar[str] = "cpu"
    batch_size: ClassVar[int] = 4
    questions: ClassVar[tuple[str, ...]] = QUESTIONS
    """What is asked, as user messages: at least four of about like length."""
    max_tokens: ClassVar[int] = 100
    """Cap on new tokens where a check doesn't set its own; enough for some responses to end."""

    _benches: ClassVar[dict[type, Bench]] = {}

    @classmethod
    def make_settings(cls, directory: Path) -> ModelSettings:
        """The section ``teacher`` of a recipe that the backend is started with."""
        return ModelSettings(
            model=cls.model,
            backend=cls.name,
            precision=cls.precision,
            device=cls.device,
            batch_size=cls.batch_size,
            options=dict(cls.make_options(directory)),
        )

    @classmethod
    def make_teacher(cls, settings: ModelSettings) -> Teacher:
        """Start the engine through the registry, which checks every frame that it yields."""
        return cls.registry().make_teacher(settings)

    @pytest.fixture
    def settings(self) -> ModelSettings:
        """What ``make_settings`` gives; may be overridden with a fixture that needs others."""
        return self.make_settings(self.directory())

    @pytest.fixture
    def bench(self, settings: ModelSettings) -> Iterator[Bench]:
        """The class's engine and what it is asked."""
        cls = type(self)
        bench = cls._benches.get(cls)
        if bench is None or bench.settings != settings:
            if bench is not None:
                bench.close()
            bench = cls._benches[cls] = Bench(self.make_teacher, settings, self.questions, self.max_tokens)
        yield bench

    @classmethod
    def teardown_class(cls) -> None:
        """Called by pytest after the last test of the class: closes the engine."""
        bench = cls._benches.pop(cls, None)
        if bench is not None:
            bench.close()
        super().teardown_class()

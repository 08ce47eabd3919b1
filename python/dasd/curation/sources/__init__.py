"""Built-in question sources, registered through the same hook as any plugin's."""

from __future__ import annotations

from dasd.curation.sources.file import FileOptions, FileQuestions
from dasd.curation.sources.gym import GymOptions, GymQuestions
from dasd.curation.sources.mini import MiniatureOptions, MiniatureQuestions
from dasd.plugins.registry import Registry
from dasd.plugins.roles import hookimpl


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register ``file``, ``reasoning-gym`` and ``miniature``."""
    registry.questions(
        "file",
        FileQuestions,
        options=FileOptions,
        doc="JSONL, Parquet or CSV of yours: chat messages or question texts, answers, verifiers.",
        argument="path",
    )
    registry.questions(
        "reasoning-gym",
        GymQuestions,
        options=GymOptions,
        doc="A procedural set of the package reasoning-gym, graded by its own verifier.",
        argument="dataset",
    )
    registry.questions(
        "miniature",
        MiniatureQuestions,
        options=MiniatureOptions,
        doc="Sums of six one-digit numbers, the task of the bundled miniature models.",
    )

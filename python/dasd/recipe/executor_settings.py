"""Section ``executor``: where a run's engines are opened."""

from __future__ import annotations

from pydantic import Field, JsonValue

from dasd.recipe.section import Section

__all__ = ["LOCAL", "ExecutorSettings"]

LOCAL = "local"
"""The executor of this machine, and of a recipe that says nothing."""


class ExecutorSettings(Section):
    """Where the engines of teacher and student run. It changes how fast and never what comes of it.

    No fingerprint has it: a run that was begun on this machine goes on upon a cluster, and the other way round.
    """

    executor: str = Field(LOCAL, description="Executor, by its registered name; `local`: this machine.")
    options: dict[str, JsonValue] = Field(
        default_factory=dict, description="The executor's own options, checked by the executor."
    )

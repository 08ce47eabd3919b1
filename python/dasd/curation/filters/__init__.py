"""Built-in response filters, registered through the same hook as any plugin's."""

from __future__ import annotations

from dasd.curation.filters.form import LengthFilter, StructureFilter, ToolCallFilter, TruncationFilter
from dasd.curation.filters.quality import AnswerFilter, RepetitionFilter
from dasd.plugins.registry import Registry
from dasd.plugins.roles import hookimpl
from dasd.recipe.curation_settings import FilterSettings

__all__ = ["BUILT_IN", "dasd_register", "wanted_filters"]

BUILT_IN = ("truncated", "length", "structure", "tool_calls", "repetition", "answer")
"""In the order in which they judge: the first that drops a response gives the reason."""


@hookimpl
def dasd_register(registry: Registry) -> None:
    """Register the six built-in filters."""
    registry.filter(
        "truncated", lambda _, __: TruncationFilter(), doc="Drops responses that hit the cap on tokens."
    )
    registry.filter(
        "length",
        lambda _, max_length: LengthFilter(max_length),
        doc="Drops responses over the training context by the student's tokenizer, prompt included.",
    )
    registry.filter(
        "structure",
        lambda settings, _: StructureFilter(settings.structure),
        doc="Wants non-empty reasoning between think tags, then a non-empty answer.",
    )
    registry.filter("tool_calls", lambda _, __: ToolCallFilter(), doc="Drops tool and function calls.")
    registry.filter(
        "repetition",
        lambda settings, _: RepetitionFilter(settings.repetition_share, settings.loop_tokens),
        doc="Drops responses that loop, repeat paragraphs or sentences, or consist of repeated n-grams.",
    )
    registry.filter(
        "answer", lambda _, __: AnswerFilter(), doc="Drops answers that the verifier finds wrong."
    )


def wanted_filters(settings: FilterSettings) -> list[str]:
    """Names of the filters that a recipe asks for, in the order in which they judge."""
    on = {
        "truncated": settings.truncated,
        "length": settings.length,
        "structure": True,  # with `any` it still refuses an empty response
        "tool_calls": settings.tool_calls,
        "repetition": settings.repetition,
        "answer": settings.answer,
    }
    return [name for name in BUILT_IN if on[name]] + list(settings.extra)

"""What every section of a recipe is made from, and bounds that several of them share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["LONGEST_NAME", "Section"]

LONGEST_NAME = 100
"""Characters of a name that becomes part of file names, which have at most 255 bytes."""


class Section(BaseModel):
    """Base of every section: unknown keys are refused, no bool or text is a number, values never change.

    Fields that hold a tuple say ``strict=False``, so that a list of YAML is one; its items stay strict.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), strict=True, allow_inf_nan=False
    )

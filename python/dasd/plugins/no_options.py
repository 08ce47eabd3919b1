"""Options of components that have none."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["NoOptions"]


class NoOptions(BaseModel):
    """Any key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

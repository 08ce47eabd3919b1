"""Options that selectors share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["NoOptions"]


class NoOptions(BaseModel):
    """A selector without options: any key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

"""How a question or a source names a verifier: by a text, or with options as keys and values."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, JsonValue, ValidationError, model_validator

from dasd.errors import InputError
from dasd.recipe.section import Section

__all__ = ["VerifierSettings"]


class VerifierSettings(Section):
    """A verifier as a question or a source names it: a text `name` or `name:argument`, or these keys.

    A row of a file has them as an object, or as its JSON text where a cell can hold texts alone.
    """

    name: str = Field(min_length=1, description="Verifier, by its registered name.")
    argument: str = Field("", description="What the verifier gets besides the answer, e.g. a tolerance.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="The verifier's own options.")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        if data.startswith("{"):
            try:
                return json.loads(data)
            except RecursionError as error:
                raise ValueError("not JSON: nested too deeply") from error
        name, _, argument = data.partition(":")
        return {"name": name, "argument": argument}

    @classmethod
    def of(cls, value: object) -> VerifierSettings:
        """From a text of QUESTIONS or a cell of a user's file. Raises InputError that says what is wrong with it."""
        if isinstance(value, str) and value and not value.startswith("{"):
            name, _, argument = value.partition(":")
            return cls(name=name, argument=argument)
        if isinstance(value, dict):  # a cell of Parquet has every key of its column
            value = {key: part for key, part in value.items() if part is not None}
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            from dasd.recipe.problems import describe

            raise InputError("; ".join(line.strip() for line in describe(error, cls, "verifier"))) from error

    @property
    def text(self) -> str:
        """As column ``verifier`` of QUESTIONS holds it; ``of`` reads it back."""
        if self.options:
            return json.dumps(self.model_dump(exclude_defaults=True), sort_keys=True, ensure_ascii=False)
        return f"{self.name}:{self.argument}" if self.argument else self.name

    @property
    def component(self) -> str:
        """The same for all that one verifier grades: name and options, whatever the argument."""
        return self.model_copy(update={"argument": ""}).text

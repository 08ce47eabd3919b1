"""Licences as far as they are on record: told by the user, or written beside the model. Never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml

from dasd.base.small_files import read_json, read_small
from dasd.errors import InputError
from dasd.models.files import resolve_model
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.yaml import plain
from dasd.results.cards.names import hub_name
from dasd.results.cards.options import CardOptions

__all__ = ["UNKNOWN", "Licence", "Licences", "find_licences", "front_matter"]

UNKNOWN = "unknown"
"""The hub's identifier of a licence that nobody has stated."""


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence and how it is known."""

    name: str = UNKNOWN
    told_by: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.told_by})" if self.told_by else "unknown: no source states it"


@dataclass(frozen=True, slots=True)
class Licences:
    """Of everything that has part in a model or a data set."""

    own: Licence
    base: Licence
    teacher: Licence
    data: Licence


def find_licences(settings: RecipeSettings, options: CardOptions) -> Licences:
    """The user's word first, then what the model's own files say."""
    return Licences(
        own=_told(options.license) or Licence(),
        base=_told(options.base_license) or _of_model(settings.student.model),
        teacher=_told(options.teacher_license) or _of_model(settings.teacher.model),
        data=_told(options.data_license) or Licence(),
    )


def front_matter(text: str) -> dict[str, object]:
    """The YAML block that a card begins with; empty for a card without one, or with one that isn't YAML."""
    lines = text.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    try:
        found = plain("\n".join(lines[1 : 1 + [line.strip() for line in lines[1:]].index("---")]))
    except (ValueError, KeyError, RecursionError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _told(name: str | None) -> Licence | None:
    return Licence(name, "as told by who made this card") if name else None


def _of_model(model: str) -> Licence:
    directory = _directory(model)
    if directory is None:
        return Licence()
    readme, config = directory / "README.md", directory / "config.json"
    if readme.is_file():
        block = front_matter(read_small(readme).decode("utf-8", "replace"))
        name = _word(block.get("license"))
        if name == "other":
            name = _word(block.get("license_name")) or name
        if name:
            return Licence(name, "from its model card")
    if config.is_file():
        try:
            name = _word(read_json(config).get("license"))
        except (OSError, ValueError, AttributeError):
            name = ""
        if name:
            return Licence(name, "from its config.json")
    return Licence()


def _word(value: object) -> str:
    """A licence's name, "" for anything else; several are joined."""
    if isinstance(value, list):
        return ", ".join(filter(None, map(_word, value)))
    return value.strip() if isinstance(value, str) else ""


def _directory(model: str) -> Path | None:
    """Where the model's files lie on this machine: its directory, or the hub's cache. Nothing is fetched."""
    if (name := hub_name(model)) is not None:
        from huggingface_hub import try_to_load_from_cache

        for file in ("README.md", "config.json"):
            found = try_to_load_from_cache(name, file)
            if isinstance(found, str):
                return Path(found).parent
        return None
    try:
        path = Path(resolve_model(model))
    except InputError:
        return None
    return path if path.is_dir() else None

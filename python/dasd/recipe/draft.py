"""Recipes: YAML files (or mappings) into settings, with overrides and absolute paths."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dasd.base.suggest import did_you_mean
from dasd.errors import RecipeError
from dasd.recipe import yaml as recipe_yaml
from dasd.recipe.evaluation_recipe import recipe_model
from dasd.recipe.paths import resolve_paths
from dasd.recipe.problems import MOST_PROBLEMS, describe, show
from dasd.recipe.question_settings import QuestionSource
from dasd.recipe.secrets import refuse_secrets
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.stage_settings import MixedPolicyStage, OffPolicyStage, OnPolicyStage
from dasd.recipe.training_settings import LoraSettings, TrainerSettings
from dasd.recipe.yaml import KeyPath, dotted

BUNDLED = Path(__file__).parent / "bundled"


@dataclass(frozen=True, slots=True)
class BundledRecipe:
    """A recipe that ships with dasd."""

    name: str
    path: Path
    summary: str
    """The first line of the comment at its head."""


def bundled() -> list[BundledRecipe]:
    """The recipes that ship with dasd, by name."""
    found = []
    for path in sorted(BUNDLED.glob("*.yaml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        found.append(BundledRecipe(path.stem, path, first.removeprefix("#").strip()))
    return found


def find(reference: str | Path) -> Path:
    """The file of a bundled recipe's name or of a path; RecipeError says which names there are."""
    names = [recipe.name for recipe in bundled()]
    if isinstance(reference, str) and reference in names:
        return BUNDLED / f"{reference}.yaml"
    path = Path(reference).expanduser()
    if path.is_dir():
        raise RecipeError(
            f"{path} is a directory; wanted a recipe file or one of {', '.join(names)}"
            + (f"; this run's is {path / 'recipe.yaml'}" if (path / "recipe.yaml").is_file() else "")
        )
    if not path.is_file():
        raise RecipeError(
            f"there is no recipe {str(reference)!r}: neither a file nor a name"
            + did_you_mean(str(reference), names)
            + f" Bundled: {', '.join(names)}."
        )
    return path


class RecipeDraft:
    """A recipe before validation: raw data, and for every key path the place where it was set."""

    def __init__(self, data: dict[str, Any], name: str, path: Path | None, lines: dict[KeyPath, int]) -> None:
        self.data = data
        self.name = name
        self.path = path
        self.lines = lines
        self.overridden: dict[KeyPath, str] = {}
        """Key paths that ``-o`` set, each as messages show what was given."""

    @classmethod
    def read(cls, source: str | Path | Mapping[str, Any]) -> RecipeDraft:
        """From a mapping, a file, or a bundled recipe's name. Raises RecipeError for what is no mapping of keys."""
        lines: dict[KeyPath, int] = {}
        if isinstance(source, Mapping):
            data: Any = copy.deepcopy(dict(source))
            name, path = "recipe", None
        else:
            path = find(source)
            name = str(path) if path.parent != BUNDLED else f"recipe {path.stem}"
            data, lines = recipe_yaml.read(path, name)
        if not isinstance(data, dict):
            got = "nothing" if data is None else show(data)
            raise RecipeError(f"{name}: wanted keys and values (teacher, student, stages ...), got {got}")
        return cls(data, name, path, lines)

    def where(self, path: KeyPath, across: bool = False) -> str:
        """Where the nearest thing at or above ``path`` was set, with a colon for the message.

        What no file holds and ``-o`` has set something in is that ``-o``'s. ``across``: the problem is of
        several keys of a section, so an ``-o`` of another one is named as well.
        """
        beside = [text for key, text in self.overridden.items() if across and key[:-1] == path[:-1]]
        for length in range(len(path), -1, -1):
            above = path[:length]
            if above in self.overridden:
                return f"{self.overridden[above]}: "
            if above in self.lines:
                line = f"{self.name}, line {self.lines[above]}"
                if not beside:
                    return f"{line}: "
                return f"{line}, and {beside[-1]}: " if length == len(path) else f"{beside[-1]}: "
            below = [text for key, text in self.overridden.items() if key[:length] == above]
            if length and below:
                return f"{below[-1]}: "
        return f"{self.name}: "

    def _without_value(self, path: KeyPath) -> str:
        """As ``where``, for a value that may be a secret."""
        place = self.where(path)
        return f"{place.partition('=')[0]}: " if place.startswith("-o ") else place

    def override(self, text: str) -> None:
        """Apply ``key.path=value``; list items by index or by their ``name``."""
        key, equals, raw = text.partition("=")
        parts = [part.strip() for part in key.split(".")]
        if not equals or not all(parts):
            raise RecipeError(f"-o {text}: wanted key=value, e.g. -o stages.high.temperature=0.9")
        if len(parts) > recipe_yaml.LEVELS or recipe_yaml.UNWRITABLE.search(text):
            raise RecipeError(
                f"-o {_shown(key, raw)[3:]}: wanted UTF-8, and at most {recipe_yaml.LEVELS} parts of a key"
            )
        path: list[str | int] = []
        here: Any = self.data
        for part in parts[:-1]:
            step = _step(here, part, text)
            path.append(step)
            if isinstance(here, dict) and here.get(step) is None:
                here[step] = {}
            here = here[step]
            if not isinstance(here, (dict, list)):
                raise RecipeError(f"-o {text}: {dotted(tuple(path))} is {show(here)}, with no keys below")
        last = _step(here, parts[-1], text)
        here[last] = recipe_yaml.value(raw)
        path.append(last)
        whole = tuple(path)
        self.lines = {known: line for known, line in self.lines.items() if known[: len(whole)] != whole}
        self.overridden[whole] = _shown(key, raw)

    def default(self, section: str, key: str, value: str | list[str]) -> None:
        """Set a key that neither the file nor an override sets."""
        keys = self.data.setdefault(section, {})
        if isinstance(keys, dict):
            keys.setdefault(key, value)

    def validate(self) -> RecipeSettings:
        """Settings, or one RecipeError with all problems."""
        refuse_secrets(self.data, self._without_value)
        for name in [name for name, section in self.data.items() if section is None]:
            del self.data[name]  # a section whose keys are all commented out
        stages = self.data.get("stages")
        for stage in stages if isinstance(stages, (list, tuple)) else ():
            if isinstance(stage, dict):
                stage.setdefault("kind", "off-policy")  # a tagged union needs its tag
        # Bundled recipes lie inside the package: paths in them are the user's, from the working directory.
        base = self.path.parent if self.path is not None and self.path.parent != BUNDLED else None
        resolve_paths(self.data, base, self.overridden)
        kind = recipe_model(self.data)
        try:
            settings = kind.model_validate(self.data)
        except ValidationError as error:
            problems = describe(error, kind, (), self.where, kind)
            raise RecipeError(self._headed(problems)) from error
        problems = self._across(settings)
        if problems:
            raise RecipeError(self._headed(problems))
        return settings

    def _headed(self, problems: Sequence[str]) -> str:
        count = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
        if len(problems) > MOST_PROBLEMS:
            count = f"more than {MOST_PROBLEMS} problems"
        return f"{count} in {self.name}:\n" + "\n".join(problems)

    def _across(self, settings: RecipeSettings) -> list[str]:
        """Problems that no single key shows."""
        problems: list[str] = []

        def problem(path: KeyPath, text: str) -> None:
            problems.append(f"  {self.where(path)}{dotted(path)}: {text}")

        of_training = ("name", "attempts", "max_tokens")
        checked: list[tuple[KeyPath, Sequence[QuestionSource], tuple[str, ...]]] = [
            (("questions", "train"), settings.questions.train, of_training),
            (("dedup", "against"), settings.dedup.against, ("attempts", "max_tokens")),
        ]
        checked += [
            (("stages", index, "sources"), stage.sources, of_training)
            for index, stage in enumerate(settings.stages)
            if isinstance(stage, OffPolicyStage)
        ]
        for section, sources, keys in checked:
            for index, source in enumerate(sources):
                for key in keys:
                    if getattr(source, key) is not None:
                        problem((*section, index, key), "belongs to a source of questions.eval; take it out")
        self._data(settings, problem)
        seen: dict[str, int] = {}
        off_policy = False
        for index, stage in enumerate(settings.stages):
            at: KeyPath = ("stages", index)
            if stage.name in seen:
                problem((*at, "name"), f"{stage.name!r} is the name of stage {seen[stage.name]} already")
            seen.setdefault(stage.name, index)
            for key in ("candidates", "max_tokens"):
                if getattr(stage, "samples", ()) and getattr(stage, key) is not None:
                    problem(
                        (*at, key), "has no meaning beside `samples`, as no teacher is sampled; take it out"
                    )
            if isinstance(stage, MixedPolicyStage) and not off_policy:
                problem(at, "a mixed-policy stage needs an off-policy stage before it, to cap and balance it")
            if isinstance(stage, OnPolicyStage) and stage.off_policy_share and not off_policy:
                problem(
                    (*at, "off_policy_share"),
                    "is of the responses of an off-policy stage before it, and there is none; take it out",
                )
            off_policy = off_policy or isinstance(stage, OffPolicyStage)
            try:
                settings.trainer_for(stage)
            except ValidationError as error:
                problems += describe(error, TrainerSettings, (*at, "trainer"), self.where, RecipeSettings)
        if not problems:
            for path in _unused_lora(settings):
                problem(path, "wanted trainer.adapter: lora with it, got null: no training has an adapter")
        return problems

    def _data(self, settings: RecipeSettings, problem: Callable[[KeyPath, str], None]) -> None:
        """Keys that say nothing, or nothing right, beside ``data``."""
        if settings.data is None:
            return
        names = [stage.name for stage in settings.stages]
        for name in settings.data.stages:
            if name not in names:
                problem(
                    ("data", "stages", name), f"there is no stage {name!r} here; stages: {', '.join(names)}"
                )
        for index, stage in enumerate(settings.stages):
            if isinstance(stage, OnPolicyStage):
                continue  # what it trains on is of this run
            for key in ("samples", "sources", "candidates", "max_tokens", "per_question", "shares"):
                if getattr(stage, key, None):
                    problem(
                        ("stages", index, key), "is the other run's affair with `data`; take one of them out"
                    )


def _shown(key: str, raw: str) -> str:
    """``-o key=value`` for a message, without a value that would be hard to read there."""
    return f"-o {key}={raw if len(raw) <= 60 and ': ' not in raw and raw.isprintable() else '...'}"


def _unused_lora(settings: RecipeSettings) -> list[KeyPath]:
    """Keys of sections ``lora`` that say something, and no training has an adapter for them."""
    adapted = [settings.trainer_for(stage).adapter is not None for stage in settings.stages]
    found: list[KeyPath] = []
    for index, stage in enumerate(settings.stages):
        own = stage.trainer.get("lora")
        if isinstance(own, dict) and not adapted[index]:
            found += [("stages", index, "trainer", "lora", key) for key in own]
    if settings.stages and not any(adapted):
        plain, own_keys = LoraSettings(), settings.trainer.lora
        changed = [key for key in LoraSettings.model_fields if getattr(own_keys, key) != getattr(plain, key)]
        found += [("trainer", "lora", key) for key in changed]
    return found


def _step(here: Any, part: str, text: str) -> str | int:
    """The key, or the index of the list item, that ``part`` of ``-o text`` means."""
    if not isinstance(here, list):
        return part
    names = [item.get("name") for item in here if isinstance(item, dict)]
    for index, item in enumerate(here):
        if isinstance(item, dict) and item.get("name") == part:
            return index
    if part.isdigit() and int(part) < len(here):
        return int(part)
    known = [str(name) for name in names if name] or [str(index) for index in range(len(here))]
    raise RecipeError(
        f"-o {text}: there is no item {part!r} in this list"
        + did_you_mean(part, known)
        + f" Known: {', '.join(known) or 'none'}."
    )

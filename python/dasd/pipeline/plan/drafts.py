"""A recipe with as much of it as holds, and everything that is wrong with the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dasd.errors import DasdError, PluginError, RecipeError
from dasd.pipeline import compatibility
from dasd.pipeline.plan.records import Finding
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe, request
from dasd.plugins.registry import Registry
from dasd.recipe.draft import RecipeDraft
from dasd.recipe.problems import without_tags
from dasd.recipe.settings import RecipeSettings
from dasd.recipe.yaml import KeyPath, dotted

__all__ = ["Draft", "read_draft"]

_ROUNDS = 20
"""Times that wrong keys are taken out and the rest is looked at again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A recipe that may lack its wrong keys (their defaults stand in), and a registry of what loads."""

    recipe: Recipe | None
    """None where nothing useful is left."""
    registry: Registry
    findings: tuple[Finding, ...]


def read_draft(source: str | Path, overrides: Sequence[str], plugins: Sequence[str]) -> Draft:
    """Read a recipe for planning. Raises RecipeError only where there is no recipe to look into at all."""
    findings: list[Finding] = []
    draft = RecipeDraft.read(source)
    for override in overrides:
        try:
            draft.override(override)
        except RecipeError as error:
            findings.append(Finding("problem", "-o", str(error)))
    own = draft.data.get("plugins")
    listed = [name for name in own if isinstance(name, str)] if isinstance(own, (list, tuple)) else []
    host, broken = PluginHost.load_working([*listed, *plugins], warn=lambda _: None)
    findings += [Finding("problem", "plugins", str(error)) for error in broken]
    if listed:
        draft.data["plugins"] = []
    try:
        request(draft, host.requested, host)
    except PluginError as error:
        findings.append(Finding("problem", "plugins", str(error)))
    settings = _valid(draft, findings)
    findings += [
        Finding(
            "warning",
            "plugins",
            f"plugin {r.name} ({r.distribution} {r.version}) is broken and ignored: {r.error}",
        )
        for r in host.plugins
        if r.error
    ]
    if settings is None:
        return Draft(None, host.registry, tuple(findings))
    for key, check in compatibility.recipe_checks(host.registry, settings):
        try:
            check()
        except DasdError as error:
            for line in _lines(error):
                own, text = _keyed(line)
                if text not in {finding.text for finding in findings}:
                    findings.append(Finding("problem", own or key, text))
    return Draft(Recipe(settings, draft.path, host), host.registry, tuple(dict.fromkeys(findings)))


def _valid(draft: RecipeDraft, findings: list[Finding]) -> RecipeSettings | None:
    """Settings of what is right; what is wrong is told and taken out, round by round."""
    removed: set[KeyPath] = set()
    for _ in range(_ROUNDS):
        try:
            return draft.validate()
        except RecipeError as error:
            paths, lines = _wrong(error), _lines(error)
            for line in lines:
                finding = Finding("problem", *_keyed(line))
                if finding.key not in {dotted(path) for path in removed}:  # needed, but wrong: told already
                    findings.append(finding)
            now = {taken for path in paths if (taken := _remove(draft.data, path)) is not None}
            if not now:
                return None
            removed |= now
    return None


def _wrong(error: RecipeError) -> list[KeyPath]:
    """Key paths of the keys that are there and wrong."""
    if isinstance(error.__cause__, ValidationError):
        problems = error.__cause__.errors(include_url=False)
        return [without_tags(p["loc"], RecipeSettings) for p in problems if p["type"] != "missing"]
    keys = [_keyed(line)[0] for line in _lines(error)]
    return [tuple(int(part) if part.isdigit() else part for part in key.split(".")) for key in keys if key]


def _remove(data: Any, path: KeyPath) -> KeyPath | None:
    """Take a key out and return its path; of a list's items only keys inside go, so that none moves."""
    here = data
    for part in path[:-1]:
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return None
    if path and isinstance(here, dict) and path[-1] in here:
        del here[path[-1]]
        return path
    return _remove(data, path[:-1]) if len(path) > 1 else None


def _lines(error: DasdError) -> list[str]:
    """The problems of an error, without the line that counts them."""
    lines = str(error).split("\n")
    found = [line.strip() for line in lines if line.startswith("  ")]
    return found or [str(error)]


def _keyed(line: str) -> tuple[str, str]:
    """``WHERE: key.path: text`` -> (``key.path``, ``WHERE: text``); no key where the line has none."""
    parts = line.split(": ")
    for number, part in enumerate(parts[:-1]):
        if number < 2 and part and all(c.isalnum() or c in "._-" for c in part):
            rest = ": ".join([*parts[:number], *parts[number + 1 :]])
            return part, rest
    return "", line

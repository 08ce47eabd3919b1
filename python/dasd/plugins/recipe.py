"""A recipe as runs have it: the plugins that it asks for are loaded, and what they bring are its defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dasd.plugins.host import PluginHost
from dasd.recipe.draft import RecipeDraft
from dasd.recipe.evaluation_recipe import EvaluationRecipe
from dasd.recipe.settings import RecipeSettings

__all__ = ["Recipe", "request"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A validated recipe and the file that it came from (``None``: a mapping)."""

    settings: RecipeSettings
    path: Path | None = None
    host: PluginHost | None = field(default=None, compare=False, repr=False)
    """The plugins that were loaded for it, so that nobody loads them again; None where none were needed yet."""

    @classmethod
    def load(
        cls,
        source: str | Path | Mapping[str, Any],
        overrides: Sequence[str] = (),
        plugins: Sequence[str] = (),
        host: PluginHost | None = None,
    ) -> Recipe:
        """Read the name of a bundled recipe, a YAML file or a mapping.

        ``overrides``: ``"stages.high.temperature=0.9"``; ``plugins``: names to load besides the recipe's own;
        ``host``: one that is loaded already, used where the recipe requests the same plugins.
        Components of requested plugins become the defaults of their role, where neither the file nor an
        override sets the key. Relative paths that exist become absolute.
        Raises RecipeError with every problem that was found; PluginError for a plugin that doesn't load.
        """
        draft = RecipeDraft.read(source)
        for override in overrides:
            draft.override(override)
        host = request(draft, plugins, host)
        return cls(draft.validate(), draft.path, host)

    def to_yaml(self) -> str:
        """The resolved recipe with every key; loads back to the same settings."""
        data = self.settings.model_dump(mode="json")
        if isinstance(self.settings, EvaluationRecipe) and data["teacher"] == data["student"]:
            del data["teacher"]  # nobody was named
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)


def request(draft: RecipeDraft, plugins: Sequence[str], host: PluginHost | None = None) -> PluginHost | None:
    """Add ``plugins`` to the recipe's own, and let what they bring be the defaults of its role.

    Returns the host that they are loaded in: ``host``, where the same ones were requested of it, else a new one; None
    where the recipe requests none and there is no such host. Raises PluginError for a plugin that doesn't load.
    """
    own = draft.data.get("plugins") or []
    if not isinstance(own, (list, tuple)) or not all(isinstance(name, str) for name in own):
        return None  # validation says what is wrong
    requested = tuple(dict.fromkeys([*own, *plugins]))
    if host is not None and host.requested != requested:
        host = None
    if not requested:
        return host
    draft.data["plugins"] = list(requested)
    if host is None:
        host = PluginHost.load(requested)
    for (section, key), value in host.defaults().items():
        draft.default(section, key, value)
    return host

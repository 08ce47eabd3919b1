"""Relative paths of a recipe: against the recipe file's directory first, then the working directory."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from dasd.errors import RecipeError
from dasd.recipe.problems import show
from dasd.recipe.yaml import KeyPath, dotted

_GLOB = ("*", "?", "[")


def resolve_paths(data: dict[str, Any], base: Path | None, overridden: Collection[KeyPath]) -> None:
    """Make the relative paths in ``data`` absolute, in place.

    Paths are ``teacher.model`` and ``student.model`` where such a directory exists, their ``python``,
    ``samples`` of a stage, the run of ``data``, and every option called ``path`` or ending in ``_path``. What was
    set by ``-o`` is looked for in the working directory first. A path that doesn't exist is made absolute too, so that
    the complaint names the place that was looked at; a model that isn't a directory stays the name that it is.
    Raises RecipeError for a text that can't be a path: too long, or ``~`` of a user who isn't there.
    """
    cwd = Path.cwd()
    for holder, key, path, is_model in _places(data):
        value = holder[key]
        from_command_line = any(path[: len(known)] == known for known in overridden)
        roots = [root for root in ((cwd, base) if from_command_line else (base, cwd)) if root is not None]
        try:
            if isinstance(value, str):
                holder[key] = _model(value, roots) if is_model else _absolute(value, roots)
            elif isinstance(value, list) and not is_model:
                holder[key] = [_absolute(item, roots) if isinstance(item, str) else item for item in value]
        except (OSError, RuntimeError, ValueError, NotImplementedError) as error:
            why = getattr(error, "strerror", None) or error
            raise RecipeError(f"{dotted(path)}: {show(value)} can't be a path: {why}") from error


def _places(data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, KeyPath, bool]]:
    sections: list[tuple[KeyPath, Any]] = [((name,), data.get(name)) for name in ("teacher", "student")]
    for path, section in sections:
        if isinstance(section, dict) and "model" in section:
            yield section, "model", (*path, "model"), True
        if isinstance(section, dict) and "python" in section:
            yield section, "python", (*path, "python"), False
    run = data.get("data")
    if isinstance(run, str):
        yield data, "data", ("data",), False
    elif isinstance(run, dict) and "run" in run:
        yield run, "run", ("data", "run"), False
    stages = data.get("stages")
    for index, stage in enumerate(stages if isinstance(stages, (list, tuple)) else ()):
        if isinstance(stage, dict) and "samples" in stage:
            yield stage, "samples", ("stages", index, "samples"), False
        own = stage.get("sources") if isinstance(stage, dict) else None
        for number, item in enumerate(own if isinstance(own, (list, tuple)) else ()):
            sections.append((("stages", index, "sources", number), item))
    sections += [((name,), data.get(name)) for name in ("select", "trainer", "evaluation")]
    for name, key in (("questions", "train"), ("questions", "eval"), ("dedup", "against")):
        holder = data.get(name)
        items = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(items, (list, tuple)):
            sections += [((name, key, index), item) for index, item in enumerate(items)]
    found = [((*path, "options"), _below(section, "options")) for path, section in sections]
    found += [
        ((*path, "verifier", "options"), _below(_below(options, "verifier"), "options"))
        for path, options in found
    ]
    of_filters = _below(data.get("filters"), "options")
    if isinstance(of_filters, dict):
        found += [(("filters", "options", name), options) for name, options in of_filters.items()]
    for path, options in found:
        for key in options if isinstance(options, dict) else ():
            if isinstance(key, str) and (key == "path" or key.endswith("_path")):
                yield options, key, (*path, key), False


def _below(section: Any, key: str) -> Any:
    """What a section holds under ``key``, if it is one."""
    return section.get(key) if isinstance(section, dict) else None


def _absolute(value: str, roots: list[Path]) -> str:
    if not value or "://" in value:
        return value
    path = Path(value).expanduser()
    if path.is_absolute():
        return str(path)
    for root in roots:
        if (root / path).exists() or (any(sign in value for sign in _GLOB) and any(root.glob(value))):
            return str((root / path).absolute())
    return str((roots[0] / path).absolute())


def _model(value: str, roots: list[Path]) -> str:
    if not value or value.startswith("dasd:"):
        return value
    path = Path(value).expanduser()
    if path.is_absolute():
        return str(path)
    for root in roots:
        if (root / path).is_dir():
            return str((root / path).absolute())
    # ./models/x or ../x can't be the name of a model on a hub: say which place was looked at.
    return str((roots[0] / path).absolute()) if value.startswith(("./", "../")) else value

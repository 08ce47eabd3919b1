"""A graph of stages as the store knows it: checked, with fingerprints, its stages found by name and by need."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dasd.base.files import plain_json
from dasd.base.suggest import did_you_mean
from dasd.errors import InputError
from dasd.pipeline.work.stage import HangsOnNeeds, Stage
from dasd.store import Node, fingerprint

__all__ = ["check_graph", "nodes_named", "nodes_of", "with_needs"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def check_graph(stages: Sequence[Stage]) -> None:
    """InputError for a name that can't be one or is taken, and for a need that no stage before it meets."""
    seen: set[str] = set()
    for stage in stages:
        if not _NAME.fullmatch(stage.name):
            raise InputError(
                f"a stage is named {stage.name!r}; wanted lower-case letters, digits, '-' and '_'"
            )
        if stage.name in seen:
            raise InputError(f"two stages are named {stage.name!r}")
        for need in stage.needs:
            if need not in seen:
                raise InputError(f"stage {stage.name} needs {need!r}, and no stage before it has that name")
        seen.add(stage.name)


def nodes_of(stages: Sequence[Stage]) -> list[Node]:
    """The graph with each stage's settings and fingerprint."""
    nodes: list[Node] = []
    prints: dict[str, str] = {}
    for number, stage in enumerate(stages, start=1):
        settings = {
            key: plain_json(value, f"settings of stage {stage.name}: {key}")
            for key, value in stage.settings().items()
        }
        needs = {need: prints[need] for need in stage.needs}
        prints[stage.name] = fingerprint(stage.kind, stage.name, settings, needs)
        late = stage.settings_by_needs if isinstance(stage, HangsOnNeeds) else None
        nodes.append(Node(number, stage.name, stage.kind, settings, needs, prints[stage.name], late))
    return nodes


def nodes_named(nodes: Sequence[Node], wanted: str) -> list[Node]:
    """The stage of that name, else the stages of that kind. Raises InputError with a suggestion."""
    found = [n for n in nodes if n.name == wanted] or [n for n in nodes if n.kind == wanted]
    if not found:
        names = [n.name for n in nodes]
        kinds = list(dict.fromkeys(n.kind for n in nodes))
        raise InputError(
            f"there is no stage {wanted!r}{did_you_mean(wanted, names + kinds)} "
            f"Stages: {', '.join(names)}. Kinds: {', '.join(kinds)}."
        )
    return found


def with_needs(nodes: Sequence[Node], chosen: set[str]) -> set[str]:
    """``chosen`` and all that they need, directly or through others."""
    wanted = set(chosen)
    for node in reversed(nodes):
        if node.name in wanted:
            wanted.update(node.needs)
    return wanted

"""Runs a graph of stages on a run directory: what stands is skipped, what changed is done again.

Knows nothing of any one stage.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import JsonValue

from dasd.base.files import disk_full, means_full
from dasd.base.progress import Console, human_seconds
from dasd.errors import ComponentError, DasdError, InputError
from dasd.models.opened import Opened
from dasd.models.pool import ModelPool
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.nodes import check_graph, nodes_named, nodes_of, with_needs
from dasd.pipeline.work.stage import Stage, StageContext
from dasd.plugins.recipe import Recipe
from dasd.plugins.registry import Registry
from dasd.store import (
    DirectoryWriter,
    FinishedInputs,
    Manifest,
    Node,
    Run,
    RunDirectory,
    StageDirectory,
    Standing,
    State,
    Written,
)
from dasd.store.manifest import StageHeader

RUNS = Path("runs")
"""Where run directories are made when none is given, under the recipe's name."""

Finished = dict[str, tuple[StageDirectory, Manifest]]


class PlannedStage(NamedTuple):
    """One line of a plan."""

    number: int
    name: str
    kind: str
    state: State


class Pipeline:
    """A recipe's stages, ready to run.

    ``stages``: the graph, in an order in which every stage comes after those that it needs; by default the
    recipe's own. ``observe(hook, **arguments)`` calls an observing hook of every plugin.
    """

    def __init__(
        self,
        recipe: Recipe,
        registry: Registry,
        stages: Sequence[Stage] | None = None,
        console: Console | None = None,
        observe: Callable[..., None] | None = None,
    ) -> None:
        if stages is None:
            from dasd.pipeline.graph import build_graph

            stages = build_graph(recipe, registry)
        self.recipe = recipe
        self.registry = registry
        self.stages = tuple(stages)
        self.console = console or Console()
        self._observe = observe
        check_graph(self.stages)

    @classmethod
    def from_recipe(
        cls,
        recipe: str | Path | Mapping[str, Any] | Recipe,
        plugins: Sequence[str] = (),
        overrides: Sequence[str] = (),
        console: Console | None = None,
    ) -> Pipeline:
        """The pipeline of a recipe: a bundled one's name, a YAML file, a mapping, or one that is loaded.

        ``plugins``: names to load besides the recipe's own; ``overrides``: ``"key.path=value"``, neither
        with a recipe that is loaded already. Raises RecipeError, PluginError, InputError.
        """
        from dasd.plugins.host import PluginHost

        if isinstance(recipe, Recipe):
            if plugins or overrides:
                raise InputError("plugins and overrides go into Recipe.load(...), not with a loaded recipe")
        else:
            recipe = Recipe.load(recipe, overrides, plugins)
        console = console or Console()
        host = recipe.host or PluginHost.load(recipe.settings.plugins, console.warn)
        host.warn = console.warn
        check_recipe(host.registry, recipe.settings)
        return cls(recipe, host.registry, console=console, observe=host.observe)

    def directory(self, directory: Path | str | None = None) -> Path:
        """The run directory: the one given, or ``runs/`` and the recipe's name."""
        return Path(directory) if directory is not None else RUNS / self.recipe.settings.name

    def plan(self, directory: Path | str | None = None) -> list[PlannedStage]:
        """What ``run`` would find: done, partial (goes on), changed (runs again) or new. Changes nothing."""
        self._refuse_source(self.directory(directory))
        nodes = nodes_of(self.stages)
        standings = RunDirectory(self.directory(directory)).survey(nodes)
        return [PlannedStage(n.number, n.name, n.kind, standings[n.name].state) for n in nodes]

    def run(
        self, directory: Path | str | None = None, until: str | None = None, only: str | None = None
    ) -> Run:
        """Run the stages that don't stand yet, and return the run.

        ``until``: stop after the stage of that name, or the last of that kind; ``only``: run just the stage
        of that name, or the stages of that kind that can run. Stages of an earlier recipe that no longer fit
        go to ``superseded/`` and come back when they are asked for again.
        Raises InputError (unknown stage, needs that aren't done), LockError, DiskFullError, StoreError (a
        file that was torn or altered), and whatever a stage raises. After any of them, KeyboardInterrupt
        included, the same call continues.
        """
        path = self.directory(directory)
        self._refuse_source(path)
        nodes = nodes_of(self.stages)
        store = RunDirectory(path)
        if only is not None:
            if until is not None:
                raise InputError("until and only can't go together; give one of them")
            chosen = self._ready(nodes, nodes_named(nodes, only), only, store.survey(nodes))
            visited = with_needs(nodes, chosen)
        else:
            chosen = {node.name for node in nodes[: self._last(nodes, until)]}
            visited = chosen
        settings = self.recipe.settings
        self._permit(settings.unsafe_run_code_without_sandbox)
        with (
            _explain_full_disk(path),
            store.writing(settings.name, settings.seed, self.recipe.to_yaml()) as mended,
        ):
            if mended is not None:
                self.console.warn(mended)
            wanted: list[JsonValue] = [node.name for node in nodes if node.name in chosen]
            store.event("run_started", None, {"stages": wanted})
            for name in store.arrange(nodes):
                self.console.info(
                    f"{name} no longer fits the recipe; its result is kept in {path / 'superseded'}"
                )
            opened = Opened(self.console, store.event)
            pool = ModelPool(self.registry, opened, settings.executor, settings.plugins)
            with closing(pool) as models:
                self._visit(store, [n for n in nodes if n.name in visited], chosen, models)
            store.event("run_finished", None, {})
        return Run.open(path)

    def _refuse_source(self, path: Path) -> None:
        """InputError where the run would be written over the run that its data is from."""
        data = self.recipe.settings.data
        if data is not None and Path(data.run).resolve() == path.resolve():
            raise InputError(f"data.run: {path} is this run's own directory; give --run another one")

    def _permit(self, code_without_sandbox: bool) -> None:
        from dasd.evaluation.sandbox.permission import allow_without_sandbox

        allow_without_sandbox(code_without_sandbox)
        if code_without_sandbox:
            self.console.warn(
                "unsafe_run_code_without_sandbox: code that a model wrote runs with all rights of your user"
            )

    # -- which stages -------------------------------------------------------------------------------

    def _last(self, nodes: Sequence[Node], until: str | None) -> int:
        """How many stages to run."""
        return len(nodes) if until is None else nodes_named(nodes, until)[-1].number

    def _ready(
        self, nodes: Sequence[Node], named: Sequence[Node], wanted: str, standings: Mapping[str, Standing]
    ) -> set[str]:
        """Those of ``named`` whose needs are done, or come before them among ``named``.

        Raises InputError if a stage that was named can't run, or none of that kind can.
        """
        kinds = {node.name: node.kind for node in nodes}
        ready: set[str] = set()
        waiting: list[str] = []
        for node in named:
            missing = [n for n in node.needs if n not in ready and standings[n].state != "done"]
            if not missing:
                ready.add(node.name)
                continue
            first = missing[0]
            waiting.append(
                f"{node.name} needs {first}, which is {_IN_WORDS[standings[first].state]}; run "
                f"`dasd {kinds[first]}` first, or `dasd pipeline --until {node.name}`"
            )
        if not ready or (waiting and any(node.name == wanted for node in named)):
            raise InputError(waiting[0])
        for text in waiting:
            self.console.warn(f"left out: {text}")
        return ready

    # -- running -----------------------------------------------------------------------------------

    def _visit(self, store: RunDirectory, nodes: Sequence[Node], chosen: set[str], models: ModelPool) -> None:
        stages = {stage.name: stage for stage in self.stages}
        written: dict[str, Written] = {}
        finished: Finished = {}
        for node in nodes:
            directory, header, standing = store.settle(node, written)
            manifest = standing.manifest
            if manifest is not None and node.name in chosen:
                self._say(node, manifest, "done before")
            elif manifest is None and node.name not in chosen:
                raise InputError(
                    f"stage {node.name} is no longer done in {store.path}; give the command again"
                )
            if manifest is None:
                settings = {**node.settings, **node.late_settings(written)}
                stage = stages[node.name]
                manifest = self._run(store, node, stage, settings, directory, header, models, finished)
            written[node.name] = Written.of(manifest)
            finished[node.name] = (directory, manifest)

    def _run(
        self,
        store: RunDirectory,
        node: Node,
        stage: Stage,
        settings: Mapping[str, JsonValue],
        directory: StageDirectory,
        header: StageHeader,
        models: ModelPool,
        finished: Finished,
    ) -> Manifest:
        writer = DirectoryWriter(
            directory,
            header,
            partial(store.claim, node.name),
            lambda kind, fields: store.event(kind, node.name, fields),
        )
        inputs = FinishedInputs(node.name, {need: finished[need] for need in node.needs})
        context = StageContext(node.name, self.recipe, self.registry, models, writer, inputs, self.console)
        units = len(writer.done())
        store.event("stage_started", node.name, {"fingerprint": node.fingerprint, "units_done": units})
        self._tell("dasd_stage_started", run=store.path, stage=node.name)
        clock = time.monotonic()
        try:
            stage.run(context)
            manifest = writer.close(settings)
        except BaseException as error:
            kind = "stage_failed" if isinstance(error, Exception) else "stage_interrupted"
            # On a full disk this line can't be written either; the error itself says what happened.
            with suppress(OSError, DasdError):
                store.event(kind, node.name, _told(error))
            raise
        seconds = time.monotonic() - clock
        rows: dict[str, JsonValue] = dict(manifest.rows)
        store.event("stage_finished", node.name, {"seconds": round(seconds, 3), "rows": rows})
        self._say(node, manifest, human_seconds(seconds))
        self._tell(
            "dasd_stage_finished", run=store.path, stage=node.name, seconds=seconds, summary=manifest.summary
        )
        return manifest

    def _say(self, node: Node, manifest: Manifest, how: str) -> None:
        rows = [f"{count} {frame}" for frame, count in manifest.rows.items()]
        total = len(self.stages)
        self.console.info(f"[{node.number}/{total}] {node.name}: {', '.join([*rows, how])}")

    def _tell(self, hook: str, **arguments: object) -> None:
        if self._observe is not None:
            self._observe(hook, **arguments)


_IN_WORDS: Mapping[State, str] = {
    "done": "done",
    "changed": "out of date",
    "partial": "not finished",
    "new": "not done",
}


def _told(error: BaseException) -> dict[str, JsonValue]:
    """What the events keep of an error; the traceback too, where it is code that is at fault."""
    fields: dict[str, JsonValue] = {"error": f"{type(error).__name__}: {error}"}
    if isinstance(error, Exception) and (
        isinstance(error, ComponentError) or not isinstance(error, DasdError)
    ):
        fields["traceback"] = "".join(traceback.format_exception(error))
    return fields


@contextmanager
def _explain_full_disk(directory: Path) -> Iterator[None]:
    """Turn whatever a library makes of a full disk into DiskFullError."""
    try:
        yield
    except Exception as error:
        if means_full(error, directory):
            raise disk_full(directory, None) from error
        raise

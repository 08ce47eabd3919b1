"""How the suite runs a recipe: the public pipeline, with the suite's own components registered beside the built-ins."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.evidence.components import register
from benchmarks.evidence.places import write_recipe
from benchmarks.evidence.worlds import World
from dasd.base.progress import Console
from dasd.pipeline.compatibility import check_recipe
from dasd.pipeline.runner import Pipeline
from dasd.plugins.host import PluginHost
from dasd.plugins.recipe import Recipe
from dasd.store import Run

__all__ = ["QuietConsole", "forget", "link_stages", "machine", "run_recipe", "save_frame"]


class QuietConsole(Console):
    """Says nothing; keeps what it was warned of."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)


def run_recipe(
    recipe: Mapping[str, Any], directory: Path, world: World, console: Console, until: str | None = None
) -> Run:
    """Run a recipe, written beside the run directory, up to ``until`` (the report is left out by default)."""
    path = write_recipe(directory.with_suffix(".yaml"), recipe)
    loaded = Recipe.load(path)
    host = PluginHost.load(loaded.settings.plugins, console.warn)
    register(host.registry, world)
    check_recipe(host.registry, loaded.settings)
    pipeline = Pipeline(loaded, host.registry, console=console, observe=host.observe)
    return pipeline.run(directory, until=until or pipeline.stages[-2].name)


def link_stages(source: Path, target: Path, wanted: Callable[[str], bool]) -> None:
    """Give a new run directory the finished stages of another one, as hard links.

    A run skips the stages whose fingerprints fit its recipe, wherever their files come from; those that don't fit
    are made again.
    """
    if (target / "run.json").exists():
        return
    shutil.rmtree(target, ignore_errors=True)
    for stage in sorted((source / "stages").iterdir()):
        if wanted(stage.name.split("-", 1)[1]):
            shutil.copytree(stage, target / "stages" / stage.name, copy_function=os.link)
    shutil.copy2(source / "run.json", target / "run.json")


def save_frame(run: Run, name: str, stages: Sequence[str], path: Path) -> None:
    """Rows of one frame over some stages as one file, with column ``run_stage``."""
    rows = run.frame(name, with_stage=True).filter(pl.col("run_stage").is_in(list(stages)))
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.collect().write_parquet(path, compression="zstd")


def machine(device: str) -> str:
    """What computes on ``device``, for readers of the results."""
    import torch

    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "CPU"
    return f"{name}, torch {torch.__version__}"


def forget(directory: Path) -> None:
    """Remove what is no longer needed."""
    shutil.rmtree(directory, ignore_errors=True)

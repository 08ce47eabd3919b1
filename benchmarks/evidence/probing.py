"""Temperatures chosen by the package's probe, for the arm that trains at them."""

from __future__ import annotations

import json

from benchmarks.evidence.arms import ARMS
from benchmarks.evidence.components import register
from benchmarks.evidence.places import Place, write_json, write_recipe
from benchmarks.evidence.recipes import TEMPERATURE, cell_recipe
from benchmarks.evidence.running import QuietConsole, forget
from benchmarks.evidence.scale import Scale
from benchmarks.evidence.worlds import World
from dasd.pipeline import Pipeline
from dasd.plugins import PluginHost
from dasd.probe import analyse, probe_recipe, probe_stages, temperatures
from dasd.recipe import Recipe

__all__ = ["probed_temperatures"]

GRID = (0.4, 0.6, 0.8, 1.0, 1.2)
QUESTIONS, CANDIDATES = 50, 2
"""As `dasd probe` has them by default."""


def probed_temperatures(world: World, place: Place, scale: Scale) -> dict[str, float]:
    """What `dasd probe` recommends for ``low`` and ``high`` of the recipe low-then-high, kept in ``probe.json``.

    Where it recommends nothing, the suite's own temperature stays.
    """
    path = place.root / "probe.json"
    if not path.is_file():
        (arm,) = (each for each in ARMS if each.name == "low-high")
        base = Recipe.load(
            write_recipe(place.root / "probe.yaml", cell_recipe(place, scale, arm, next(iter(scale.steps))))
        )
        derived = probe_recipe(base, temperatures(GRID), CANDIDATES)
        console = QuietConsole()
        host = PluginHost.load(derived.settings.plugins, console.warn)
        register(host.registry, world)
        stages = probe_stages(derived, host.registry, QUESTIONS)
        directory = place.root / "probe"
        run = Pipeline(derived, host.registry, stages, console, host.observe).run(directory)
        found = analyse(run, host.registry).recommendation
        chosen = {"low": found.low.temperature, "high": found.high.temperature}
        write_json(
            path, {name: TEMPERATURE[name] if value is None else value for name, value in chosen.items()}
        )
        forget(directory)
    return {str(name): float(value) for name, value in json.loads(path.read_text()).items()}

"""The worlds of the suite by name."""

from __future__ import annotations

from benchmarks.evidence.worlds.base import AUTHORS, Author, Shape, World, drawn
from benchmarks.evidence.worlds.drift import DRIFT, DRIFT_WIDE
from benchmarks.evidence.worlds.long import LONG
from benchmarks.evidence.worlds.modes import MODES
from benchmarks.evidence.worlds.usefulness import DECOMPOSITION, USEFULNESS

__all__ = ["AUTHORS", "WORLDS", "Author", "Shape", "World", "drawn"]

WORLDS = {world.name: world for world in (MODES, USEFULNESS, DECOMPOSITION, LONG, DRIFT, DRIFT_WIDE)}

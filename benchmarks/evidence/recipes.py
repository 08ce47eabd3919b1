"""The recipes of the suite: one that all cells share, and what an arm and a budget make of it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.evidence.arms import ARMS, Arm, Training
from benchmarks.evidence.components import FORCED, SOURCE, TEMPERATURES
from benchmarks.evidence.places import Place
from benchmarks.evidence.scale import Scale
from benchmarks.evidence.worlds import World

__all__ = [
    "AGAIN_SEED",
    "GIVEN",
    "TEMPERATURE",
    "answers_recipe",
    "cell_recipe",
    "draw_recipe",
    "drawn_names",
    "measure_recipe",
    "pool_names",
    "pool_recipe",
]

TEMPERATURE = {"low": 0.6, "high": 1.0, "again": 1.0, "more": 1.0, "both": 1.0, "twice": 1.0}
"""Name of a training -> temperature of its responses (`both`: the rows of its files say it)."""
GIVEN = {"again": ("again",), "more": ("high",), "both": ("low", "high"), "twice": ("high", "again")}
"""Trainings whose responses come from files of the pool: the same responses again, or of another seed."""
AGAIN_SEED = 1_000
"""Added to the seed for the second sample at the high temperature."""
LABEL = "hot"
"""Benchmark of the free answers at temperature 1."""


def shared(place: Place, scale: Scale) -> dict[str, Any]:
    """What every recipe of one world and seed has."""
    return {
        "name": f"{place.world}-{place.seed}",
        "seed": place.seed,
        "teacher": {"model": str(place.model("teacher")), **scale.engine()},
        "student": {"model": str(place.model("student")), **scale.engine()},
        "questions": {
            "system_prompt": None,
            "train": [{"source": "file", "options": {"path": str(place.questions)}}],
            "eval": [
                {"source": "file", "name": LABEL, "count": scale.asked, "options": {"path": str(place.asked)}}
            ],
        },
        "sampling": {"candidates": scale.candidates, "max_tokens": scale.max_tokens, "chunk": 2048},
        "filters": {"answer": True},
        "dedup": {"near": False, "contamination": None},
        "select": {"selector": "random"},
        "stages": [],
        "trainer": {
            "optimizer": "muon",
            "learning_rate": scale.learning_rate,
            "min_learning_rate": scale.min_learning_rate,
            "batch_size": scale.batch_size,
            "micro_batch_size": scale.batch_size,
            "max_length": scale.max_length,
            "precision": scale.precision,
            "device": scale.device,
            "save_every": 500,
        },
        "evaluation": {
            "attempts": scale.attempts,
            "max_tokens": scale.max_tokens,
            "heldout": scale.heldout,
        },
    }


def draw_recipe(place: Place, scale: Scale, names: tuple[str, ...], seed: int) -> dict[str, Any]:
    """Sampling alone."""
    recipe = shared(place, scale)
    recipe["seed"] = seed
    recipe["stages"] = [_stage(place, scale, Training(name), 1) for name in names]
    return recipe


def pool_names(scale: Scale) -> list[str]:
    """Names of the trainings whose responses the arms of this scale use."""
    used = {each.responses for arm in ARMS if scale.takes(arm) for each in arm.trainings}
    return [name for name in TEMPERATURE if name in used]


def drawn_names(scale: Scale) -> list[str]:
    """Which samples of the teacher those trainings need: ``low``, ``high``, ``again``."""
    used = {source for name in pool_names(scale) for source in GIVEN.get(name, (name,))}
    return [name for name in TEMPERATURE if name in used]


def pool_recipe(place: Place, scale: Scale) -> dict[str, Any]:
    """All responses that any arm trains on, up to the student's scores of them."""
    recipe = shared(place, scale)
    recipe["stages"] = [_stage(place, scale, Training(name), 1) for name in pool_names(scale)]
    return recipe


def cell_recipe(place: Place, scale: Scale, arm: Arm, budget: str) -> dict[str, Any]:
    """An arm at a budget."""
    scale = scale.at_rates_of(arm, budget)
    recipe = shared(place, scale)
    steps = scale.steps[budget]
    recipe["select"] = {**deepcopy(dict(arm.select)), "per_question": arm.per_question}
    recipe["filters"]["answer"] = arm.correct_only
    recipe["stages"] = [_stage(place, scale, each, round(each.share * steps)) for each in arm.trainings]
    for number in range(1, arm.rounds + 1):
        recipe["stages"].append(
            {
                "name": f"mixed{number}",
                "kind": "mixed-policy",
                "cap": scale.cap,
                **deepcopy(dict(arm.mixed)),
                "trainer": {
                    **_steps(round(arm.mixed_share * steps / arm.rounds)),
                    "learning_rate": scale.mixed_learning_rate,
                },
            }
        )
    if arm.own is not None:
        recipe["stages"].append(_own(scale, arm.own, round(arm.own_share * steps / scale.rounds)))
    if not arm.packed:
        recipe["trainer"] |= {
            "packing": False,
            "batch_size": scale.responses,
            "micro_batch_size": scale.responses,
        }
    return recipe


def measure_recipe(place: Place, scale: Scale, world: World, checkpoint: str) -> dict[str, Any]:
    """A checkpoint asked in every other way: warm, greedy, each style forced."""
    recipe = shared(place, scale)
    for key in ("teacher", "stages"):
        del recipe[key]
    del recipe["questions"]["train"]
    recipe["student"]["model"] = checkpoint
    options = {"path": str(place.asked)}
    recipe["questions"]["eval"] = [
        {
            "source": SOURCE,
            "name": label,
            "count": scale.asked,
            "attempts": 1 if temperature == 0 else scale.attempts,
            "options": options,
        }
        for label, temperature in TEMPERATURES.items()
    ] + [
        {
            "source": SOURCE,
            "name": f"{FORCED}{style}",
            "count": scale.forced,
            "attempts": 1,
            "options": options,
        }
        for style in world.styles
    ]
    return recipe


def answers_recipe(place: Place, scale: Scale, answers: Path, student: str | None = None) -> dict[str, Any]:
    """Answers to the evaluation questions as given responses, scored by the teacher and by ``student``.

    ``student``: a model directory, by default the student before distillation.
    """
    recipe = shared(place, scale)
    del recipe["questions"]["eval"]
    recipe["questions"]["train"][0]["options"]["path"] = str(place.asked)
    if student is not None:
        recipe["student"]["model"] = student
    recipe["filters"] = {"structure": "any", "repetition": False, "tool_calls": False}
    recipe["dedup"]["exact"] = False
    recipe["select"] = {"selector": "divergence"}
    recipe["stages"] = [{"name": "answers", "temperature": 1.0, "samples": [str(answers)]}]
    return recipe


def _stage(place: Place, scale: Scale, training: Training, steps: int) -> dict[str, Any]:
    name = training.responses
    stage: dict[str, Any] = {"name": name, "temperature": TEMPERATURE[name], "trainer": _steps(steps)}
    if training.mixed_rate:
        stage["trainer"]["learning_rate"] = scale.mixed_learning_rate
    if name in GIVEN:
        stage["samples"] = [str(place.responses(source)) for source in GIVEN[name]]
    return stage


def _own(scale: Scale, keys: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """On-policy rounds of so many steps each, with about as many answers as these take."""
    part = 1 - keys.get("off_policy_share", 0.0)
    rows = part * max(1, steps) * scale.batch_size * scale.max_length / scale.row_tokens
    return {
        "name": "own",
        "kind": "on-policy",
        "rounds": scale.rounds,
        "questions": ceil(rows),
        "top_k": scale.top_k,
        **deepcopy(dict(keys)),
        "trainer": {**_steps(steps), "learning_rate": scale.own_learning_rate},
    }


def _steps(steps: int) -> dict[str, Any]:
    """So many optimiser steps, with more epochs than they need."""
    return {"max_steps": max(1, steps), "epochs": 16 + max(1, steps) // 8}

"""One world and seed made ready: models, questions, the pool of responses that all arms share, and its figures."""

from __future__ import annotations

import shutil
import time
from typing import Any

import polars as pl

from benchmarks.evidence.measure import measured
from benchmarks.evidence.models import learned, write_questions
from benchmarks.evidence.places import Place, write_json
from benchmarks.evidence.recipes import (
    AGAIN_SEED,
    GIVEN,
    draw_recipe,
    drawn_names,
    measure_recipe,
    pool_names,
    pool_recipe,
)
from benchmarks.evidence.running import QuietConsole, forget, link_stages, run_recipe
from benchmarks.evidence.scale import Scale
from benchmarks.evidence.worlds import World
from dasd.errors import InputError
from dasd.store import Run

__all__ = ["prepare", "style_counts"]


def prepare(world: World, place: Place, scale: Scale) -> None:
    """Make it, unless it is there. What a kill interrupts goes on from its last finished step."""
    if place.prepared.is_file():
        return
    clock = time.process_time()
    console = QuietConsole()
    learned(world, place, "teacher", scale, console)
    learned(world, place, "student", scale, console)
    write_questions(world, place, scale)
    _draw(world, place, scale, console)
    run = run_recipe(pool_recipe(place, scale), place.pool, world, console, until="evaluate-before")
    teacher_sentences = run.summary("select-high").get("teacher_share")
    if teacher_sentences is None:
        raise InputError(
            f"{world.name} seed {place.seed}: no response of the teacher is right; wanted one that has learned more "
            f"(teacher_share {scale.teacher_share:g} of the world's solved questions)"
        )
    figures: dict[str, Any] = {
        "pool": _pool_figures(run, world, scale),
        "teacher_sentences": teacher_sentences,
        "counts": style_counts(run, world),
    }
    for role in ("teacher", "student"):
        folder = place.root / f"measure-{role}"
        asked = run_recipe(
            measure_recipe(place, scale, world, str(place.model(role))), folder, world, console
        )
        figures[role] = measured(run if role == "student" else None, "before", asked, world)
        forget(folder)
    figures["teacher"]["accuracy"] = _teacher_accuracy(run)
    figures["cpu_seconds"] = time.process_time() - clock
    write_json(place.prepared, figures)


def _draw(world: World, place: Place, scale: Scale, console: QuietConsole) -> None:
    """The samples of the teacher as files; the second at the high temperature is a run of its own, for its seed.

    A world that takes another's pool gets its samples and files.
    """
    names = drawn_names(scale)
    if world.pool_of is not None:
        source = place.of(world.pool_of)
        link_stages(source.pool, place.pool, lambda name: name.startswith(("questions", "sample-")))
        shutil.copytree(source.responses("").parent, place.responses("").parent, dirs_exist_ok=True)
    first = tuple(name for name in names if name != "again")
    recipe = draw_recipe(place, scale, first, place.seed)
    run = run_recipe(recipe, place.pool, world, console, until=f"sample-{first[-1]}")
    for name in first:
        _keep_responses(run, place, name)
    again = place.root / "again"
    if "again" in names and not place.responses("again").is_file():
        recipe = draw_recipe(place, scale, ("high",), place.seed + AGAIN_SEED)
        run = run_recipe(recipe, again, world, console, until="sample-high")
        _keep_responses(run, place, "again", "high")
    forget(again)


def style_counts(run: Run, world: World) -> dict[str, dict[str, float]]:
    """By style, of the responses at temperature 1 that may be selected: whether their counts tell styles apart.

    ``share``: of the responses; ``sentences``: mean number of Teacher sentences; ``picked``: share of the questions
    where a response of the style has the most Teacher sentences, questions with a tie counting in parts.
    """
    counts = (
        run.frame("sentences", "select-high")
        .group_by("sample_id")
        .agg(count=(pl.col("kind") == "teacher").sum())
        .join(run.frame("samples", "sample-high").select("sample_id", "question_id", "text"), on="sample_id")
        .collect()
    )
    best = pl.col("count") == pl.col("count").max().over("question_id")
    rows = counts.with_columns(
        pl.Series("style", [world.style_of(text) or "none" for text in counts["text"]]),
        picked=best / best.sum().over("question_id"),
    )
    table = rows.group_by("style").agg(
        share=pl.len() / rows.height,
        sentences=pl.col("count").mean(),
        picked=pl.col("picked").sum() / rows["question_id"].n_unique(),
    )
    return {
        style: {"share": a, "sentences": b, "picked": c} for style, a, b, c in table.sort("style").iter_rows()
    }


def _teacher_accuracy(run: Run) -> float:
    """Of one answer at temperature 1 to every held-out question."""
    rows = run.frame("metrics", "evaluate-before").filter(
        (pl.col("checkpoint") == "teacher") & (pl.col("metric") == "accuracy") & (pl.col("group") == "all")
    )
    return float(rows.select("value").collect().item())


def _keep_responses(run: Run, place: Place, name: str, stage: str | None = None) -> None:
    """The sampled responses of a stage as a file; its rows keep tokens, log-probabilities and temperature."""
    path = place.responses(name)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = run.frame("samples", f"sample-{stage or name}").collect()
        beside = path.with_suffix(".new")
        rows.write_parquet(beside, compression="zstd")
        beside.replace(path)


def _pool_figures(run: Run, world: World, scale: Scale) -> dict[str, Any]:
    """What the teacher's responses are like: right ones by style, and how styles and cut-offs are spread."""
    figures: dict[str, Any] = {}
    for name in pool_names(scale):
        if name in GIVEN and name != "again":
            continue
        samples = run.frame("samples", f"sample-{name}").select("sample_id", "text")
        verdicts = run.frame("verdicts", f"filter-{name}").select("sample_id", "kept", "reason")
        rows = samples.join(verdicts, on="sample_id").collect()
        styles = pl.Series("style", [world.style_of(text) or "none" for text in rows["text"]])
        by_style = (
            rows.with_columns(styles)
            .group_by("style")
            .agg(responses=pl.len(), right=(pl.col("reason") != "answer").mean())
            .sort("style")
        )
        figures[name] = {
            "responses": rows.height,
            "kept": float(rows["kept"].mean()),  # type: ignore[arg-type]
            "styles": by_style.to_dicts(),
        }
    return figures

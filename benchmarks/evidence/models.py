"""Teacher and student of one world and seed: fresh weights, trained by the pipeline on what its solver wrote."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.evidence.places import Place, write_recipe
from benchmarks.evidence.scale import Scale
from benchmarks.evidence.worlds import Author, World, drawn
from dasd.base.progress import Console, no_bars
from dasd.pipeline.runner import Pipeline

__all__ = ["learned", "write_questions"]


def write_questions(world: World, place: Place, scale: Scale) -> None:
    """Training and evaluation questions, one file each."""
    for path, count, split in (
        (place.questions, scale.questions, "train"),
        (place.asked, max(scale.asked, scale.heldout), "eval"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        found = drawn(world, count, "eval" if split == "eval" else "train", "asked", place.seed)
        rows = [(question.question, question.answer, "miniature") for question in found]
        pl.DataFrame(rows, schema=["question", "answer", "verifier"], orient="row").write_parquet(path)


def learned(world: World, place: Place, author: Author, scale: Scale, console: Console) -> Path:
    """The model directory of ``author``, trained if it isn't there yet; the rest of the training's run is removed."""
    directory = place.model(author)
    if directory.is_dir():
        return directory
    if author == "teacher" and world.pool_of is not None:
        beside = directory.with_name("teacher.new")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(place.of(world.pool_of).model(author), beside)
        return beside.rename(directory)
    work = place.root / f"learn-{author}"
    shape = world.teacher if author == "teacher" else world.student
    start = work / "start"
    if not (start / "config.json").is_file():
        _initialise(world, author, place.seed, scale.max_length, start)
    solved = work / "solved.parquet"
    if not solved.is_file():
        share = scale.teacher_share if author == "teacher" else 1.0
        _write_solved(world, author, place.seed, round(shape.questions * share), solved)
    recipe: dict[str, Any] = {
        "name": f"learn-{author}",
        "seed": place.seed,
        "teacher": {"model": "start", **scale.engine()},
        "student": {"model": "start", **scale.engine()},
        "questions": {
            "system_prompt": None,
            "train": [{"source": "file", "options": {"path": "solved.parquet"}}],
        },
        "sampling": {"max_tokens": scale.max_tokens, "chunk": 8192},
        "filters": {"structure": "any", "repetition": False, "tool_calls": False},
        "dedup": {"exact": False, "near": False, "contamination": None},
        "select": {"selector": "random"},
        "stages": [{"name": "learn", "temperature": 1.0, "samples": ["solved.parquet"]}],
        "trainer": {
            "epochs": shape.epochs,
            "optimizer": "muon",
            "learning_rate": shape.learning_rate,
            "min_learning_rate": scale.min_learning_rate,
            "batch_size": shape.batch_size,
            "micro_batch_size": shape.batch_size,
            "max_length": scale.max_length,
            "precision": scale.precision,
            "device": scale.device,
            "save_every": 200,
        },
    }
    pipeline = Pipeline.from_recipe(write_recipe(work / "recipe.yaml", recipe), console=console)
    run = pipeline.run(work / "run", until="train-learn")
    directory.parent.mkdir(exist_ok=True)
    shutil.move(run.artifact("train-learn"), directory)
    write_recipe(directory / "learned-by.yaml", recipe)
    shutil.rmtree(work)
    return directory


def _initialise(world: World, author: Author, seed: int, context: int, directory: Path) -> None:
    """An untrained Llama for ``context`` tokens with the tokenizer of its role, as the miniature models have them."""
    import torch

    from benchmarks.evidence.tokenizer import world_tokenizer
    from benchmarks.miniature.make import build_model
    from benchmarks.miniature.tokenizers import build_tokenizer
    from dasd.base.seeds import seed_of

    shape = world.teacher if author == "teacher" else world.student
    tokenizer = world_tokenizer(world, context) if world.one_tokenizer else build_tokenizer(author)
    torch.manual_seed(seed_of(world.name, author, seed))
    model = build_model(shape, tokenizer)
    model.config.max_position_embeddings = tokenizer.model_max_length = context
    with no_bars():
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _write_solved(world: World, author: Author, seed: int, count: int, path: Path) -> None:
    """Questions of the training split, each solved once in the author's habits."""
    rng = random.Random(f"{world.name}/{author}/{seed}")
    found = drawn(world, count, "train", author, seed)
    rows = [(each.question, each.answer, "miniature", world.solve(each, author, rng)) for each in found]
    pl.DataFrame(rows, schema=["question", "answer", "verifier", "text"], orient="row").write_parquet(path)

"""A small training of the miniature student. Run as a program, it resumes and prints each step that is done."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dasd.api import ModelSettings, TrainerSettings, TrainProgress, TrainSpec
from dasd.models.files import resolve_model
from dasd.models.tokens.chat import ChatTokenizer
from dasd.testing.rows import train_rows, write_shards

STUDENT = "dasd:mini-student"
OPTIONS: dict[str, Any] = {"zero_stage": 3, "processes": 2}


def settings(**changes: Any) -> TrainerSettings:
    """Eight steps in float32 on the CPU, packed, with two micro-batches a process or more."""
    plain: dict[str, Any] = {
        "trainer": "deepspeed",
        "epochs": 4,
        "max_steps": 8,
        "learning_rate": 3e-3,
        "min_learning_rate": 3e-4,
        "batch_size": 5,
        "micro_batch_size": 1,
        "max_length": 256,
        "precision": "fp32",
        "save_every": 2,
        "device": "cpu",
        "options": OPTIONS,
    }
    return TrainerSettings.model_validate(plain | changes)


def spec(
    root: Path,
    name: str,
    *,
    model: Path | None = None,
    on_step: Callable[[TrainProgress], None] = lambda _: None,
    **changes: Any,
) -> TrainSpec:
    """A training with output and state in ``root/name``."""
    (root / name).mkdir(exist_ok=True)
    return TrainSpec(
        stage="low",
        model=model or Path(resolve_model(STUDENT)),
        output=root / name / "out",
        state=root / name / "state",
        settings=settings(**changes),
        seed=7,
        trust_remote_code=False,
        on_step=on_step,
    )


def shards(root: Path) -> list[Path]:
    """Thirty rows of unlike weights, the same in every process."""
    place = root / "rows"
    if not place.exists():
        rows = train_rows(ChatTokenizer.load(ModelSettings(model=STUDENT)), 30, weights=(1.0, 0.5, 2.0))
        write_shards(place, rows)
    return sorted(place.glob("*.parquet"))


def processes_of(state: Path) -> list[int]:
    """Ids of living processes that were started for a training with this state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(state.absolute()).encode() in words:
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    # DIRECTORY SHARD... SETTINGS as JSON
    from dasd_deepspeed.trainer import DeepSpeedTrainer

    place = Path(sys.argv[1])

    def told(step: TrainProgress) -> None:
        sys.stdout.write(f"{step.step}\n")
        sys.stdout.flush()

    wanted = replace(
        spec(place.parent, place.name, on_step=told),
        settings=TrainerSettings.model_validate_json(sys.argv[-1]),
    )
    DeepSpeedTrainer(wanted.settings).train([Path(each) for each in sys.argv[2:-1]], wanted, resume=True)

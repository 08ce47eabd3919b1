"""What the host tells the processes of a training, and the files through which they answer.

All lies in the training's state directory, which hosts of one training share.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from dasd.api import OnPolicyLoss, TrainerSettings, TrainSpec, read_json


@dataclass(frozen=True, slots=True)
class Files:
    """Names in the state directory."""

    directory: Path

    @property
    def job(self) -> Path:
        """The job, written once by the host."""
        return self.directory / "job.json"

    @property
    def progress(self) -> Path:
        """A line of JSON for every step, and one at the end: written by rank 0, followed by the host."""
        return self.directory / "progress.jsonl"

    @property
    def stop(self) -> Path:
        """There when the processes are to save and end."""
        return self.directory / "stop"

    @property
    def heartbeat(self) -> Path:
        """Rewritten by the host as long as it lives."""
        return self.directory / "heartbeat"

    def token(self) -> Path:
        """Write a file of a name that was never used: hosts that see it share the directory."""
        path = self.directory / f"seen-{uuid4().hex}"
        path.write_text(path.name, encoding="utf-8")
        return path

    def log(self, rank: int | str) -> Path:
        """Whatever a process prints."""
        return self.directory / f"rank-{rank}.log"

    def error(self, rank: int | str) -> Path:
        """Why a process ended."""
        return self.directory / f"rank-{rank}.error.json"

    def errors(self) -> list[Path]:
        """Reports of processes that failed, the earliest first."""
        return sorted(self.directory.glob("rank-*.error.json"), key=lambda path: path.stat().st_mtime_ns)

    def clear(self) -> None:
        """Remove what an earlier start left; saved states and the curve stay."""
        left = [path for name in ("rank-*.*", "seen-*") for path in self.directory.glob(name)]
        for path in (self.progress, self.stop, self.heartbeat, *left):
            path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Job:
    """One training, as every process of it gets it."""

    shards: tuple[Path, ...]
    spec: TrainSpec
    resume: bool
    device: str
    """``cpu`` or ``cuda``."""
    watch: str
    """How a process notices the host's death: at once by the end of its stdin (``stdin``, or ``answers``, where rank 0
    reads the host's answers to its steps there), or in a minute by the end of a ``heartbeat``."""

    def write(self) -> None:
        """Leave the job in the state directory."""
        spec = self.spec
        record = {
            "shards": [str(path.absolute()) for path in self.shards],
            "resume": self.resume,
            "device": self.device,
            "watch": self.watch,
            "stage": spec.stage,
            "model": str(spec.model.absolute()),
            "output": str(spec.output.absolute()),
            "settings": spec.settings.model_dump(mode="json"),
            "seed": spec.seed,
            "trust_remote_code": spec.trust_remote_code,
            "on_policy": None if spec.on_policy is None else asdict(spec.on_policy),
            "part": spec.part,
            "parts": spec.parts,
        }
        Files(spec.state).job.write_text(json.dumps(record, indent=2), encoding="utf-8")

    @staticmethod
    def read(directory: Path) -> Job:
        """The job in the state directory ``directory``. Its ``on_step`` does nothing."""
        record = read_json(Files(directory).job)
        shards: Sequence[str] = record["shards"]
        return Job(
            shards=tuple(Path(path) for path in shards),
            spec=TrainSpec(
                stage=record["stage"],
                model=Path(record["model"]),
                output=Path(record["output"]),
                state=directory,
                settings=TrainerSettings.model_validate(record["settings"]),
                seed=record["seed"],
                trust_remote_code=record["trust_remote_code"],
                on_step=lambda _: None,
                on_policy=None if record["on_policy"] is None else OnPolicyLoss(**record["on_policy"]),
                part=record["part"],
                parts=record["parts"],
            ),
            resume=record["resume"],
            device=record["device"],
            watch=record["watch"],
        )

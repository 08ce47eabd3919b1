"""How far the losses of divided trainings are from the built-in trainer's: prints a Markdown table.

python plugins/dasd-deepspeed/compare.py          # five minutes on two cores
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "tests"))

from deepspeed_training import shards, spec

from dasd.api import Trainer, TrainProgress

DIVISIONS: tuple[dict[str, Any], ...] = (
    {"zero_stage": 0},
    {"zero_stage": 1},
    {"zero_stage": 3, "offload": "parameters"},
    {"zero_stage": 2, "processes": 2},
    {"zero_stage": 3, "processes": 2},
)


def losses(root: Path, name: str, trainer: type[Trainer], **changes: Any) -> list[float]:
    """Losses of the eight steps of one training."""
    steps: list[TrainProgress] = []
    wanted = spec(root, name, on_step=steps.append, **changes)
    made: Any = trainer
    made(wanted.settings).train(shards(root), wanted, resume=False)
    return [step.loss for step in steps]


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """One line a setting: the largest relative difference over three steps and over all."""
    import torch

    from dasd.training.torch.trainer import TorchTrainer
    from dasd_deepspeed.trainer import DeepSpeedTrainer

    torch.set_num_threads(1)
    _line("| optimizer, precision | division | first 3 steps | all 8 steps |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for optimizer, precision in (("adamw", "fp32"), ("muon", "fp32"), ("adamw", "bf16")):
            chosen = {"optimizer": optimizer, "precision": precision}
            wanted = losses(root, f"{optimizer}-{precision}", TorchTrainer, **chosen, options={})
            for number, options in enumerate(DIVISIONS):
                name = f"{optimizer}-{precision}-{number}"
                got = losses(root, name, DeepSpeedTrainer, **chosen, options=options)
                apart = [abs(a - b) / b for a, b in zip(got, wanted, strict=True)]
                words = ", ".join(f"{key}: {value}" for key, value in options.items())
                _line(f"| {optimizer}, {precision} | {words} | {max(apart[:3]):.1e} | {max(apart):.1e} |")


if __name__ == "__main__":
    main()

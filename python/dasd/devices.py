"""The device that a ``device`` key of a recipe names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dasd.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["pick_device"]


def pick_device(name: str, key: str) -> torch.device:
    """``auto`` is the first GPU, else the CPU. ``key`` stands before ``name`` in the message of InputError."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{key} {name!r}: wanted auto, cpu, cuda or cuda:N") from error
    if picked.type not in ("cpu", "cuda"):
        raise InputError(f"{key} {name!r}: wanted auto, cpu, cuda or cuda:N")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise InputError(f"{key} {name!r}: torch sees {torch.cuda.device_count()} GPUs; use auto or cpu")
    return picked

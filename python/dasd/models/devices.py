"""The device that a ``device`` key of a recipe names, and which attention kernels run there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dasd.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["any_length_attention", "pick_device"]


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


@contextmanager
def any_length_attention(device: torch.device) -> Iterator[None]:
    """Within it torch's attention takes kernels that run at any length without preparation.

    On recent GPUs torch prefers cuDNN's, which makes a plan for every new shape: packs and texts of ever new
    lengths would wait for plans more than for attention.
    """
    if device.type != "cuda":
        yield
        return
    import torch

    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)

"""A training row as a reader can check it: token by token, masked or trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from dasd.training.loaded_rows import expand_runs

_SHOWN = 24
"""Tokens shown at either end of a long run."""


def render_labels(
    sample_id: str,
    token_ids: Sequence[int],
    runs: Sequence[int],
    token_text: Callable[[int], str],
) -> str:
    """Lines of text that show what a row trains.

    One line a run of the mask, tokens kept apart by ``|``, the middle of long runs left out.
    ``token_text`` gives the text of one token id.
    """
    trained = expand_runs(runs)[: len(token_ids)]
    count = int(trained.sum())
    title = f"labels of sample {sample_id}: {len(token_ids)} tokens, "
    lines = [title + f"{len(trained) - count} masked, {count} trained"]
    first = 0
    for place, length in enumerate(runs):
        if length:
            kind = "trained" if place % 2 else "masked"
            lines.append(f"  {kind:7} {length:6}  {_join(token_ids[first : first + length], token_text)}")
        first += length
    return "\n".join(lines)


def _join(token_ids: Sequence[int] | npt.NDArray[np.uint32], token_text: Callable[[int], str]) -> str:
    def shown(ids: Sequence[int] | npt.NDArray[np.uint32]) -> str:
        return "|".join(token_text(int(i)).replace("\n", "\\n").replace("\t", "\\t") for i in ids)

    if len(token_ids) <= 2 * _SHOWN:
        return shown(token_ids)
    left_out = len(token_ids) - 2 * _SHOWN
    return f"{shown(token_ids[:_SHOWN])}| ... {left_out} more ... |{shown(token_ids[-_SHOWN:])}"

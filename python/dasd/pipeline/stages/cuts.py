"""Where a student's answer is cut for the teacher to take over."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

__all__ = ["cut_end"]


def cut_end(text: str, token_ends: Sequence[int], cut_from: float, draw: float) -> int:
    """Bytes of ``text`` before the cut: the end of a token beyond ``cut_from`` of the tokens.

    ``token_ends``: byte offsets at which the student's tokens end; ``draw``: a number in [0, 1) that picks
    one of the tokens ``floor(cut_from n) + 1`` to ``n - 1``. A place inside a character moves on to the next
    token's end, or back where there is none. Returns the whole length for an answer of one token.
    """
    encoded = text.encode()
    count = len(token_ends)
    first = min(floor(cut_from * count) + 1, max(count - 1, 1))
    places = range(first, max(count, first + 1))
    picked = first + floor(draw * len(places))
    for number in [*range(picked, count), *range(picked - 1, 0, -1)]:
        end = int(token_ends[number - 1])
        if 0 < end <= len(encoded) and _is_boundary(encoded, end):
            return end
    return len(encoded)


def _is_boundary(encoded: bytes, end: int) -> bool:
    """Whether no character of UTF-8 spans ``end``: continuation bytes are 10xxxxxx."""
    return end == len(encoded) or encoded[end] & 0xC0 != 0x80

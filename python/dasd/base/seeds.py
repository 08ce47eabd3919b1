"""Identifiers and random numbers derived from what they belong to, not from the order of the work.

A draw depends on its own parts alone, so a resumed, reordered or extended run makes the same draws.
"""

from __future__ import annotations

from dasd.base.checksums import checksum

__all__ = ["digest", "seed_of", "uniform"]


def digest(*parts: object) -> str:
    """32 hexadecimal digits (16 bytes of blake2b) of the parts' texts, kept apart by a separator."""
    return _hash(parts, 16)


def seed_of(*parts: object) -> int:
    """A seed of 63 bits, so that it also fits signed integers, from the parts' texts."""
    return int(_hash(parts, 8), 16) >> 1


def uniform(*parts: object) -> float:
    """A number in [0, 1) from the parts' texts: 53 bits, as many as a double holds."""
    return (int(_hash(parts, 8), 16) >> 11) / 2**53


def _hash(parts: tuple[object, ...], size: int) -> str:
    return checksum("\x1f".join(map(str, parts)).encode(), size)

"""Numbers of identities in the order in which they come, in 24 to 32 bytes each."""

from __future__ import annotations

from array import array
from hashlib import blake2b
from struct import unpack

__all__ = ["IdNumbers"]

_SMALLEST = 1 << 10


class IdNumbers:
    """Holds 128 bits of each identity, and finds them by a table that is at most half full."""

    def __init__(self) -> None:
        self._first, self._second = array("Q"), array("Q")
        self._table = array("I", bytes(4 * _SMALLEST))  # a number and one more; 0 where there is none

    def __len__(self) -> int:
        return len(self._first)

    def find(self, identity: str) -> int | None:
        """The number of an identity; None of one that never came."""
        return self._look(*_halves(identity))[1]

    def add(self, identity: str) -> int | None:
        """The number of an identity that came before; None of a new one, which gets the next number."""
        first, second = _halves(identity)
        place, number = self._look(first, second)
        if number is not None:
            return number
        self._first.append(first)
        self._second.append(second)
        self._table[place] = len(self)
        if 2 * len(self) > len(self._table):
            self._grow()
        return None

    def _look(self, first: int, second: int) -> tuple[int, int | None]:
        """The place of an identity in the table, and its number; of a new one where it would be, and None."""
        table, last = self._table, len(self._table) - 1
        place = first & last
        while number := table[place]:
            if self._first[number - 1] == first and self._second[number - 1] == second:
                return place, number - 1
            place = (place + 1) & last
        return place, None

    def _grow(self) -> None:
        size = 2 * len(self._table)
        self._table = table = array("I", bytes(4 * size))
        for number, first in enumerate(self._first, 1):
            place = first & (size - 1)
            while table[place]:
                place = (place + 1) & (size - 1)
            table[place] = number


def _halves(identity: str) -> tuple[int, int]:
    # What a user's JSON holds may be no text: half of a surrogate pair.
    first, second = unpack("<QQ", blake2b(identity.encode(errors="surrogatepass"), digest_size=16).digest())
    return first, second

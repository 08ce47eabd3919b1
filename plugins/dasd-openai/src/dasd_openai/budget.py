"""A bound on the tokens that are under way at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """Lets work of so many tokens in; what is larger than all of it goes alone."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens
        self._used = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def of(self, tokens: int) -> AsyncIterator[None]:
        """Wait for room, and hold it."""
        taken = min(tokens, self._tokens)
        async with self._changed:
            await self._changed.wait_for(lambda: self._used + taken <= self._tokens)
            self._used += taken
        try:
            yield
        finally:
            async with self._changed:
                self._used -= taken
                self._changed.notify_all()

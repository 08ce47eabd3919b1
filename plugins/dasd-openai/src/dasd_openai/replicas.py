"""Several servers of one model: each request goes to the one with most room, and those that are away are left out."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from dasd.api import BackendError, ChatTokenizer, InputError
from dasd_openai.answers import ModelList, ShapeT
from dasd_openai.connections import check_open_files
from dasd_openai.failures import Failure, Kind, pause
from dasd_openai.options import OpenAIOptions
from dasd_openai.probe import Served, difference, probe
from dasd_openai.transport import Answer, AnswerT, Attempts, Transport, UnansweredError

_LOG = logging.getLogger("dasd_openai")
_FAILURES = 16
"""Without one good answer between them, after which a server is left out while there are others: one that fails at once
would have most room of all."""


class _Server:
    """One of several, and what is known of it."""

    def __init__(self, options: OpenAIOptions, concurrency: int, address: str) -> None:
        self.transport = Transport(options, concurrency, address)
        self.address = address
        self.concurrency = concurrency
        self.under_way: set[asyncio.Task[Any]] = set()
        self.taken = 0
        """Places that requests have."""
        self.asked = 0
        self.failures = 0
        """Since its last good answer; of those that don't tell to come later."""
        self.tries = 0
        """To take it in again, since its last good answer."""
        self.heard = 0.0
        """When it last answered, or was given something to do."""
        self.away = ""
        """Why it is left out; "" where it isn't."""
        self.doubt = asyncio.Event()
        """Set while nobody knows whether it is there."""
        self.life = object()
        """Another one each time that it is back: what it failed at before says nothing then."""

    @property
    def present(self) -> bool:
        """Whether it isn't left out."""
        return not self.away

    @property
    def ready(self) -> bool:
        """Whether a request may be sent now, if there is room."""
        return self.present and not self.doubt.is_set() and self.transport.held <= 0

    def drop(self) -> None:
        """Take back what it was asked; it is asked of others."""
        for task in self.under_way:
            task.cancel()


class Replicas:
    """Servers that give the same answers. Used from one event loop, after ``open``.

    Each has ``concurrency`` places for requests. One that can't be reached, or has nothing to say for as long as the
    patience and doesn't answer when it is asked for its models either, is left out until it answers again; its requests
    are asked of the others. A single server is waited for instead, as ``Transport.ask`` does it.
    """

    def __init__(self, options: OpenAIOptions, concurrency: int, tokenizer: ChatTokenizer) -> None:
        """Connects to nothing yet. Raises InputError for a key that can't be one, or too many connections."""
        check_open_files(concurrency * len(options.addresses))
        self._options = options
        self._tokenizer = tokenizer
        self._servers = [_Server(options, concurrency, address) for address in options.addresses]
        self._silence = max(options.patience, options.connect_timeout)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._watches: list[asyncio.Task[None]] = []
        self._last_answer = 0.0
        self._served: Served

    @property
    def names(self) -> str:
        """All addresses, for messages."""
        return ", ".join(server.address for server in self._servers)

    async def open(self) -> Served:
        """Ask what the servers are; waits for the first of them, and leaves out those that are away then.

        Raises what ``probe`` raises, and InputError for servers that aren't alike.
        """
        self._last_answer = _now()
        if len(self._servers) == 1:
            return await probe(self._servers[0].transport, self._options, self._tokenizer)
        for tries in count(1):
            found = await asyncio.gather(*(self._first_look(server) for server in self._servers))
            first = next((served for served in found if served is not None), None)
            if first is not None:
                break
            if tries == 1:
                self._tell_none()
            left = self._patience_left("list of models", self._last_answer)
            await asyncio.sleep(min(left, pause(tries, self._options.backoff)))
        assert first is not None
        self._served = first
        named = f"{self._servers[found.index(first)].address} has"
        for server, served in zip(self._servers, found, strict=True):
            wrong = "" if served is None else difference(served, first, named, self._options)
            if wrong:
                raise InputError(
                    f"teacher.options.base_url: {server.address} {wrong}; name servers of one model"
                )
            if served is None:
                _LOG.warning("%s is left out until it answers (%s)", server.address, server.away)
        self._watches = [asyncio.create_task(self._watch(server)) for server in self._servers]
        return first

    async def close(self) -> None:
        """Drop all connections."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        for server in self._servers:
            await server.transport.close()

    async def ask(
        self,
        what: str,
        path: str,
        body: Mapping[str, Any],
        shape: type[ShapeT],
        read: Callable[[ShapeT], AnswerT],
    ) -> AnswerT:
        """As ``Transport.ask``, of any of the servers."""
        if len(self._servers) == 1:
            return await self._servers[0].transport.ask(what, path, body, shape, read)
        attempts, failed = Attempts(), set[object]()
        while True:
            server = await self._place(what, failed)
            try:
                attempts.began = _now()
                outcome = await _asked(server, server.transport.attempt(path, body, shape, read))
            finally:
                server.taken -= 1
                self._wake(1)
            if isinstance(outcome, Answer):
                self._last_answer = server.heard = _now()
                server.failures = server.tries = 0
                return outcome.value
            failed.add(server.life)
            await asyncio.sleep(self._after(server, outcome, failed, what, path, attempts))

    def _after(
        self,
        server: _Server,
        failure: Failure,
        failed: set[object],
        what: str,
        path: str,
        attempts: Attempts,
    ) -> float:
        """Seconds until the request is sent again: none where another server may answer it now."""
        options = self._options
        others = [each for each in self._servers if each.present and each.life not in failed]
        if failure.kind is Kind.AWAY and server.present:
            server.doubt.set()
        if failure.kind is Kind.BUSY:
            server.transport.hold(failure.wait or pause(1, options.backoff), failure.reason)
        elif failure.kind is not Kind.REFUSED:
            server.failures += 1
            if others and server.present and server.failures > _FAILURES:
                self._leave_out(server, failure.reason)
        if others and failure.kind in (Kind.AWAY, Kind.BUSY):
            attempts.count += 1
            wait = pause(attempts.count, options.backoff)
        else:
            asked = replace(failure, wait=None) if others else failure
            wait = server.transport.pause(what, path, asked, attempts)
        if not others:
            failed.clear()
        return 0.0 if any(each.ready for each in others) else wait

    async def _place(self, what: str, failed: set[object]) -> _Server:
        """A place at the server that has most room, if possible none of ``failed``. Raises UnansweredError."""
        began = _now()
        while True:
            ready = [each for each in self._servers if each.ready]
            # One that failed is no place for this request while it may have one elsewhere.
            ready = [each for each in ready if each.life not in failed] or ready
            server = min(ready, key=lambda each: (each.taken, each.asked), default=None)
            if server is not None and server.taken < server.concurrency:
                if not server.under_way:
                    server.heard = _now()
                server.taken += 1
                server.asked += 1
                return server
            left = self._silence
            if not any(each.present and each.transport.held <= 0 for each in self._servers):
                left = self._patience_left(what, began)
            held = (each.transport.held for each in self._servers if each.present)
            await self._woken(
                min(left, *(random.uniform(1.0, 1.1) * each for each in held if each > 0), left)
            )

    async def _woken(self, seconds: float) -> None:
        """Wait until a place may be free, or so long."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await asyncio.wait({place}, timeout=seconds)
        except asyncio.CancelledError:
            if place.done():  # it was another's turn
                self._wake(1)
            raise
        finally:
            if not place.done():
                self._waiting.remove(place)

    def _wake(self, most: int) -> None:
        """Let so many that wait look for a place."""
        for _ in range(min(most, len(self._waiting))):
            self._waiting.popleft().set_result(None)

    def _patience_left(self, what: str, began: float) -> float:
        """Seconds for which a request that can be asked of no server waits on. Raises UnansweredError for none."""
        options = self._options
        waited = _now() - max(began, self._last_answer)
        if waited < options.patience:
            return options.patience - waited
        states = "; ".join(
            f"{each.address}: {each.away or f'allows no more requests for {each.transport.held:.3g} s'}"
            for each in self._servers
        )
        raise UnansweredError(
            f"{what}: no server could be asked for {waited:.3g} s ({states}); see that they run at "
            f"teacher.options.base_url, or raise teacher.options.patience ({options.patience:g} s)"
        )

    # -- who is there ---------------------------------------------------------------------------------

    async def _first_look(self, server: _Server) -> Served | None:
        """What a server is; None where it is away, which ``server.away`` tells."""
        server.away = await self._missing(server)
        if server.away:
            return None
        try:
            return await probe(server.transport, self._options, self._tokenizer)
        except UnansweredError as error:
            server.away = str(error)
            return None

    async def _missing(self, server: _Server) -> str:
        """Why a server doesn't answer when it is asked for its models; "" where it does."""
        limit = self._options.connect_timeout
        try:
            async with asyncio.timeout(limit):
                found = await server.transport.attempt("/models", None, ModelList, lambda models: models.data)
        except TimeoutError:
            return f"no list of models within {limit:g} s"
        if isinstance(found, Failure) and found.kind in (Kind.AWAY, Kind.FAULT):
            return found.reason
        server.heard = _now()
        return ""

    async def _watch(self, server: _Server) -> None:
        """Look after a server as long as the loop runs."""
        while True:
            await self._doubted_or_silent(server)
            if server.present:
                reason = await self._missing(server)
                server.doubt.clear()
                if reason and server.present:
                    self._leave_out(server, reason)
            if not server.present:
                await self._back(server)
            self._wake(len(self._waiting))

    async def _doubted_or_silent(self, server: _Server) -> None:
        while server.present:
            since = _now() - server.heard if server.under_way else 0.0
            try:
                async with asyncio.timeout(max(0.0, self._silence - since)):
                    await server.doubt.wait()
                return
            except TimeoutError:
                if server.under_way and _now() - server.heard >= self._silence:
                    return

    def _leave_out(self, server: _Server, reason: str) -> None:
        server.away = reason
        server.doubt.set()  # wakes whoever watches it
        _LOG.warning("%s is left out until it answers (%s); the others are asked", server.address, reason)
        if not any(other.present for other in self._servers):
            self._tell_none()

    def _tell_none(self) -> None:
        _LOG.warning(
            "none of %s can be reached; waiting up to %g s for one", self.names, self._options.patience
        )

    async def _back(self, server: _Server) -> None:
        """Wait until a server that was left out answers again, as the others do."""
        told = ""
        while True:
            server.tries += 1
            if _now() - server.heard >= self._silence:
                server.drop()
            await asyncio.sleep(pause(server.tries, self._options.backoff))
            if await self._missing(server):
                continue
            try:
                served = await probe(server.transport, self._options, self._tokenizer)
                wrong = difference(served, self._served, "the others have", self._options)
            except (BackendError, InputError) as error:
                wrong = str(error)
            if not wrong:
                break
            if wrong != told:
                told = server.away = wrong
                _LOG.warning("%s answers and is left out nonetheless: %s", server.address, wrong)
        server.away, server.failures, server.heard, server.life = "", 0, _now(), object()
        server.doubt.clear()
        _LOG.warning("%s answers, and is asked from now on", server.address)


async def _asked(
    server: _Server, attempt: Coroutine[Any, Any, Answer[AnswerT] | Failure]
) -> Answer[AnswerT] | Failure:
    """What comes of an attempt; a server that is given up on while it has it is away."""
    task = asyncio.create_task(attempt)
    server.under_way.add(task)
    try:
        await asyncio.wait({task})
    finally:
        server.under_way.discard(task)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return Failure(Kind.AWAY, "it fell silent") if task.cancelled() else task.result()


def _now() -> float:
    return asyncio.get_running_loop().time()

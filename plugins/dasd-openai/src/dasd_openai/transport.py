"""HTTP requests that end with one good answer each, or with an error that says what to do."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, Generic, TypeVar

import httpx

from dasd.api import BackendError
from dasd_openai.answers import ShapeT, decoded
from dasd_openai.connections import POOL, clients, proxy_hint
from dasd_openai.failures import Failure, Kind, MalformedError, exhausted_wait, of_status, pause, plain
from dasd_openai.key import Key
from dasd_openai.options import OpenAIOptions
from dasd_openai.receiving import ENCODINGS, most_bytes, receive

AnswerT = TypeVar("AnswerT")

_LOG = logging.getLogger("dasd_openai")
_SILENT_SECONDS = 5.0
"""A longer wait is told, and a server that has answered nothing for as long is away."""

_OF_THE_REQUEST = frozenset({400, 413, 422})


class UnansweredError(BackendError):
    """The server could not be reached, or allowed no more requests, for longer than the patience."""


class RefusedError(BackendError):
    """The server won't do what was asked. ``status`` is HTTP's."""

    def __init__(self, message: str, status: int = 0, *, alone: bool | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.alone = status in _OF_THE_REQUEST if alone is None else alone
        """Whether it is about this one request, and others may well be answered."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[AnswerT]):
    """What a reader made of a good answer."""

    value: AnswerT


@dataclass(slots=True)
class Attempts:
    """Of one request. ``waited``: seconds it waited for a server that was away or busy, since others were answered."""

    began: float = 0.0
    count: int = 0
    faults: int = 0
    first: float | None = None
    waited: float = 0.0


class Transport:
    """One connection pool to one server. Used from one event loop.

    A request may reach the server more than once (its answer was lost); it is idempotent, and the caller gets
    one answer.
    """

    def __init__(self, options: OpenAIOptions, connections: int, address: str) -> None:
        """At most ``connections`` at a time to ``address``, one of the options'. Raises InputError for a key that can't
        be one."""
        self.address = address
        self._options = options
        self._key = Key(options.api_key_env)
        self._not_before = 0.0
        self._last_answer = -math.inf
        self._down = False
        self._told_until = -math.inf
        # A pool goes through all its connections for every request: one of thousands takes most of the time.
        headers = {**self._key.headers(), "Accept-Encoding": ENCODINGS}
        self._clients = clients(address, options.connect_timeout, headers, math.ceil(connections / POOL))
        self._turns = cycle(self._clients)

    def beside(self, path: str) -> str:
        """Address of what lies beside the base address's /v1, not below it."""
        return self.address.removesuffix("/v1") + path

    def recorded(self, name: str) -> str:
        """A name that the server gives, without the key."""
        return self._key.hidden_in_name(name)

    async def close(self) -> None:
        """Drop all connections."""
        for client in self._clients:
            await client.aclose()

    async def ask(
        self,
        what: str,
        path: str,
        body: Mapping[str, Any] | None,
        shape: type[ShapeT],
        read: Callable[[ShapeT], AnswerT],
    ) -> AnswerT:
        """POST ``body`` (None: GET) and give what ``read`` makes of the ``shape`` that comes back.

        ``what`` names the request in messages; ``read`` raises MalformedError for an answer to ask for again. Raises
        RefusedError where asking again is no use, BackendError where it has been tried long enough.
        """
        attempts = Attempts()
        while True:
            while self.held > 0:
                await asyncio.sleep(self.held + random.uniform(0, min(1.0, 0.1 * self.held)))
            attempts.began = asyncio.get_running_loop().time()
            outcome = await self.attempt(path, body, shape, read)
            if isinstance(outcome, Answer):
                return outcome.value
            await asyncio.sleep(self.pause(what, path, outcome, attempts))

    async def attempt(
        self,
        path: str,
        body: Mapping[str, Any] | None,
        shape: type[ShapeT],
        read: Callable[[ShapeT], AnswerT],
    ) -> Answer[AnswerT] | Failure:
        """Ask once. What a server says goes no further before it can be shown."""
        try:
            found = await self._sent(path, body, lambda raw: read(decoded(raw, shape)))
        except BackendError as error:
            raise BackendError(plain(self._key.hidden(str(error)))) from None
        if isinstance(found, Answer):
            self._answered()
            return found
        return replace(found, reason=plain(self._key.hidden(found.reason)))

    async def _sent(
        self, path: str, body: Mapping[str, Any] | None, read: Callable[[bytes], AnswerT]
    ) -> Answer[AnswerT] | Failure:
        options = self._options
        # Servers begin to answer when they are done; one that then takes its time isn't worth more than one that is
        # down.
        for_body = max(options.patience, options.connect_timeout)
        client = next(self._turns)
        request = client.build_request("GET" if body is None else "POST", path, json=body)
        late = f"no answer within {options.timeout:g} s"
        try:
            async with asyncio.timeout(options.timeout):
                response = await client.send(request, stream=True)
                try:
                    late = f"an answer that began and did not end in time ({for_body:g} s)"
                    async with asyncio.timeout(for_body):
                        raw = await receive(response, most_bytes(body, len(request.content)))
                finally:
                    await response.aclose()
            failure = of_status(response.status_code, response.headers, raw)
            if failure is not None:
                return failure
            self.hold(exhausted_wait(response.headers), "its limits are used up")
            return Answer(read(raw))
        except TimeoutError:
            return Failure(Kind.FAULT, late)
        except MalformedError as error:
            return Failure(Kind.FAULT, f"a malformed answer ({error})")
        except (httpx.TransportError, OSError) as error:  # what breaks inside TLS comes as the latter
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            passing = isinstance(error, httpx.ProxyError) and not str(error).startswith("4")
            if not passing and any(sign in reason for sign in _SETTLED):
                return Failure(Kind.REFUSED, reason)
            if (
                isinstance(error, httpx.ProtocolError)
                and "disconnected" not in reason
                and "closed" not in reason
            ):
                return Failure(Kind.FAULT, f"what is no HTTP ({reason})")
            return Failure(Kind.AWAY, reason)

    def pause(self, what: str, path: str, failure: Failure, attempts: Attempts) -> float:
        """Seconds until the next attempt, within the patience. Raises BackendError where there is none."""
        options, now = self._options, asyncio.get_running_loop().time()
        attempts.count += 1
        attempts.first = now if attempts.first is None else attempts.first
        where = f"{what}: {path if '://' in path else self.address + path}"
        reason = failure.reason
        # A server that answers others all the while has something against this one.
        alone = failure.kind is Kind.FAULT and self._last_answer > attempts.first
        if failure.kind is Kind.REFUSED:
            raise RefusedError(f"{where} refused: {reason}{self._advice(failure)}", failure.status)
        if failure.kind is Kind.FAULT:
            attempts.faults += 1
            if attempts.faults > options.retries:
                raise RefusedError(
                    f"{where} failed {attempts.faults} times, the last time with {reason}; look at the "
                    "server's log, or raise teacher.options.retries or timeout",
                    failure.status,
                    alone=alone,
                )
        # Answers take long, connections don't: what lies above was no waiting for a server.
        attempts.waited += min(now - attempts.began, options.connect_timeout)
        if failure.kind is Kind.BUSY:
            # As long as others are answered, this one's turn will come.
            attempts.waited = min(attempts.waited, now - self._last_answer)
        left, asked = options.patience - attempts.waited, failure.wait or 0.0
        if asked > left or (left <= 0 and failure.kind is not Kind.FAULT):
            message = (
                f"{where} {_STATES[failure.kind]} ({reason}; {asked:.6g} s to wait, {attempts.waited:.3g} s waited); "
                f"{self._remedy(failure.kind)}, or raise teacher.options.patience ({options.patience:g} s)"
            )
            if failure.kind is Kind.FAULT:
                raise RefusedError(message, failure.status, alone=alone)
            raise UnansweredError(message)
        wait = max(0.0, min(asked + pause(attempts.count, options.backoff), left))
        attempts.waited += wait
        if failure.kind is Kind.AWAY:
            self._tell_of(reason)
        if failure.kind is Kind.BUSY:
            self.hold(asked, reason)
        self._tell(wait, reason)
        return wait

    def _remedy(self, kind: Kind) -> str:
        return _REMEDIES[kind] + (proxy_hint(self.address) if kind is Kind.AWAY else "")

    def _advice(self, failure: Failure) -> str:
        variable, another = self._key.variable, "or name another with teacher.options.api_key_env"
        if failure.status == 401 and not self._key.given:
            return f". The server wants a key: set the environment variable {variable}, {another}"
        if failure.status in (401, 403):
            refused = f". The server doesn't accept the key in the environment variable {variable}"
            return f"{refused}: set a valid one, {another}"
        if failure.status == 404:
            return ". See teacher.options.base_url (most servers want /v1 at its end) and served_model"
        if 300 <= failure.status < 400:
            return ". Nothing was sent there; set teacher.options.base_url to it if you would give that server the key"
        return next((advice for sign, advice in _SETTLED.items() if sign in failure.reason), "")

    @property
    def held(self) -> float:
        """Seconds for which the server's limits are used up; 0 or less: it may be asked."""
        return self._not_before - asyncio.get_running_loop().time()

    def hold(self, seconds: float | None, reason: str) -> None:
        """Send nothing for so long. A server that asks for more than the patience is asked nonetheless."""
        if seconds:
            wait = min(seconds, self._options.patience)
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + wait)
            self._tell(wait, reason)

    def _tell(self, wait: float, reason: str) -> None:
        """Once for all requests that wait until about then."""
        until = asyncio.get_running_loop().time() + wait
        if wait > _SILENT_SECONDS and until > self._told_until + _SILENT_SECONDS:
            self._told_until = until
            _LOG.warning("%s: %s; waiting %.0f s", self.address, reason, wait)

    def _tell_of(self, reason: str) -> None:
        """Once, until it answers again. A server that answers others meanwhile lost one connection and isn't away."""
        silent = asyncio.get_running_loop().time() - self._last_answer
        if silent > _SILENT_SECONDS and not self._down:
            self._down = True
            _LOG.warning(
                "%s can't be reached (%s); waiting up to %g s for it",
                self.address,
                reason,
                self._options.patience,
            )

    def _answered(self) -> None:
        self._last_answer = asyncio.get_running_loop().time()
        if self._down:
            self._down = False
            _LOG.warning("%s answers again", self.address)


_SETTLED = {
    "CERTIFICATE_VERIFY": ". Certificates are trusted that the environment variable SSL_CERT_FILE names, or else those "
    "of the package certifi: set it to a PEM file with the server's or its authority's",
    "WRONG_VERSION_NUMBER": ". What answers there speaks no TLS: set teacher.options.base_url to http://, not https://",
    "ProxyError": ". Look at the proxy's address and password in the environment (HTTPS_PROXY, ALL_PROXY), or put the "
    "server's host into NO_PROXY",
}
"""Signs of what no waiting mends, and what to do."""
_STATES = {
    Kind.BUSY: "allows no more requests",
    Kind.AWAY: "could not be reached",
    Kind.FAULT: "failed",
}
_REMEDIES = {
    Kind.BUSY: "lower teacher.options.concurrency",
    Kind.AWAY: "see that the server runs at teacher.options.base_url",
    Kind.FAULT: "look at the server's log",
}

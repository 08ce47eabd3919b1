"""HTTP requests that end with one good answer each, or with an error that says what to do."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import httpx

from dasd.api import BackendError
from dasd_openai.failures import Failure, Kind, MalformedError, exhausted_wait, of_status, pause
from dasd_openai.key import Key
from dasd_openai.options import OpenAIOptions

AnswerT = TypeVar("AnswerT")
Reader = Callable[[dict[str, Any]], AnswerT]

_LOG = logging.getLogger("dasd_openai")


_OF_THE_REQUEST = frozenset({400, 413, 422})


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
class _Attempts:
    """Of one request."""

    count: int = 0
    faults: int = 0
    first: float | None = None
    away_since: float | None = None
    busy_since: float | None = None


class Transport:
    """One connection pool to one server. Used from one event loop.

    A request may reach the server more than once (its answer was lost); it is idempotent, and the caller gets
    one answer.
    """

    def __init__(self, options: OpenAIOptions, connections: int) -> None:
        """At most ``connections`` at a time. Raises InputError for a key that can't be one."""
        self._options = options
        self._key = Key(options.api_key_env)
        self._not_before = 0.0
        self._last_answer = -math.inf
        self._down = False
        self._client = httpx.AsyncClient(
            base_url=options.base_url,
            headers=self._key.headers(),
            timeout=httpx.Timeout(None, connect=options.connect_timeout),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            # A proxy of the environment's is for other hosts than this one.
            trust_env=not _is_loopback(options.base_url),
        )

    def beside(self, path: str) -> str:
        """Address of what lies beside the base address's /v1, not below it."""
        return self._options.base_url.removesuffix("/v1") + path

    async def close(self) -> None:
        """Drop all connections."""
        await self._client.aclose()

    async def ask(
        self, what: str, path: str, body: Mapping[str, Any] | None, read: Reader[AnswerT]
    ) -> AnswerT:
        """POST ``body`` (None: GET) and give what ``read`` makes of the JSON object that comes back.

        ``what`` names the request in messages; ``read`` raises MalformedError for an answer to ask for again. Raises
        RefusedError where asking again is no use, BackendError where it has been tried long enough.
        """
        attempts = _Attempts()
        while True:
            await self._may_ask()
            outcome = await self._once(path, body, read)
            if isinstance(outcome, Answer):
                self._answered()
                return outcome.value
            await asyncio.sleep(self._pause(what, path, outcome, attempts))

    async def _once(
        self, path: str, body: Mapping[str, Any] | None, read: Reader[AnswerT]
    ) -> Answer[AnswerT] | Failure:
        timeout = self._options.timeout
        try:
            async with asyncio.timeout(timeout):
                response = await self._client.request("GET" if body is None else "POST", path, json=body)
        except TimeoutError:
            return Failure(Kind.FAULT, f"no answer within {timeout:g} s")
        except httpx.DecodingError:
            return Failure(Kind.FAULT, "an answer that can't be decompressed")
        except httpx.TransportError as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            return Failure(Kind.REFUSED if "CERTIFICATE_VERIFY" in reason else Kind.AWAY, reason)
        failure = of_status(response, self._key.hidden)
        if failure is not None:
            return failure
        self._hold(exhausted_wait(response.headers))
        try:
            answer = json.loads(response.content)
            if not isinstance(answer, dict):
                raise MalformedError(f"wanted a JSON object, got {type(answer).__name__}")
            return Answer(read(answer))
        except ValueError as error:  # text that is no JSON, bytes that are no text
            return Failure(Kind.FAULT, f"an answer that is no JSON ({error})")
        except MalformedError as error:
            return Failure(Kind.FAULT, f"a malformed answer ({error})")

    def _pause(self, what: str, path: str, failure: Failure, attempts: _Attempts) -> float:
        """Seconds until the next attempt. Raises BackendError where there is none."""
        options, now = self._options, asyncio.get_running_loop().time()
        attempts.count += 1
        attempts.first = now if attempts.first is None else attempts.first
        where = f"{what}: {path if '://' in path else options.base_url + path}"
        reason = failure.reason
        if failure.kind is Kind.REFUSED:
            raise RefusedError(f"{where} refused: {reason}{self._advice(failure)}", failure.status)
        if failure.kind is Kind.FAULT:
            attempts.faults += 1
            if attempts.faults > options.retries:
                # A server that answers others all the while has something against this one.
                raise RefusedError(
                    f"{where} failed {attempts.faults} times, the last time with {reason}; look at the "
                    "server's log, or raise teacher.options.retries or timeout",
                    failure.status,
                    alone=self._last_answer > attempts.first,
                )
        elif failure.kind is Kind.AWAY:
            attempts.away_since = now if attempts.away_since is None else attempts.away_since
            self._tell_of(reason)
            if now - attempts.away_since >= options.patience:
                raise BackendError(
                    f"{where} could not be reached for {options.patience:g} s ({reason}); see that the server "
                    "runs at teacher.options.base_url, or raise teacher.options.patience"
                )
        else:
            # As long as others are answered, this one's turn will come.
            attempts.busy_since = now if attempts.busy_since is None else attempts.busy_since
            waited = now - max(attempts.busy_since, self._last_answer)
            if waited + (failure.wait or 0) > options.patience:
                raise BackendError(
                    f"{where} allows no more requests ({reason}; {failure.wait or 0:.0f} s to wait, "
                    f"{waited:.0f} s waited); lower teacher.options.concurrency, or raise patience"
                )
            self._hold(failure.wait)
        return max(failure.wait or 0.0, 0.0) + pause(attempts.count, options.backoff)

    def _advice(self, failure: Failure) -> str:
        variable = self._key.variable
        if failure.status == 401 and not self._key.given:
            return f". The server wants a key: set the environment variable {variable}, or name another with teacher.options.api_key_env"
        if failure.status in (401, 403):
            return f". The server doesn't accept the key in the environment variable {variable}: set a valid one, or name another with teacher.options.api_key_env"
        if failure.status == 404:
            return ". See teacher.options.base_url (most servers want /v1 at its end) and served_model"
        if 300 <= failure.status < 400:
            return ". Set teacher.options.base_url to that address"
        return ""

    async def _may_ask(self) -> None:
        """Wait while the server's limits are used up."""
        while (left := self._not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left + random.uniform(0, min(1.0, 0.1 * left)))

    def _hold(self, seconds: float | None) -> None:
        """Send nothing for so long. A server that asks for more than the patience is asked nonetheless."""
        if seconds:
            now = asyncio.get_running_loop().time()
            self._not_before = max(self._not_before, now + min(seconds, self._options.patience))

    def _tell_of(self, reason: str) -> None:
        if not self._down:
            self._down = True
            _LOG.warning(
                "%s can't be reached (%s); waiting up to %g s for it",
                self._options.base_url,
                reason,
                self._options.patience,
            )

    def _answered(self) -> None:
        self._last_answer = asyncio.get_running_loop().time()
        if self._down:
            self._down = False
            _LOG.warning("%s answers again", self._options.base_url)


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

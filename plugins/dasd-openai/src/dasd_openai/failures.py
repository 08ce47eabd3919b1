"""What went wrong with a request, whether it is sent again, and when."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from pydantic_core import from_json

_WAITING = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST = 600
"""Characters of a server's words in a message."""
_UNREACHABLE = {502, 503, 504, 520, 521, 522, 523, 524, 529, 530}


class Kind(Enum):
    """How a failure is taken."""

    BUSY = "busy"
    """The server allows no more requests now; waited out."""
    AWAY = "away"
    """Nobody answers, or the connection broke: a server that restarts; waited for."""
    FAULT = "fault"
    """An error, a bad answer or none in time; sent again so many times."""
    REFUSED = "refused"
    """Asking again would not help."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed."""

    kind: Kind
    reason: str
    status: int = 0
    wait: float | None = None
    """Seconds after which the server wants to be asked again."""


class MalformedError(Exception):
    """An answer that isn't what the protocol promises. Raised by readers; the request is sent again."""


def of_status(status: int, headers: Mapping[str, str], body: bytes) -> Failure | None:
    """The failure that an answer's status and headers tell; None for a good one."""
    if 200 <= status < 300:
        return None
    message, code = _message(body)
    reason = f"status {status}: {message}" if message else f"status {status}"
    wait = asked_wait(headers)
    if status == 429 and code != "insufficient_quota":
        return Failure(Kind.BUSY, reason, status, wait)
    if status in _UNREACHABLE:
        return Failure(Kind.AWAY, reason, status, wait)
    if status >= 500 or status in (408, 409, 425):
        return Failure(Kind.FAULT, reason, status, wait)
    if 300 <= status < 400:
        reason += f", a redirection to {headers.get('location', 'nowhere')}"
    return Failure(Kind.REFUSED, reason, status)


def _message(body: bytes) -> tuple[str, str]:
    """What the server says, and its code for it; OpenAI's form, vLLM's older one, or plain text."""
    try:
        found: Any = from_json(body)
    except ValueError:
        return body.decode(errors="replace").strip(), ""
    error = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(error, dict):
        return str(error.get("message") or error.get("detail") or error), str(error.get("code"))
    return str(error), ""


def plain(text: str) -> str:
    """One line of bounded length that a terminal shows as it is: control characters are spelt out."""
    words = " ".join(text[:_LONGEST].split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)[:_LONGEST]


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by Retry-After (seconds or a date) or by the limits that are used up."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        if value and unit == 1.0:
            try:
                return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
            except (ValueError, OverflowError):
                pass
    return exhausted_wait(headers)


def exhausted_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until the limits are lifted of which nothing remains, by x-ratelimit-*; None where some is left."""
    waits = [
        duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        for what in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{what}", "").strip() == "0"
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def duration(text: str) -> float | None:
    """Seconds of ``6m0s``, ``20ms``, ``1.5`` and the like; None for anything else."""
    text = text.strip()
    if len(text) > 40:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _WAITING.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def pause(attempt: int, first: float) -> float:
    """Seconds before attempt number ``attempt`` + 1: exponential back-off with full jitter."""
    return random.uniform(0, first * min(60.0, 2.0 ** min(attempt - 1, 16)))

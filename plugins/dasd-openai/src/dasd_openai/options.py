"""Options of the backend ``openai``."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

_SPEED: JsonDict = {"speed": True}
"""Says that an option changes nothing about the answers: samples that are there are kept when it changes."""


class OpenAIOptions(BaseModel):
    """Which servers, how they are asked, and how long they are waited for. Keys never stand here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str | Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        "http://localhost:8000/v1",
        json_schema_extra=_SPEED,
        description="Address of the server, with the /v1 that most of them have; or a list of addresses of servers "
        "of the same model.",
    )
    served_model: str | None = Field(
        None, description="The model's name on the server; null: the only one that it serves."
    )
    api_key_env: str = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        json_schema_extra=_SPEED,
        description="Environment variable that holds the key. Where it isn't set no key is sent.",
    )
    concurrency: int | None = Field(
        None,
        ge=1,
        json_schema_extra=_SPEED,
        description="Most requests at a time to each server; null: the model's batch_size, and without one 32.",
    )
    timeout: float = Field(
        3600.0, gt=0, json_schema_extra=_SPEED, description="Seconds that one whole answer may take."
    )
    connect_timeout: float = Field(
        10.0, gt=0, json_schema_extra=_SPEED, description="Seconds that a connection may take."
    )
    patience: float = Field(
        600.0,
        ge=0,
        json_schema_extra=_SPEED,
        description="Seconds that a server is waited for that is down or allows no more requests. No wait is longer.",
    )
    retries: int = Field(
        5,
        ge=0,
        json_schema_extra=_SPEED,
        description="Times that a request is sent again after an error, a bad answer or a time-out.",
    )
    backoff: float = Field(
        0.5,
        gt=0,
        json_schema_extra=_SPEED,
        description="Longest first pause before a request is sent again, in seconds; it doubles up to 60 times that.",
    )
    mode: Literal["auto", "tokens", "chat"] = Field(
        "auto",
        description="`tokens`: the completions endpoint, asked with token ids; `chat`: the chat endpoint, asked "
        "with messages; `auto`: tokens where the server takes them.",
    )
    logprobs: Literal["auto", "raw", "processed", "none"] = Field(
        "auto",
        description="What the server's log-probabilities are: `raw` (of the model), `processed` (after the "
        "temperature), `none` (not asked for); `auto`: measured when the server is first asked.",
    )
    context_length: int | None = Field(
        None,
        ge=1,
        description="Longest sequence in tokens; null: what the server says, or the model's config.",
    )

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of all servers."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url

    @field_validator("base_url")
    @classmethod
    def _plain_addresses(cls, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(given, str):
            return _plain_address(given)
        addresses = tuple(map(_plain_address, given))
        if len(set(addresses)) < len(addresses):
            raise ValueError("names a server twice; wanted different addresses")
        return addresses


def _plain_address(address: str) -> str:
    import httpx  # the options are read where nothing is asked, too

    wanted = "wanted an address like http://localhost:8000/v1"
    try:
        parts = urlsplit(address)
        usable = parts.port != 0 and " " not in address and bool(httpx.URL(address).host)
    except (ValueError, httpx.InvalidURL):
        raise ValueError(wanted) from None
    if parts.username is not None or parts.password is not None:
        # Without the value: it holds a password.
        raise ValueError(
            "holds a user's name or password; take it out and set the key's environment variable"
        )
    if not usable or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError(wanted)
    return address.rstrip("/")

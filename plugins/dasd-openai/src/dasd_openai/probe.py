"""What a server is and can do, asked once with a few short requests."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from dasd.api import BackendError, ChatTokenizer, InputError, Message
from dasd_openai.answers import (
    About,
    Completion,
    ModelList,
    Reply,
    first_top_logprobs,
    read_chat,
    read_completion,
)
from dasd_openai.bodies import Draw, Measured, Mode, endpoint, sampling_body
from dasd_openai.failures import MalformedError, plain
from dasd_openai.options import OpenAIOptions
from dasd_openai.scoring import Read, scoring
from dasd_openai.servers import Dialect, dialect
from dasd_openai.transport import RefusedError, Transport

_HELLO = (Message("user", "Hello"),)
_TOKENS = 8
_NOT_SERVED = (400, 404, 405, 422, 501)
_LOG = logging.getLogger("dasd_openai")


@dataclass(frozen=True, slots=True)
class Served:
    """One model of one server."""

    dialect: Dialect
    version: str
    model: str
    revision: str
    """The model's name and the server's own fingerprint, where it gives one; without the key."""
    context_length: int | None
    mode: Mode
    logprobs: Measured
    scores: bool | None
    """Whether it gives the log-probabilities of a given text; None where nobody asks it for any."""


@dataclass(frozen=True, slots=True)
class _Listed:
    model: str
    owned_by: str
    context_length: int | None


@dataclass(frozen=True, slots=True)
class _Tried:
    reply: Reply
    tops: Sequence[float] | None
    fingerprint: str


async def probe(transport: Transport, options: OpenAIOptions, tokenizer: ChatTokenizer) -> Served:
    """Ask the server what it serves, in which way it is to be asked, and what its log-probabilities are.

    Raises InputError for a model that it doesn't serve or whose tokenizer isn't ``tokenizer``, BackendError for a
    server that can't be used.
    """
    listed = await _listed(transport, options)
    kind = dialect(listed.owned_by)
    version = await _version(transport, kind)
    prober = _Prober(transport, listed.model, kind, tokenizer)
    mode, tops = await prober.mode(options)
    tried = await prober.ask(mode, 1.0, _TOKENS, tops)
    prober.check_tokenizer(tried.reply)
    measured = await prober.measured(mode, tried) if options.logprobs == "auto" else options.logprobs
    if measured != "none" and tried.reply.logprobs is not None and not await prober.tells_of_ends(mode):
        lack = f"{transport.address} gives no log-probability of a response's end, and dasd wants one of each token"
        if options.logprobs != "auto":
            raise InputError(
                f"teacher.options.logprobs: {lack}; set it to none, with a selector that compares none"
            )
        _LOG.warning("%s: none of its log-probabilities are taken", lack)
        measured = "none"
    if measured != "none" and tried.reply.logprobs is None:
        raise InputError(
            f"teacher.options.logprobs: wanted {measured!r}, and {transport.address} gives no log-probabilities; set "
            "it to auto or none"
        )
    scores = await prober.scores(tried.reply) if mode == "tokens" and measured != "none" else None
    return Served(
        kind,
        version,
        listed.model,
        f"{transport.recorded(listed.model)} {tried.fingerprint}".strip(),
        listed.context_length,
        mode,
        measured,
        scores,
    )


def difference(served: Served, other: Served, named: str, options: OpenAIOptions) -> str:
    """In what a server isn't like another, which ``named`` has ("URL has"); "" where requests may go to either."""
    pairs: dict[str, tuple[object, object]] = {
        "model": (served.model, other.model),
        "kind": (served.dialect.name, other.dialect.name),
        "version": (served.version, other.version),
        "mode": (served.mode, other.mode),
        "log-probabilities": (served.logprobs, other.logprobs),
        "scores of given tokens": (served.scores, other.scores),
    }
    if options.context_length is None:
        pairs["context length"] = (served.context_length, other.context_length)
    return next(
        (f"has {what} {one!r} where {named} {two!r}" for what, (one, two) in pairs.items() if one != two),
        "",
    )


async def _listed(transport: Transport, options: OpenAIOptions) -> _Listed:
    """The model to ask, from the server's list."""
    try:
        models = await transport.ask("list of models", "/models", None, ModelList, lambda answer: answer.data)
    except RefusedError as error:
        if error.status not in _NOT_SERVED or options.served_model is None:
            raise
        return _Listed(options.served_model, "", None)
    cards = {card.id: card for card in models}
    names = transport.recorded(", ".join(sorted(cards)[:20])) or "none"
    wanted = options.served_model
    if wanted is None and len(cards) != 1:
        raise InputError(
            f"{transport.address} serves {len(cards)} models; name one with teacher.options.served_model: {names}"
        )
    if wanted is not None and wanted not in cards:
        raise InputError(
            f"teacher.options.served_model: {transport.address} serves no {wanted!r}; it has {names}"
        )
    card = cards[wanted or next(iter(cards))]
    return _Listed(card.id, card.owned_by or "", card.context_length)


async def _version(transport: Transport, kind: Dialect) -> str:
    if kind.version_path is None:
        return "unknown"
    try:
        found = await transport.ask(
            "version", transport.beside(kind.version_path), None, About, lambda about: about.model_extra or {}
        )
    except RefusedError:  # a gateway that passes on /v1 alone
        return "unknown"
    return plain(transport.recorded(str(found.get(kind.version_key) or "unknown")))


class _Prober:
    """Short requests to one model."""

    def __init__(self, transport: Transport, model: str, kind: Dialect, tokenizer: ChatTokenizer) -> None:
        self._transport = transport
        self._model = model
        self._kind = kind
        self._tokenizer = tokenizer
        self._prompt_ids = tokenizer.prompt_ids(_HELLO)

    async def mode(self, options: OpenAIOptions) -> tuple[Mode, int | None]:
        """How the server is to be asked, and how many other likely tokens it tells of (None: no logprobs)."""
        asked: tuple[Mode, ...] = ("tokens", "chat") if options.mode == "auto" else (options.mode,)
        refusal: RefusedError | None = None
        for mode in asked:
            for tops in (None,) if options.logprobs == "none" else (2, 0, None):
                try:
                    served = await self._takes(mode, tops)
                except RefusedError as error:
                    if error.status not in _NOT_SERVED:
                        raise
                    refusal = error
                    if error.status in (404, 405):
                        break
                    continue
                if served:
                    return mode, tops
                break
        ways = " or ".join(f"mode {mode!r}" for mode in asked)
        raise BackendError(
            f"model {self._model!r} of {self._transport.address} can't be asked in {ways}"
            + (f": {refusal}" if refusal else ": the server doesn't take the prompt's tokens as they are")
        )

    async def _takes(self, mode: Mode, tops: int | None) -> bool:
        """Whether the server answers, and in mode ``tokens`` took the tokens as they are."""
        draw = Draw(self._prompt_ids, _HELLO, 1.0, 1.0, 1, 0)
        body = sampling_body(self._model, self._kind, mode, draw, tops)
        usage = await self._transport.ask(
            "first request", endpoint(mode), body, Completion, lambda answer: answer.usage
        )
        counted = None if usage is None else usage.prompt_tokens
        return mode == "chat" or counted is None or counted == len(self._prompt_ids)

    async def ask(self, mode: Mode, temperature: float, tokens: int, tops: int | None) -> _Tried:
        """One short response."""
        draw = Draw(self._prompt_ids, _HELLO, temperature, 1.0, tokens, 0)
        body = sampling_body(self._model, self._kind, mode, draw, tops)
        read = read_completion if mode == "tokens" else read_chat
        return await self._transport.ask(
            "first request",
            endpoint(mode),
            body,
            Completion,
            lambda answer: _Tried(
                read(answer, tokens),
                first_top_logprobs(answer),
                self._transport.recorded(answer.system_fingerprint or ""),
            ),
        )

    async def tells_of_ends(self, mode: Mode) -> bool:
        """Whether a response that ends at once, as a bias makes it, comes with a log-probability. True where no bias is
        taken: samples will show it."""
        draw = Draw(self._prompt_ids, _HELLO, 1.0, 1.0, 2, 0)
        body = sampling_body(self._model, self._kind, mode, draw, 0)
        read = read_completion if mode == "tokens" else read_chat
        try:
            reply = await self._transport.ask(
                "first request",
                endpoint(mode),
                {**body, "logit_bias": {str(self._tokenizer.eos_id): 100}},
                Completion,
                lambda answer: read(answer, 2),
            )
        except RefusedError as error:
            if error.status not in _NOT_SERVED:
                raise
            return True
        return bool(reply.logprobs or reply.text or not reply.stopped)

    async def scores(self, reply: Reply) -> bool:
        """Whether the log-probabilities of a text's first token can be had."""
        first = reply.token_ids or self._tokenizer.encode_response(reply.text or "So", ended=False)[0]
        ids = (*self._prompt_ids, first[0])
        try:
            for body, read in scoring(self._model, self._kind, ids, len(ids) - 1, self._tokenizer):
                tried = _or_none(read)
                if not await self._transport.ask(
                    "first request", endpoint("tokens"), body, Completion, tried
                ):
                    return False
        except RefusedError as error:
            if error.status not in (*_NOT_SERVED, 500):
                raise
            return False
        return True

    def check_tokenizer(self, reply: Reply) -> None:
        """InputError where the server's token ids stand for other text than in the recipe's tokenizer."""
        if reply.token_ids is None:
            return
        ids = reply.token_ids[:-1] if reply.stopped else reply.token_ids
        known = all(token < self._tokenizer.vocab_size for token in ids)
        ours = self._tokenizer.decode([i for i in ids if not self._tokenizer.is_control(i)]) if known else ""
        # A character that the cap cut in two is written as either side likes.
        if not known or ours.strip(" \ufffd") != reply.text.strip(" \ufffd"):
            raise InputError(
                f"teacher.model: its tokenizer isn't that of the served model {self._model!r} of "
                f"{self._transport.address}: tokens {list(ids)} are {reply.text!r} there and {ours!r} here; name the "
                "served model, or a directory with its tokenizer"
            )

    async def measured(self, mode: Mode, tried: _Tried) -> Measured:
        """Whether temperature changes the log-probabilities: two tokens' difference doubles at temperature 0.5.

        Where that can't be told, vLLM's are raw as it is its default, and others are taken for processed ones.
        """
        if tried.reply.logprobs is None:
            return "none"
        at_one = _gap(tried.tops)
        if at_one is not None:
            at_half = _gap((await self.ask(mode, 0.5, 1, 2)).tops)
            if at_half is not None:
                return "raw" if at_half < 1.5 * at_one else "processed"
        return "raw" if self._kind.name == "vllm" else "processed"


def _or_none(read: Read) -> Read:
    """Nothing, instead of an answer to ask for again, where it doesn't hold what is looked for."""

    def tried(answer: Completion) -> tuple[float, ...]:
        try:
            return read(answer)
        except MalformedError:
            return ()

    return tried


def _gap(tops: Sequence[float] | None) -> float | None:
    """Nats between the two likeliest tokens; None where there are none, or where they can't be compared."""
    if tops is None or len(tops) < 2:
        return None
    gap = tops[0] - tops[1]
    # Servers stop telling small log-probabilities apart, and equal ones double to equal ones.
    return gap if 1e-3 < gap < 40 else None

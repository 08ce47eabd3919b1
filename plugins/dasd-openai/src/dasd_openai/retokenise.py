"""Tokens of a response whose server gives text: held against the tokens that it says it sampled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from dasd.api import BackendError, ChatTokenizer, Generated
from dasd_openai.answers import Reply
from dasd_openai.transport import RefusedError

_INSTEAD = (
    "; take a server that gives token ids (vLLM), or set teacher.options.logprobs: none and a selector that "
    "compares no log-probabilities"
)


def generated(
    reply: Reply, tokenizer: ChatTokenizer, prefix_logprobs: Sequence[float], what: str
) -> Generated:
    """What ``EngineRows`` takes. Without ids of the server's, the text's tokens with the server's log-probabilities.

    Raises BackendError naming ``what`` where the tokens aren't those that the server sampled: a log-probability
    on the wrong token is worse than none. A RefusedError where that is so of this response alone.
    """
    if reply.token_ids is not None:
        return Generated(reply.token_ids, reply.logprobs, prefix_logprobs, reply.stopped)
    text = reply.whole_text
    ids, ends = tokenizer.encode_response(text, ended=False)
    logprobs = reply.logprobs
    if logprobs is not None and reply.pieces is not None:
        tiles = _tiles(text.encode(), reply.pieces, reply.stopped, what)
        if tiles != ends:
            ids = _aligned(text.encode(), tiles, ids, ends, tokenizer, what)
    if tokenizer.decode(ids) != text:
        raise BackendError(
            f"{what}: the model's tokenizer doesn't reproduce its text ({text[:60]!r}); wanted the tokenizer "
            "of the served model in teacher.model"
        )
    return Generated(
        [*ids, tokenizer.eos_id] if reply.stopped else ids, logprobs, prefix_logprobs, reply.stopped
    )


def _tiles(raw: bytes, pieces: Sequence[bytes], stopped: bool, what: str) -> list[int]:
    """Byte offsets at which the server's tokens end in the text. They cover it, and the end token follows."""
    ends = list(accumulate(map(len, pieces)))
    count = len(pieces) - stopped
    covered = ends[count - 1] if count > 0 else 0
    if stopped and b"".join(pieces) == raw and not (pieces and pieces[-1] == b""):
        raise BackendError(
            f"{what}: the server gives the log-probabilities of the text's {len(pieces)} tokens but not of the end "
            "that the model came to" + _INSTEAD
        )
    if count < 0 or covered != len(raw) or b"".join(pieces[:count]) != raw:
        raise BackendError(
            f"{what}: the tokens that the server gives log-probabilities of are not its text: {len(pieces)} tokens "
            f"of {sum(map(len, pieces))} bytes for {len(raw)} bytes" + _INSTEAD
        )
    return ends[:count]


def _aligned(
    raw: bytes,
    tiles: Sequence[int],
    ids: Sequence[int],
    ends: Sequence[int],
    tokenizer: ChatTokenizer,
    what: str,
) -> list[int]:
    """Ids of the tokens that cover ``tiles``: the tokenizer's where it cuts there too, else that of the piece alone.

    Sampling now and then writes a text in other tokens than the tokenizer would.
    """
    known = dict(zip(_spans(ends), ids, strict=True))
    found = []
    for start, end in _spans(tiles):
        token = known.get((start, end))
        if token is None:
            alone = _encoded(raw[start:end], tokenizer)
            if len(alone) != 1:
                piece = raw[start : min(end, start + 60)]
                raise RefusedError(
                    f"{what}: the server gives one log-probability for {piece!r} at byte {start}, and the "
                    f"tokenizer of teacher.model writes it as {len(alone)} tokens" + _INSTEAD,
                    alone=True,
                )
            token = alone[0]
        found.append(token)
    return found


def _spans(ends: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip([0, *ends], ends, strict=False))


def _encoded(piece: bytes, tokenizer: ChatTokenizer) -> list[int]:
    try:
        return tokenizer.encode_response(piece.decode(), ended=False)[0]
    except UnicodeDecodeError:
        return []

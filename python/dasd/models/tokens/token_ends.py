"""Which bytes of a text each token covers, from what a tokenizer tells about its tokens.

All functions return byte offsets at which tokens end: non-decreasing, the last one the text's length. Tokens
that write a character together share its bytes, at least one each while there are any, so that a token without
width is one that stands for no part of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate

__all__ = ["ends_by_decoding", "ends_from_bytes", "ends_from_offsets", "token_bytes"]

_REPLACEMENT = "\ufffd"
_REPLACEMENT_WIDTH = len(_REPLACEMENT.encode())


@cache
def _byte_alphabet() -> dict[str, int]:
    """What byte-level tokenizers write bytes as (GPT-2's table): printable bytes stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + index): byte for index, byte in enumerate(others)})
    return table


def token_bytes(token: str) -> bytes:
    """Bytes that a byte-level decoder makes of ``token``; one outside the alphabet stands as it is."""
    try:
        return bytes(map(_byte_alphabet().__getitem__, token))
    except KeyError:
        return token.encode()


def ends_from_bytes(pieces: Sequence[bytes], text: str) -> list[int] | None:
    """Ends of tokens whose bytes are known; None where these bytes don't decode to ``text``.

    A token may end inside a character. Bytes that are no UTF-8 became U+FFFD in the text (one a maximal
    invalid part, which has three bytes at most): a byte of the part is one of U+FFFD's three, and its last
    byte is all that are left.
    """
    raw_ends = list(accumulate(map(len, pieces)))
    raw = b"".join(pieces)
    if raw == text.encode():
        return raw_ends
    if raw.decode(errors="replace") != text:
        return None
    ends: list[int] = []
    shift = 0
    invalid = _invalid_parts(raw)
    start, end = next(invalid, (len(raw), len(raw)))
    for raw_end in raw_ends:
        while end <= raw_end and start < end:
            shift += _REPLACEMENT_WIDTH - (end - start)
            start, end = next(invalid, (len(raw), len(raw)))
        ends.append(raw_end + shift)
    return ends


def _invalid_parts(raw: bytes) -> Iterator[tuple[int, int]]:
    """(start, end) of each maximal part that is no UTF-8."""
    start = 0
    while start < len(raw):
        try:
            raw[start:].decode()
        except UnicodeDecodeError as error:
            yield start + error.start, start + error.end
            start += error.end
        else:
            return


def ends_from_offsets(offsets: Sequence[tuple[int, int]], text: str) -> list[int]:
    """Ends from (start, end) offsets in characters, as fast tokenizers give them.

    What no token covers (spaces that a tokenizer drops) goes to the token after it, at the end of the text to
    the last token. Of tokens that share a character all but the last get one byte of it each; where a normaliser
    made more tokens of it than it has bytes, those in the middle get none.
    """
    if not offsets:
        return []
    byte_at = range(len(text) + 1) if text.isascii() else [0, *accumulate(len(c.encode()) for c in text)]
    ends: list[int] = []
    reached = 0
    for index, (_, end) in enumerate(offsets):
        following = offsets[index + 1][0] if index + 1 < len(offsets) else end
        reached = max(reached, byte_at[min(end, following)])
        ends.append(reached)
    ends[-1] = byte_at[len(text)]
    return _shared(ends, [start < end for start, end in offsets])


def _shared(ends: Sequence[int], written: Sequence[bool]) -> list[int]:
    """``ends`` of whole characters, with one byte of a character for each token that ends inside it.

    ``written``: whether a token stands for text; one without width that does is a piece of the next character.
    """
    if len({0, *ends}) > len(ends):
        return list(ends)  # all have width
    finished = list(ends)
    for token in range(len(ends) - 2, -1, -1):  # where the next token with width ends
        finished[token] = ends[token + 1] if ends[token] < ends[token + 1] else finished[token + 1]
    found: list[int] = []
    before = reached = 0
    for end, finish, has_text in zip(ends, finished, written, strict=True):
        piece = end == before and has_text and end < finish
        reached = min(reached + 1, finish - 1) if piece else max(reached, end)
        found.append(reached)
        before = end
    return found


def ends_by_decoding(
    token_ids: Sequence[int], text: str, decode: Callable[[Sequence[int]], str]
) -> list[int]:
    """Ends of any tokens that ``decode`` turns into ``text``, by decoding them one after the other.

    A token that leaves a character unfinished gets one byte of it, the one that finishes it those that are left;
    a token that adds nothing to what is decoded gets none.
    """
    if not token_ids:
        return []
    ends: list[int] = []
    unfinished: list[bool] = []
    emitted: list[str] = []
    reached = context = read = 0
    for end in range(1, len(token_ids) + 1):
        # A window of the tokens since the last character boundary but one: decoders look at neighbours.
        before = decode(token_ids[context:read])
        now = decode(token_ids[context:end])
        if len(now) > len(before) and now.startswith(before) and not now.endswith(_REPLACEMENT):
            emitted.append(now[len(before) :])
            reached += len(emitted[-1].encode())
            context, read = read, end
        ends.append(reached)
        unfinished.append(now.endswith(_REPLACEMENT))
    if not text.startswith("".join(emitted)):
        ends = _ends_by_whole_decoding(token_ids, text, decode)
    ends[-1] = len(text.encode())
    return _shared(ends, unfinished)


def _ends_by_whole_decoding(
    token_ids: Sequence[int], text: str, decode: Callable[[Sequence[int]], str]
) -> list[int]:
    """The same with whole prefixes: quadratic, for decoders whose output depends on more than a window."""
    ends: list[int] = []
    reached = 0
    for end in range(1, len(token_ids) + 1):
        shared = 0
        for ours, wanted in zip(decode(token_ids[:end]), text, strict=False):
            if ours != wanted:
                break
            shared += 1
        reached = max(reached, len(text[:shared].encode()))
        ends.append(reached)
    return ends

"""Filters on what a response says: repetition and a wrong answer."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd import kernels
from dasd.base.records import Verdict
from dasd.curation.filters.verdicts import KEPT, dropped, verdict_frame

__all__ = ["AnswerFilter", "RepetitionFilter", "repeated_share"]


class RepetitionFilter:
    """Drops responses that end in a loop, or of which too much was said before.

    A block three times or more at the end is a loop once it has ``loop_tokens`` tokens: three equal tokens
    (dots, zeros) are none, and what repeats before the end is judged by its share alone. ``largest_share``
    bounds three shares of a response: its tokens inside n-grams that began earlier (phrases), its characters
    in sentences and in paragraphs that stood there before.
    """

    def __init__(self, largest_share: float, loop_tokens: int) -> None:
        self._largest_share = largest_share
        self._loop_tokens = loop_tokens

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """By columns ``student_token_ids`` (less the end token), ``text`` and ``finish_reason``."""
        ended = (pl.col("finish_reason") == "stop").cast(pl.UInt32)
        length = pl.col("student_token_ids").list.len()
        tokens = responses.select(
            pl.col("student_token_ids").list.head(pl.max_horizontal(length, ended) - ended)
        ).to_series()
        found = kernels.repetition(tokens).struct.unnest()
        texts = responses.get_column("text")
        ends = kernels.sentence_ends(texts)
        return verdict_frame(
            self._verdict(*row)
            for row in zip(
                found.get_column("loop_tokens"),
                found.get_column("loop_period"),
                found.get_column("repeated_share"),
                texts,
                ends.to_list(),
                strict=True,
            )
        )

    def _verdict(self, loop: int, period: int, share: float, text: str, ends: Sequence[int]) -> Verdict:
        if loop >= self._loop_tokens:
            return dropped("repetition", f"ends in a loop of {loop} tokens, period {period} tokens")
        if share > self._largest_share:
            return self._too_much(share, "tokens are in repeated n-grams")
        share = repeated_share(_sentences(text, ends))
        if share > self._largest_share:
            return self._too_much(share, "characters are in repeated sentences")
        share = repeated_share(text.split("\n\n"))
        if share > self._largest_share:
            return self._too_much(share, "characters are in repeated paragraphs")
        return KEPT

    def _too_much(self, share: float, what: str) -> Verdict:
        return dropped("repetition", f"{share:.0%} of its {what}, at most {self._largest_share:.0%}")


class AnswerFilter:
    """Drops responses with a wrong answer; one without a verifier is kept."""

    def judge(self, responses: pl.DataFrame) -> pl.DataFrame:
        """By column ``correct``, which stage ``filter`` fills by the question's verifier."""
        return verdict_frame(
            dropped("answer", f"the reference answer is {answer!r}") if correct is False else KEPT
            for correct, answer in responses.select("correct", "answer").iter_rows()
        )


def repeated_share(pieces: Sequence[str]) -> float:
    """Share of the characters (white space around the pieces aside) in pieces that stood there before."""
    stripped = [piece.strip() for piece in pieces]
    if len(set(stripped)) == len(stripped):
        return 0.0  # most responses
    seen: set[str] = set()
    total = repeated = 0
    for piece in stripped:
        total += len(piece)
        repeated += len(piece) if piece in seen else 0
        seen.add(piece)
    return repeated / total if total else 0.0


def _sentences(text: str, ends: Sequence[int]) -> list[str]:
    """The sentences of ``text`` by their ends in bytes, which are characters where it is all ASCII."""
    starts = [0, *ends][:-1]
    if text.isascii():
        return [text[start:end] for start, end in zip(starts, ends, strict=True)]
    encoded = text.encode()
    return [encoded[start:end].decode() for start, end in zip(starts, ends, strict=True)]

"""Filters on what a response says: repetition and a wrong answer."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from dasd import kernels
from dasd.filters.verdicts import KEPT, dropped, verdict_frame
from dasd.records import Verdict

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
        texts = responses.get_column("text")
        return verdict_frame(
            self._verdict(found, text, ends)
            for found, text, ends in zip(
                kernels.repetition(tokens), texts, kernels.sentence_ends(texts), strict=True
            )
        )

    def _verdict(self, found: dict[str, float], text: str, sentence_ends: Sequence[int]) -> Verdict:
        if found["loop_tokens"] >= self._loop_tokens:
            period = f"period {found['loop_period']} tokens"
            return dropped("repetition", f"ends in a loop of {found['loop_tokens']} tokens, {period}")
        encoded = text.encode()
        starts = [0, *sentence_ends][:-1]
        sentences = [encoded[a:b].decode() for a, b in zip(starts, sentence_ends, strict=True)]
        shares = {
            "tokens are in repeated n-grams": found["repeated_share"],
            "characters are in repeated sentences": repeated_share(sentences),
            "characters are in repeated paragraphs": repeated_share(text.split("\n\n")),
        }
        for what, share in shares.items():
            if share > self._largest_share:
                return dropped("repetition", f"{share:.0%} of its {what}, at most {self._largest_share:.0%}")
        return KEPT


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
    seen: set[str] = set()
    total = repeated = 0
    for piece in map(str.strip, pieces):
        total += len(piece)
        repeated += len(piece) if piece in seen else 0
        seen.add(piece)
    return repeated / total if total else 0.0

"""The verifier ``exact``: the final answer as text."""

from __future__ import annotations

from dasd.base.records import Grade
from dasd.errors import InputError
from dasd.evaluation.verifiers.answers import WORDS, boxed, final_text, first_sentence, marked

__all__ = ["ExactVerifier"]

_EMPHASIS = "*_`$ \t\n"


class ExactVerifier:
    """Right if the final answer is the expected text, runs of white space counting as one space.

    The whole text after the reasoning may be the answer; else the first of these that is there decides: what is
    boxed, what follows the last "answer is" or "answer:" (all of it, or its first sentence). Emphasis, quotes
    and a full stop at the end don't count.
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``argument``: ``ignore-case`` to compare without case, else empty."""
        if argument not in ("", "ignore-case"):
            raise InputError(f"verifier 'exact:{argument}': wanted 'exact' or 'exact:ignore-case'")
        text = final_text(response)
        box, said = boxed(text), marked(text)
        if box is not None:
            stated = [WORDS.sub(r"\1", box), box]
        elif said is not None:
            stated = [said, first_sentence(said)]
        else:
            stated = []
        wanted = _spaced(answer, argument)
        for candidate in (text, *stated):
            if (
                candidate
                and wanted
                and wanted in (_spaced(candidate, argument), _spaced(_bare(candidate), argument))
            ):
                return Grade(True, _bare(candidate) or candidate)
        return Grade(False, next((c for c in (*stated[:1], text) if c), None))


def _bare(text: str) -> str:
    """Without emphasis, one pair of quotes and a full stop at the end."""
    text = text.strip(_EMPHASIS).removesuffix(".").strip(_EMPHASIS)
    if len(text) > 2 and (text[0], text[-1]) in (('"', '"'), ("'", "'"), ("“", "”"), ("‘", "’")):
        text = text[1:-1].strip()
    return text.removesuffix(".") if text.endswith(".") and not text.endswith("..") else text


def _spaced(text: str, argument: str) -> str:
    spaced = " ".join(text.split())
    return spaced.casefold() if argument == "ignore-case" else spaced

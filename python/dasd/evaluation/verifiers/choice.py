"""The verifier ``choice``: one of several options, by its letter or its text."""

from __future__ import annotations

import json
import re

from dasd.base.records import Grade
from dasd.errors import InputError
from dasd.evaluation.verifiers.answers import WORDS, final_text, joined_boxes, marked
from dasd.evaluation.verifiers.notation import LONGEST, normal

__all__ = ["ChoiceVerifier"]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_EXPECTED = re.compile(r"\(?([A-Za-z])\)?(?![A-Za-z0-9'])")
_ALONE = re.compile(
    r"\W*(?:(?:the\s+)?(?:correct\s+|final\s+)?(?:option|choice|answer|letter)\s*(?:is)?\s*:?)?\W*([A-Za-z])\W*",
    re.IGNORECASE,
)
_LED = re.compile(
    r"^\W*(?:(?:the\s+)?(?:correct\s+|final\s+)?(?:option|choice|answer|letter)\s*(?:is)?\s*:?\s*)?"
    r"[(\[*{\s]*(?P<letter>[A-Za-z])(?P<close>[)\].:*}]|\s*[-\u2013\u2014,(]|\s*$|\s)\s*(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_LETTER = re.compile(r"(?<![\w'])(?P<open>[(\[*]*)(?P<letter>[A-Z])(?P<close>[)\]*]*)(?![\w'])")
_CHOSEN = re.compile(
    r"(?i:\b(?:answer|choice|option|choose|chose|select|pick|correct|so|therefore|thus|hence|go\s+with|going\s+with)\b)"
    r"(?i:\s+(?:is|must\s+be|should\s+be|the|option|answer|choice|correct|it|it's|one))*"
    r"\s*[:,]?\s*[(\[*]*(?P<letter>[A-Z])[)\]*]*(?![\w'])"
)
_DENIED = re.compile(
    r"\s*(?:is|are|was|can't|cannot|isn't|looks?|seems?|would\s+be)?\s*"
    r"(?:not\b|n't|wrong|incorrect|false|ruled\s+out|eliminated|impossible|excluded|can't|cannot|isn't)",
    re.IGNORECASE,
)
_DENYING = re.compile(
    r"(?:\bnot|n't|\bnor|\bneither|\bexcept|\beliminate|\brules?\s+out|\bexcludes?|\bunlike)"
    r"(?:\s+(?:option|choice|answer|be|is|the|it))*\s*[:,]?\s*[(\[*]*$",
    re.IGNORECASE,
)


class ChoiceVerifier:
    """Right if the option chosen is the expected one.

    The first place that is there decides: what is boxed, what follows the last "answer is" or "answer:", the last
    line with a letter that stands alone, or the whole text if it is an option's own. A place that names more
    than one option chooses none.
    """

    def grade(self, response: str, answer: str, argument: str) -> Grade:
        """``answer``: the letter, in brackets or not, text after it allowed ("B", "(B)", "B) 12").

        ``argument``: empty, or the options' texts as a JSON list, A first; then an option's own text counts as
        its letter, letters beyond the list as none, and a letter beside another option's text chooses nothing.
        """
        letter, options = _expected(answer, argument)
        found = _chosen(final_text(response), options)
        return Grade(found == letter, found)

    def check(self, answer: str, argument: str) -> None:
        """InputError for an answer that names none of the options."""
        _expected(answer, argument)


def _expected(answer: str, argument: str) -> tuple[str, tuple[str, ...]]:
    """The letter, and the options' texts where they are known."""
    wanted = _EXPECTED.match(answer.strip())
    if wanted is None:
        raise InputError(f"verifier 'choice': the expected answer {answer!r} starts with no single letter")
    options = _options(argument)
    letter = wanted[1].upper()
    if options and _LETTERS.index(letter) >= len(options):
        raise InputError(
            f"verifier 'choice': the expected answer {answer!r} is none of {len(options)} options"
        )
    return letter, options


def _options(argument: str) -> tuple[str, ...]:
    if not argument:
        return ()
    try:
        found = json.loads(argument)
    except ValueError:
        found = None
    if (
        not isinstance(found, list)
        or not 2 <= len(found) <= len(_LETTERS)
        or not all(isinstance(o, str) for o in found)
    ):
        raise InputError(
            f'verifier \'choice:{argument}\': wanted the options as a JSON list of texts, e.g. ["red", "blue"]'
        )
    return tuple(found)


def _chosen(text: str, options: tuple[str, ...]) -> str | None:
    box = joined_boxes(text)
    if box is not None:
        return _stated(box, options)
    said = marked(text)
    if said is not None:
        return _stated(said, options)
    if re.search(r"\b(?:answer|result)\s*(?:is\b|:)", text, re.IGNORECASE):
        return None
    whole = _by_text(text, options)
    if whole is not None:
        return whole
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) == 1 and len(text) < 200:
        single = _ALONE.fullmatch(text)
        if single is not None:
            return _in_range(single[1].upper(), options)
    for line in reversed(lines[-3:]):
        if len(line) > LONGEST:
            return None
        if _letters(line, options):
            return _from_line(line, options)
    return _by_text(lines[-1], options) if lines else None


def _stated(place: str, options: tuple[str, ...]) -> str | None:
    """The option that a box or a statement names, None if it names none or several."""
    if len(place) > LONGEST:
        return None
    plain = WORDS.sub(r" \1 ", place).strip().strip("$").strip()
    by_text = _by_text(plain, options)
    if by_text is not None:
        return by_text
    led = _LED.match(plain)
    if led is None:
        named = _letters(plain, options)
        return named.pop() if len(named) == 1 else None
    letter, rest = led["letter"].upper(), led["rest"].strip(" *.)")
    if _in_range(letter, options) is None:
        return None
    if led["letter"].islower() and not led["close"].strip(" ") and rest:
        return None  # "a red one": an article
    others = {other for other in _letters(rest, options) if other != letter}
    if others or _DENIED.match(rest):
        return None
    if options and rest and re.match(r"[)\].:}-]|\s*$", led["close"]):
        of_rest = _by_text(rest, options)
        if of_rest is not None and of_rest != letter:
            return None
    if (
        led["close"].isspace()
        and rest
        and led["letter"] == "A"
        and rest[0].islower()
        and not re.match(r"(?:because|since|as|is|with)\b", rest)
    ):
        return None  # "A dog": an article
    return letter


def _letters(text: str, options: tuple[str, ...]) -> set[str]:
    """Letters that stand alone as options do and aren't denied."""
    found = set()
    for match in _LETTER.finditer(text):
        letter, dressed = match["letter"], bool(match["open"] or match["close"])
        if _in_range(letter, options) is None:
            continue
        after = text[match.end() :]
        if not dressed and letter == "I":
            continue
        if (
            not dressed
            and letter == "A"
            and re.match(r"\s+[a-z]", after)
            and not re.match(
                r"\s+(?:is|because|since|as|and|or|with|was|gives|seems|looks|can't|cannot)\b", after
            )
        ):
            continue
        if _DENIED.match(after) or _DENYING.search(text[: match.start()]):
            continue
        found.add(letter)
    return found


def _from_line(line: str, options: tuple[str, ...]) -> str | None:
    named = _letters(line, options)
    if len(named) == 1:
        return named.pop()
    chosen = list(_CHOSEN.finditer(line))
    if not chosen or chosen[-1]["letter"] not in named:
        return None
    letter, rest = chosen[-1]["letter"], line[chosen[-1].end() :]
    reasoned = re.match(r"\s*,?\s*(?:because|since|as)\b", rest)
    return letter if reasoned or not _letters(rest, options) - {letter} else None


def _by_text(text: str, options: tuple[str, ...]) -> str | None:
    """The one option that ``text`` is."""
    if not options or len(text) > LONGEST:
        return None
    plain = _plain(text)
    found = [
        letter for letter, option in zip(_LETTERS, options, strict=False) if plain and _plain(option) == plain
    ]
    return found[0] if len(found) == 1 else None


def _plain(text: str) -> str:
    return " ".join(normal(text).casefold().split())


def _in_range(letter: str, options: tuple[str, ...]) -> str | None:
    return letter if letter in (_LETTERS[: len(options)] if options else _LETTERS) else None

"""Finding the final answer in a response."""

from __future__ import annotations

import re

__all__ = ["WORDS", "boxed", "final_answer", "final_text", "first_sentence", "joined_boxes", "marked"]

WORDS = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf)\s*\{([^{}]*)\}")
"""``\\text{...}`` and the like, with the words in it."""
_THINK, _THINK_END = "<think>", "</think>"
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*(?P<open>\{)")
_BRACES = re.compile(r"\\?[{}]")
_MARKED = re.compile(
    r"(?:(?:final|correct)\s+)?\b(?:answer|result)\b[*_\s]{0,4}(?:is\b[ \t]*:?|[:=])[*_ \t]*"
    r"|^[ \t]*####[ \t]*(?=[^\n])",
    re.IGNORECASE | re.MULTILINE,
)
_DRESSING = "*_`$ \t"
_GAP = r"(?:[\s$,;.*]|\\q?quad|\\[,;: ()\[\]])*"
_JOIN = re.compile(rf"{_GAP}(?:\\text\{{\s*)?(?:and|or)?\s*\}}?{_GAP}")
_SENTENCE_END = re.compile(
    r"(?:(?<=[^.\d])|(?<=\d))[.?](?=\s+|\*|$)"
    r"|,?\s+(?:because|since|which|as\s+we|as\s+required|(?:and\s+)?not|instead\s+of|rather\s+than)\b"
    r"|;\s+(?=[a-z]{3})"
)
_REFUSED = re.compile(
    r"^(?:not\b|n't\b|isn't\b|unknown\b|unclear\b|undecided\b|neither\b|either\b|probably\s+not\b)",
    re.IGNORECASE,
)
_LINE = re.compile(r"[^\n]*\S[^\n]*")
_LONGEST_LINE = 2000


def final_text(response: str) -> str:
    """What stands after the last ``</think>``, or the whole response without one.

    Reasoning that is opened and never closed (a response cut off in it) holds no answer, so the text ends
    where the tag stands.
    """
    return response.rpartition(_THINK_END)[2].partition(_THINK)[0].strip()


def boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}`` whose braces match, None without one."""
    found = _boxes(text)
    return found[-1][2] if found else None


def joined_boxes(text: str) -> str | None:
    r"""The last box, and those before it that only "and", "or" or a comma part from it, as one list.

    ``\boxed{1} and \boxed{2}`` is ``1 , 2``: two answers, of which neither may be picked.
    """
    found = _boxes(text)
    if not found:
        return None
    parts = [found[-1][2]]
    for (_, end, inside), (start, _, _) in zip(reversed(found[:-1]), reversed(found[1:]), strict=True):
        between = text[end:start]
        if len(between) > 40 or not re.search(r"and|or|[,;]", between) or not _JOIN.fullmatch(between):
            break
        parts.append(inside)
    return " , ".join(reversed(parts)) if len(parts) > 1 else parts[0]


def marked(text: str) -> str | None:
    """What follows the last "answer is", "answer:" or "####" on its line, without emphasis and full stop.

    Where nothing follows, the line after counts. "The answer is not ..." marks nothing.
    """
    ends = [match.end() for match in _MARKED.finditer(text)]
    if not ends:
        return None
    line, _, after = text[ends[-1] :].partition("\n")
    answer = line.strip(_DRESSING) or (_display(after) or after.strip().partition("\n")[0]).strip(_DRESSING)
    answer = answer.removesuffix(".").strip(_DRESSING)
    return None if not answer or _REFUSED.match(answer) else answer


def first_sentence(text: str) -> str:
    """``text`` up to where its first sentence or clause of reason ends; 0.5 has no such end."""
    end = _SENTENCE_END.search(text)
    return (text[: end.start()] if end else text).strip(_DRESSING)


def final_answer(text: str) -> tuple[str, str] | None:
    """The answer in ``text`` and where it was found: ``box``, ``mark`` or ``line``; None without one.

    The first place that is there decides, even if it is empty: a box, then a mark, then the last line.
    """
    inside = joined_boxes(text)
    if inside is not None:
        return inside, "box"
    said = marked(text)
    if said is not None:
        return said, "mark"
    if _MARKED.search(text):
        return None
    lines = _LINE.findall(text)
    if not lines or len(lines[-1]) > _LONGEST_LINE:
        return None
    return _display(text) or lines[-1].strip(), "line"


def _display(text: str) -> str | None:
    r"""A display formula that ends the text, which may take several lines (``$$...$$`` or ``\[...\]``)."""
    ended = text.rstrip().removesuffix(".")
    for opening, closing in (("$$", "$$"), ("\\[", "\\]")):
        if ended.endswith(closing):
            start = ended.rfind(opening, 0, -2)
            if start >= 0:
                return ended[start:]
    return None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Start, end and content of every outermost box that is closed; one pass over the text."""
    starts = {match.start("open"): match.start() for match in _BOXED.finditer(text)}
    found: list[tuple[int, int, str]] = []
    if not starts:
        return found
    # Opened braces: the place, and whether a box begins there. Escaped braces don't count.
    opened: list[int] = []
    for match in _BRACES.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            place = opened.pop()
            if place in starts:
                while found and found[-1][0] > starts[place]:
                    found.pop()  # boxes inside this one
                found.append((starts[place], match.end(), text[place + 1 : match.start()].strip()))
    return found

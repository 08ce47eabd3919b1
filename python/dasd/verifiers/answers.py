"""Finding the final answer in a response."""

from __future__ import annotations

import re

__all__ = ["boxed", "final_text", "marked"]

_THINK_END = "</think>"
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_MARKED = re.compile(
    r"(?:final\s+answer|answer)\s*(?:is\s*:?|[:=])\s*(?P<answer>[^\n]+)",
    re.IGNORECASE,
)
_DRESSING = "*_`$ \t"


def final_text(response: str) -> str:
    """What stands after the last ``</think>``; the whole response without one."""
    return response.rpartition(_THINK_END)[2].strip()


def boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}`` whose braces match, None without one."""
    for match in reversed(list(_BOXED.finditer(text))):
        depth = 1
        for place in range(match.end(), len(text)):
            if text[place] in "{}":
                depth += 1 if text[place] == "{" else -1
                if depth == 0:
                    return text[match.end() : place].strip()
    return None


def marked(text: str) -> str | None:
    """What follows the last "answer is" or "answer:" on its line, without emphasis and full stop."""
    found = [match["answer"] for match in _MARKED.finditer(text)]
    if not found:
        return None
    answer = found[-1].strip(_DRESSING)
    return answer.removesuffix(".").strip(_DRESSING) or None

"""What an answer is made of: a scalar, tuple, list, set, interval, matrix, relation or words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dasd.evaluation.verifiers.quantity import quantity

__all__ = ["Kind", "Piece", "Shape", "pieces", "shape_of", "split"]

Kind = Literal["scalar", "words", "tuple", "list", "set", "matrix", "relation", "region"]

_OPEN, _CLOSE = "([{", ")]}"
_JOINT = re.compile(r",|\s*;\s*|\s+(?:and|or)\s+|(?<=[)\]}\d])(?:and|or)(?=[(\[\\\d-])", re.IGNORECASE)
_THOUSANDS = re.compile(r"[-+$€£]?\s*\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)[^,]*")
_RELATION = re.compile(r"<=|>=|!=|<|>|=|\\in(?![a-zA-Z])")
_NAME = (
    r"(?:\\[a-zA-Z]+\s*)?[a-zA-Z]{0,12}'*(?:_\s*(?:\{[^{}]*\}|\w))?(?:\^\{-1\})?"
    r"(?:\s*\([^()=<>]{0,30}\))?(?:\s+[a-zA-Z]{1,12}){0,4}"
)
_POINTS = r"[A-Z]{1,4}'*(?:_\s*(?:\{[^{}]*\}|\w))?"
_MEASURE = (
    rf"\|\s*{_POINTS}\s*\||{_POINTS}\s*[:/]\s*{_POINTS}|\\frac\{{\s*{_POINTS}\s*\}}\{{\s*{_POINTS}\s*\}}"
)
"""Lengths and ratios in a figure: ``|AB|``, ``AB:CD``."""
_LEFT_NAME = re.compile(rf"\s*(?:{_NAME}|{_MEASURE})\s*")
_MATRIX = re.compile(r"\\begin\{([pb]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WORD = re.compile(r"[A-Za-z]{2,}")
_FUNCTIONS = frozenset(("mod", "gcd", "lcm", "max", "min", "ln", "log", "sin", "cos", "tan"))
_CHAIN = re.compile(r"(<=?|>=?)")
_MOST = 60


@dataclass(frozen=True, slots=True)
class Piece:
    """One interval of a region: its ends, each open or closed. Ends are texts; infinity has a sign."""

    low: str
    low_open: bool
    high: str
    high_open: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """A parsed answer. ``parts``: the elements; of a matrix all cells by rows; of a relation its sides."""

    kind: Kind
    text: str
    parts: tuple[str, ...] = ()
    brackets: str = ""
    """Of a tuple: the opening and closing bracket. Of a matrix: its rows and columns."""
    signs: tuple[str, ...] = ()
    """Of a relation: the signs between its sides."""
    name: str = ""
    """The left side that was taken off (``x`` of ``x = 5``)."""


def split(text: str, separator: str | re.Pattern[str]) -> list[str]:
    """``text`` at every ``separator`` outside brackets. Brackets of intervals as ``[1,2)`` close one another."""
    pattern = re.compile(re.escape(separator)) if isinstance(separator, str) else separator
    parts, depth, start = [], 0, 0
    place = 0
    while place < len(text):
        c = text[place]
        if c in _OPEN:
            depth += 1
        elif c in _CLOSE:
            depth -= 1
        elif depth <= 0 and (match := pattern.match(text, place)):
            parts.append(text[start:place].strip())
            start = place = match.end()
            continue
        place += 1
    return [*parts, text[start:].strip()]


def shape_of(text: str) -> Shape:
    """The shape of a normalised answer."""
    text = _unwrapped(text.strip())
    if quantity(text) is not None:
        return Shape("scalar", text)
    name = ""
    for _ in range(2):
        sides = _named(text)
        if sides is None:
            break
        name, text = sides[0] or name, _unwrapped(sides[1])
    matrix = _MATRIX.fullmatch(text)
    if matrix is not None:
        return _matrix(text, matrix[2], name)
    if name and quantity(text) is not None:
        return Shape("scalar", text, name=name)
    if "\\cup" in text or text in ("\\mathbb{R}", "\\emptyset"):
        return Shape("region", text, name=name)
    if text.startswith("\\{") and text.endswith("\\}") and text.count("\\{") == 1:
        inside = text[2:-2].strip()
        built = re.split(r"\\mid(?![a-zA-Z])|\||:", inside, maxsplit=1)
        if len(built) == 2:
            inner = shape_of(built[1])
            return Shape(inner.kind, inner.text, inner.parts, inner.brackets, inner.signs, name)
        return Shape("set", text, _elements(inside), name=name)
    if text.startswith("{") and text.endswith("}") and _closes_at_end(text):
        return Shape("set", text, _elements(text[1:-1]), name=name)
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and _closes_at_end(text):
        elements = _elements(text[1:-1])
        if 1 < len(elements) <= _MOST:
            return Shape("tuple", text, elements, text[0] + text[-1], name=name)
    listed = _listed(text)
    if len(listed) > 1:
        first = _named(listed[0])
        if first is not None and first[0] and not any(_RELATION.search(part) for part in listed[1:]):
            name, listed[0] = first  # x = 1, 2
        if any(_RELATION.search(part) for part in listed) and not all(
            _is_assignment(part) for part in listed
        ):
            return Shape("region", text, tuple(listed), name=name)
        return Shape("list", text, tuple(listed), name=name)
    if "\\pm" in text:
        return Shape("list", text, (_one_sign(text, "+"), _one_sign(text, "-")), name=name)
    if not name or _CHAIN.search(text):
        signs = _RELATION.findall(_outside(text))
        if signs:
            return Shape("relation", text, tuple(_RELATION.split(text)), signs=tuple(signs), name=name)
    return Shape("words" if _is_words(text) else "scalar", text, name=name)


def pieces(shape: Shape, together: bool = False) -> tuple[str, list[Piece]] | None:
    """A set of real numbers as its variable ("" for plain intervals) and intervals; None if it isn't one.

    Inequalities joined by "or" are alternatives, by "and" they hold at once, by a comma at once if ``together``.
    """
    if shape.text == "\\mathbb{R}":
        return shape.name, [Piece("-\\infty", True, "\\infty", True)]
    if shape.text == "\\emptyset":
        return shape.name, []
    if shape.kind == "tuple" and len(shape.parts) == 2:
        low, high = shape.parts
        return shape.name, [Piece(low, shape.brackets[0] == "(", high, shape.brackets[1] == ")")]
    if shape.kind == "relation":
        return _of_relation(shape)
    if shape.kind != "region":
        return None
    found: list[Piece] = []
    names = {shape.name} if shape.name else set()
    for part in shape.parts or tuple(split(shape.text, "\\cup")):
        inner = pieces(shape_of(part))
        if inner is None:
            return None
        if inner[0]:
            names.add(inner[0])
        found += inner[1]
    if len(names) > 1:
        return None
    name = names.pop() if names else ""
    said_and = re.search(r"\sand\s", shape.text) is not None
    if not shape.parts or re.search(r"\sor\s", shape.text):
        return None if said_and else (name, found)
    if not said_and and not together:
        return name, found
    upper = [piece for piece in found if piece.low == "-\\infty"]
    lower = [piece for piece in found if piece.high == "\\infty"]
    if len(found) != 2 or len(upper) != 1 or len(lower) != 1:
        return None
    return name, [Piece(lower[0].low, lower[0].low_open, upper[0].high, upper[0].high_open)]


def _of_relation(shape: Shape) -> tuple[str, list[Piece]] | None:
    sides, signs = [side.strip() for side in shape.parts], shape.signs
    if "=" in signs or "\\in" in signs:
        return None
    if len(sides) == 2:
        left, right = sides
        sign = signs[0]
        if _is_variable(right) and not _is_variable(left):
            left, right = right, left
            sign = sign.translate(str.maketrans("<>", "><"))
        if not _is_variable(left):
            return None
        if sign == "!=":
            return left, [Piece("-\\infty", True, right, True), Piece(right, True, "\\infty", True)]
        if sign[0] == "<":
            return left, [Piece("-\\infty", True, right, sign == "<")]
        return left, [Piece(right, sign == ">", "\\infty", True)]
    if len(sides) != 3 or not _is_variable(sides[1]) or "!=" in signs or signs[0][0] != signs[1][0]:
        return None
    low, high = (sides[0], sides[2]) if signs[0][0] == "<" else (sides[2], sides[0])
    first, last = signs if signs[0][0] == "<" else (signs[1], signs[0])
    return sides[1], [Piece(low, len(first) == 1, high, len(last) == 1)]


def _is_variable(text: str) -> bool:
    return (
        re.fullmatch(r"[a-zA-Z](?:_\{?\w\}?|\([a-z]\))?|\\(?:theta|alpha|beta|lambda|mu)", text.strip())
        is not None
    )


def _is_assignment(text: str) -> bool:
    return _named(text) is not None


def _named(text: str) -> tuple[str, str] | None:
    r"""Name and right side of ``x = 5``, ``f(x) = ...``, ``x \in ...``; numbers chained before "=" go too."""
    sides = split(text, "=")
    if (
        len(sides) == 2
        and _is_variable(sides[1])
        and not re.search(r"[a-zA-Z<>!]", _COMMAND.sub("", sides[0]))
    ):
        return sides[1].strip(), sides[0]
    if len(sides) == 1 or any(s.endswith(("<", ">", "!")) for s in sides[:-1]):
        parts = re.split(r"\\in(?![a-zA-Z])", text, maxsplit=1)
        if len(parts) == 2 and _is_variable(parts[0]):
            return parts[0].strip(), parts[1].strip()
        return None
    if not sides[-1] or len(split(text, ",")) > 1:
        return None
    if re.search(r"\s(?:and|or)\s", text):
        return None
    named = [side for side in sides[:-1] if side and _LEFT_NAME.fullmatch(side)]
    plain = [side for side in sides[:-1] if not re.search(r"[a-zA-Z<>]", _COMMAND.sub("", side)) and side]
    if len(named) + len(plain) < len(sides) - 1:
        return None
    if plain and not named and re.search(r"[a-zA-Z]", _COMMAND.sub("", sides[-1])):
        return None  # 4 = x + y
    return (named[0].strip() if named else ""), sides[-1]


def _elements(inside: str) -> tuple[str, ...]:
    """What semicolons part, or commas where there is none."""
    return tuple(part for part in split(inside, ";" if ";" in inside else ",") if part)


def _listed(text: str) -> list[str]:
    if _THOUSANDS.fullmatch(text):
        return [text]
    parts = [re.sub(r"^(?:and|or)\s+", "", part, flags=re.IGNORECASE) for part in split(text, _JOINT)]
    if len(parts) > _MOST:
        return []
    return [part for part in parts if part] or [text]


def _matrix(text: str, body: str, name: str) -> Shape:
    rows = [[cell.strip() for cell in row.split("&")] for row in body.split("\\newline")]
    rows = [row for row in rows if row != [""]]
    width = len(rows[0]) if rows else 0
    if not rows or any(len(row) != width for row in rows) or width * len(rows) > _MOST * 4:
        return Shape("words", text, name=name)
    return Shape(
        "matrix", text, tuple(cell for row in rows for cell in row), f"{len(rows)}x{width}", name=name
    )


def _one_sign(text: str, sign: str) -> str:
    other = "-" if sign == "+" else "+"
    return text.replace("\\pm", sign).replace("\\mp", other).strip().removeprefix("+").strip()


def _unwrapped(text: str) -> str:
    """``text`` without brackets around all of it that hold one element."""
    for _ in range(3):
        if (
            not (text[:1] + text[-1:] in ("()", "[]", "{}") and _closes_at_end(text))
            or len(_elements(text[1:-1])) > 1
        ):
            break
        text = text[1:-1].strip()
    return text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for place, c in enumerate(text):
        depth += (c in _OPEN) - (c in _CLOSE)
        if depth == 0:
            return place == len(text) - 1
    return False


def _outside(text: str) -> str:
    """``text`` with what stands in braces blanked out."""
    out, depth = [], 0
    for c in text:
        depth += (c == "{") - (c == "}")
        out.append(" " if depth else c)
    return "".join(out)


def _is_words(text: str) -> bool:
    r"""Whether it is text: a word of four letters, two words, or nothing but letters, two or more."""
    plain = _COMMAND.sub(" ", text)
    words = [word for word in _WORD.findall(plain) if word not in _FUNCTIONS]
    if not words:
        return False
    return max(map(len, words)) > 3 or len(words) > 1 or re.fullmatch(r"[A-Za-z .'\-]+", text) is not None

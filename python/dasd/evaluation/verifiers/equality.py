"""Whether an answer equals the expected one: by shape, then number by number; expressions by math-verify."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from dasd.evaluation.verifiers.notation import LONGEST, normal
from dasd.evaluation.verifiers.quantity import (
    Quantity,
    approximates,
    conversion,
    quantity,
    same_unit,
    without_unit,
)
from dasd.evaluation.verifiers.shapes import Piece, Shape, pieces, shape_of

__all__ = ["NeedsSymbols", "Symbols", "equal"]

Symbols = Callable[[str, str, str], bool]
"""``(what, expected, found)``, what being ``value`` or ``relation``: whether both are the same."""

_Part = TypeVar("_Part")
_BASED = re.compile(r"([0-9A-Fa-f]+)_\{?(?:\\text)?\s*(\d{1,2}|two|three|eight|ten)\s*\}?")
_LETTER = re.compile(r"[A-Za-z]")
_UNREAD = re.compile(r"['\"?@#&~`;:]")
"""Signs that the parser skips."""
_COMMA = re.compile(r"([-+]?\d+),(\d+)")
_DEGREES = re.compile(r"(\d+(?:\.\d+)?)\s*\^\\circ")


class NeedsSymbols(Exception):  # noqa: N818 - it is a signal, not an error
    """The comparison can't be had from numbers and words alone."""


def _without(what: str, expected: str, found: str) -> bool:  # noqa: ARG001 - Symbols' arguments
    raise NeedsSymbols


def equal(expected: str, found: str, symbols: Symbols = _without) -> bool:
    """Whether ``found`` is ``expected``, both as written.

    ``symbols`` compares expressions; without it NeedsSymbols is raised where one has to be compared.
    """
    if len(found) > LONGEST or not found.strip():
        return False
    wanted, got = normal(expected), normal(found)
    if not wanted or not got:
        return False
    if wanted == got:
        return True
    (wanted, unit_wanted), (got, unit_got) = without_unit(wanted), without_unit(got)
    if not same_unit(unit_wanted, unit_got):
        return False
    return _equal_shapes(shape_of(wanted), shape_of(got), symbols)


def _equal_shapes(wanted: Shape, got: Shape, symbols: Symbols) -> bool:
    names = [_squeezed(shape.name) for shape in (wanted, got)]
    # ``x = 5`` isn't ``y = 5``; a name as long as a word says what the number is.
    if all(names) and names[0] != names[1] and max(map(len, names)) < 4:
        return False
    kinds = (wanted.kind, got.kind)
    for one, other in ((wanted, got), (got, wanted)):
        if one.kind == "scalar" and re.search(r"[a-zA-Z]", one.text) and other.signs == ("=",):
            if not _LETTER.fullmatch(one.name):
                return False
            equation = Shape("relation", one.text, (one.name, one.text), signs=("=",))
            return _same_relation(equation, other, symbols)
    if kinds == ("scalar", "scalar"):
        return wanted.text == got.text or _scalars(wanted.text, got.text, symbols)
    if "words" in kinds:
        return _words(wanted, got)
    if set(kinds) == {"matrix", "tuple"}:
        flat = wanted if wanted.kind == "matrix" else got
        return "1" in flat.brackets.split("x") and _in_order(wanted.parts, got.parts, symbols)
    if kinds in (("tuple", "tuple"), ("matrix", "matrix")):
        return wanted.brackets == got.brackets and _in_order(wanted.parts, got.parts, symbols)
    if kinds == ("relation", "relation") and _same_relation(wanted, got, symbols):
        return True
    if kinds in (("tuple", "list"), ("list", "tuple")):
        whole = wanted if wanted.kind == "tuple" else got
        return whole.brackets == "()" and _in_order(_by_name(wanted), _by_name(got), symbols)
    if kinds == ("set", "set"):
        return _included(wanted.parts, got.parts, symbols) and _included(got.parts, wanted.parts, symbols)
    if set(kinds) <= {"list", "set"}:
        return _any_order(wanted.parts, got.parts, symbols)
    if set(kinds) in ({"set", "scalar"}, {"list", "scalar"}):
        return _one_and_many(wanted, got, symbols)
    if "matrix" in kinds or "scalar" in kinds:
        return _decimal_comma(wanted, got) if kinds == ("scalar", "list") else False
    return _regions(wanted, got, symbols)


def _one_and_many(wanted: Shape, got: Shape, symbols: Symbols) -> bool:
    """``\\{5\\}`` for 5, and 3,5 for 3.5; never one of several candidates."""
    many, one = (wanted, got) if wanted.kind != "scalar" else (got, wanted)
    if many.kind == "set":
        return len(many.parts) == 1 and _parts_equal(
            wanted.text if one is wanted else many.parts[0],
            many.parts[0] if one is wanted else got.text,
            symbols,
        )
    if wanted.kind != "scalar":
        return False
    # One value written in several ways, as 1/2 or 50 %, or with a decimal comma.
    return _decimal_comma(wanted, got) or all(_parts_equal(wanted.text, part, symbols) for part in got.parts)


def _decimal_comma(wanted: Shape, got: Shape) -> bool:
    written = _COMMA.fullmatch(got.text)
    exact = quantity(wanted.text)
    if written is None or exact is None or exact.value.denominator == 1:
        return False
    return Fraction(f"{written[1]}.{written[2]}") == exact.value


def _parts_equal(wanted: str, got: str, symbols: Symbols) -> bool:
    if wanted == got:
        return bool(wanted)
    return _equal_shapes(shape_of(wanted), shape_of(got), symbols)


def _in_order(wanted: tuple[str, ...], got: tuple[str, ...], symbols: Symbols) -> bool:
    return len(wanted) == len(got) and all(
        _parts_equal(w, g, symbols) for w, g in zip(wanted, got, strict=True)
    )


def _by_name(shape: Shape) -> tuple[str, ...]:
    """Coordinates as ``y=3, x=2`` in the order of their names; others as they stand."""
    names = [shape_of(part).name for part in shape.parts]
    if shape.kind != "list" or not all(names):
        return shape.parts
    return tuple(part for _, part in sorted(zip(names, shape.parts, strict=True)))


def _any_order(wanted: tuple[str, ...], got: tuple[str, ...], symbols: Symbols) -> bool:
    return _paired(wanted, got, lambda one, other: _parts_equal(one, other, symbols))


def _paired(wanted: Sequence[_Part], got: Sequence[_Part], same: Callable[[_Part, _Part], bool]) -> bool:
    """Every expected element once. Equality is transitive up to rounding, so the first match will do."""
    if len(wanted) != len(got):
        return False
    left = list(got)
    for element in wanted:
        match = next((other for other in left if same(element, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _included(some: tuple[str, ...], of: tuple[str, ...], symbols: Symbols) -> bool:
    return all(any(_parts_equal(element, other, symbols) for other in of) for element in some)


def _words(wanted: Shape, got: Shape) -> bool:
    def plain(shape: Shape) -> str:
        # "The answer is the letter B" is for the choice verifier; articles alone are no difference.
        words = re.sub(r"[^\w%.+-]+", " ", shape.text.replace("\\text", " ")).casefold().split()
        return " ".join(word for word in words if word not in ("the", "a", "an"))

    return bool(plain(wanted)) and plain(wanted) == plain(got)


def _scalars(wanted: str, got: str, symbols: Symbols) -> bool:
    if not wanted or not got:
        return False
    bases = _BASED.fullmatch(wanted), _BASED.fullmatch(got)
    if bases[0] is not None:
        return _squeezed(got) in (_squeezed(wanted), bases[0][1]) or (
            bases[1] is not None and bases[1].groups() == bases[0].groups()
        )
    if bases[1] is not None and quantity(wanted) is not None:
        return bases[1][2] in ("10", "ten") and bases[1][1] == wanted
    exact, written = quantity(wanted), quantity(got)
    if exact is not None and written is not None:
        return _quantities(exact, written)
    wanted_value, got_value = _value(wanted, exact), _value(got, written)
    # A plain name: its case matters, and it is no product of letters.
    if _LETTER.fullmatch(wanted) and _LETTER.fullmatch(got):
        return wanted == got
    if set(_UNREAD.findall(got)) - set(_UNREAD.findall(wanted)) or not _same_case(wanted, got):
        return False
    return symbols("value", wanted_value, got_value)


def _quantities(exact: Quantity, written: Quantity) -> bool:
    if not same_unit(exact.unit, written.unit):
        factor = conversion(written.unit, exact.unit)
        return factor is not None and written.value * factor == exact.value
    if exact.percent == written.percent:
        return written.value == exact.value or (_endless(exact.value) and approximates(written, exact.value))
    # "50%" and "50": the question asked for per cent.
    return exact.share == written.share or (written.value == exact.value and abs(exact.value) > 1)


def _endless(value: Fraction) -> bool:
    """Whether it has no finite decimal writing."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest > 1


def _same_case(wanted: str, got: str) -> bool:
    """Whether variables that both have are in the same case: math-verify reads ``A`` and ``a`` as one."""
    letters = [set(re.findall(r"[A-Za-z]", re.sub(r"\\[a-zA-Z]+", "", text))) for text in (wanted, got)]
    return all(
        {letter.lower(), letter.upper()} & letters[0] == {letter.lower(), letter.upper()} & letters[1]
        for letter in letters[0] | letters[1]
        if all({letter.lower(), letter.upper()} & of for of in letters)
    )


def _value(text: str, number: Quantity | None) -> str:
    """What math-verify reads: numbers in full, degrees inside expressions as multiples of pi."""
    if number is not None and number.unit == "degree":
        text = f"{number.value}^\\circ"
    elif number is not None:
        value = number.share
        if number.decimals is not None and not number.percent:
            return re.sub(r"[^\d.+-]", "", text)
        return f"\\frac{{{value.numerator}}}{{{value.denominator}}}" if value.denominator > 1 else str(value)
    return _DEGREES.sub(r"(\\frac{\1 \\pi}{180})", text)


def _same_relation(wanted: Shape, got: Shape, symbols: Symbols) -> bool:
    if len(wanted.signs) != 1 or len(got.signs) != 1 or "\\in" in (*wanted.signs, *got.signs):
        return False
    (of_wanted, sign), (of_got, other) = _less(wanted), _less(got)
    return sign == other and symbols(
        "relation" if sign in ("=", "!=") else "inequality",
        f"({of_wanted[0]})-({of_wanted[1]})",
        f"({of_got[0]})-({of_got[1]})",
    )


def _less(relation: Shape) -> tuple[tuple[str, ...], str]:
    """Sides and sign of a relation, ">" as "<" with the sides exchanged."""
    sides, sign = relation.parts, relation.signs[0]
    return (sides[::-1], sign.replace(">", "<")) if sign[0] == ">" else (sides, sign)


def _regions(wanted: Shape, got: Shape, symbols: Symbols) -> bool:
    return any(
        _same_region(pieces(wanted, of_wanted), pieces(got, of_got), symbols)
        for of_wanted in (False, True)
        for of_got in (False, True)
    )


def _same_region(
    left: tuple[str, list[Piece]] | None, right: tuple[str, list[Piece]] | None, symbols: Symbols
) -> bool:
    if left is None or right is None or (left[0] and right[0] and _squeezed(left[0]) != _squeezed(right[0])):
        return False
    return _paired(left[1], right[1], lambda one, other: _same_piece(one, other, symbols))


def _same_piece(wanted: Piece, got: Piece, symbols: Symbols) -> bool:
    return all(
        is_open == other_open and _same_end(end, other, symbols)
        for end, is_open, other, other_open in (
            (wanted.low, wanted.low_open, got.low, got.low_open),
            (wanted.high, wanted.high_open, got.high, got.high_open),
        )
    )


def _same_end(wanted: str, got: str, symbols: Symbols) -> bool:
    ends = [_squeezed(end).removeprefix("+") for end in (wanted, got)]
    if any("infty" in end for end in ends):
        return ends[0] == ends[1]
    return _parts_equal(wanted, got, symbols)


def _squeezed(text: str) -> str:
    return re.sub(r"[\s{}]", "", text)

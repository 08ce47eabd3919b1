"""Numbers that can be read exactly, with what stands beside them: percent, money, units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Quantity", "approximates", "conversion", "quantity", "same_unit", "without_unit"]

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?: \d{3})+(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
_SIGN = r"[-+]?\s*"
_POWER = r"\^\s*(?:\{\s*([-+]?\d{1,4})\s*\}|([-+]?\d{1,4})(?!\d))"
_SCIENTIFIC = re.compile(rf"({_SIGN}{_DIGITS})\s*(?:\\cdot|x)\s*10\s*{_POWER}")
_SHORT = re.compile(rf"({_SIGN}(?:\d+(?:\.\d*)?|\.\d+))[eE]([-+]?\d{{1,4}})")
_TEN = re.compile(rf"({_SIGN})10\s*{_POWER}")
_MIXED = re.compile(
    rf"({_SIGN})(\d+)\s*(?:(?<=\s)\s*(\d+)\s*/\s*(\d+)|\\frac\{{\s*(\d+)\s*\}}\{{\s*(\d+)\s*\}})"
)
_FRACTION = re.compile(
    rf"({_SIGN})(?:\\frac\{{\s*({_SIGN}{_DIGITS})\s*\}}\{{\s*({_SIGN}{_DIGITS})\s*\}}|({_DIGITS})\s*/\s*({_DIGITS}))"
)
_PLAIN = re.compile(rf"({_SIGN}{_DIGITS})")
_REPEATING = re.compile(rf"({_SIGN}\d+)\.(\d*)\\overline\{{\s*(\d+)\s*\}}")
_READERS = (_REPEATING, _SCIENTIFIC, _SHORT, _TEN, _MIXED, _FRACTION, _PLAIN)
_LONGEST_NUMBER = 400
_MONEY = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_MONEY_LEAD = re.compile(r"(?P<sign>[-+]?)\s*(?P<money>[$€£¥₹])\s*(?P<rest>.*)", re.DOTALL)
_GERMAN = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+")
_UNIT = re.compile(
    r"(?:[a-zA-Z\u00b5\u03bc]+\.?|[$€£¥₹])"
    r"(?:[\s\-/]*(?:\\cdot\s*)?(?:per\s+)?[a-zA-Z\u00b5\u03bc]+(?:\s*\^\s*\{?-?\d\}?)?|\s*\^\s*\{?-?\d\}?){0,4}"
)
# Words after a number that change its value, or make it something other than a quantity.
_NO_UNIT = re.compile(
    r"\b(?:or|and|not|to|than|thousands?|millions?|billions?|trillions?|hundreds?|dozens?|k|mod|modulo"
    r"|if|when|e|i|x|y|z|n|pi|plus|minus|times|over|squared|cubed|remainder|with|where|but|is|isn"
    r"|wrong|false|incorrect|correct|maybe|about|factorial)\b",
    re.IGNORECASE,
)
_SHORT_UNITS = frozenset(
    name
    for names in (
        "m cm mm km ft in yd mi sq",
        "g kg mg lb oz",
        "s sec min h hr",
        "l L ml mL",
        "N J W V A K C F Hz Pa mph",
    )
    for name in names.split()
)
_NAMES = {
    name: unit
    for unit, names in {
        "m": "meter meters metre metres",
        "cm": "centimeter centimeters centimetre centimetres cms",
        "mm": "millimeter millimeters millimetre millimetres",
        "km": "kilometer kilometers kilometre kilometres kms",
        "in": "inch inches",
        "ft": "foot feet",
        "yd": "yard yards yds",
        "mi": "mile miles",
        "g": "gram grams",
        "kg": "kilogram kilograms kgs",
        "mg": "milligram milligrams",
        "lb": "pound pounds lbs",
        "oz": "ounce ounces",
        "s": "sec secs second seconds",
        "min": "mins minute minutes",
        "h": "hr hrs hour hours",
        "L": "l liter liters litre litres",
        "mL": "ml milliliter milliliters",
        "degree": "degrees deg",
        "dollar": "dollars usd USD",
        "euro": "euros eur EUR",
        "N": "newton newtons",
        "J": "joule joules",
        "mi/h": "mph",
    }.items()
    for name in names.split()
}


_LONG = sorted(
    {*_NAMES, "cm", "mm", "km", "kg", "units", "unit"} - {"l", "sec", "deg", "min", "second", "seconds"},
    key=len,
    reverse=True,
)
_KNOWN = "|".join(name for name in _LONG if len(name) > 1)
_TRAILING = re.compile(
    rf"(?<=[\s}}\d])(?:(?:square|cubic|sq)\s+)?\b(?:{_KNOWN})\b"
    rf"(?:\s*(?:/|per)\s*(?:{_KNOWN}|s|h))?(?:\s*\^\s*\{{?\d\}}?)?$"
)
_UNIT_RATIO = re.compile(r"\\frac\{\s*([a-zA-Z]+)\s*\}\{\s*([a-zA-Z]+)\s*(\^\s*\{?\d\}?)?\s*\}")
_OF_THE = re.compile(r"\s+of\s+(?:the|a|an|his|her)\s+[a-z]+(?:\s[a-z]+)?$")
_SCALES = {
    unit: (dimension, Fraction(scale))
    for dimension, scales in {
        "length": {"mm": "1/1000", "cm": "1/100", "m": "1", "km": "1000"},
        "mass": {"mg": "1/1000", "g": "1", "kg": "1000"},
        "time": {"s": "1", "min": "60", "h": "3600", "days": "86400"},
        "volume": {"mL": "1/1000", "L": "1"},
        "money": {"cents": "1/100", "dollar": "1"},
    }.items()
    for unit, scale in scales.items()
}


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number and what stands beside it."""

    value: Fraction
    percent: bool
    """Whether a percent sign follows; ``value`` is the number before it."""
    unit: str
    """The unit in one spelling, "" without one."""
    decimals: int | None
    """Digits after the decimal point as written; None if it isn't a decimal number."""
    digits: int
    """Significant digits as written."""

    @property
    def share(self) -> Fraction:
        """The value, of a percentage as a part of one."""
        return self.value / 100 if self.percent else self.value


def quantity(text: str) -> Quantity | None:
    """``text`` (normalised) as a number with or without a unit; None if it is anything else."""
    text = text.strip()
    if not text or len(text) > _LONGEST_NUMBER:
        return None
    unit = ""
    lead = _MONEY_LEAD.fullmatch(text)
    if lead is not None:
        unit, text = _MONEY[lead["money"]], lead["sign"] + lead["rest"]
    elif _GERMAN.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    for reader in _READERS:
        match = reader.match(text)
        if match is None:
            continue
        rest = text[match.end() :]
        beside = _beside(rest, unit)
        if beside is None:
            continue
        try:
            value = _value(reader, match)
        except (ValueError, ZeroDivisionError):
            return None
        written = match[0].strip()
        plain = reader is _PLAIN
        decimals = len(written.partition(".")[2]) if plain and "." in written else None
        digits = len(re.sub(r"\D", "", written).lstrip("0"))
        return Quantity(value, beside[0], beside[1], decimals, digits)
    return None


def same_unit(expected: str, found: str) -> bool:
    """Whether one unit may stand for the other: a unit left out on either side is no mistake."""
    if not expected or not found or expected == found:
        return True
    return expected.rstrip("s") == found.rstrip("s") and len(expected) > 3


def conversion(unit: str, to: str) -> Fraction | None:
    """What a number of ``unit`` is multiplied with to be one of ``to``; None where they don't convert."""
    here, there = _SCALES.get(unit), _SCALES.get(to)
    if here is None or there is None or here[0] != there[0]:
        return None
    return here[1] / there[1]


def without_unit(text: str) -> tuple[str, str]:
    """An expression that is no plain number without the known unit that ends it, and that unit."""
    if quantity(text) is not None:
        return text, ""
    text = _OF_THE.sub("", text)
    match = _TRAILING.search(text)
    if match is None or not match.start() or text[match.start() - 1] in "+-=<>,(/^":
        return text, ""
    return text[: match.start()].strip(), _canonical(match[0])


def approximates(written: Quantity, exact: Fraction) -> bool:
    """Whether a decimal number of six significant digits or more is ``exact`` rounded to its last place."""
    if written.decimals is None or written.digits < 6:
        return False
    return abs(written.value - exact) <= Fraction(1, 2 * 10**written.decimals)


def _beside(rest: str, unit: str) -> tuple[bool, str] | None:
    """Percent or not, and the unit, of what follows a number; None if that is neither."""
    spaced = rest[:1].isspace()
    rest = rest.strip()
    if rest.startswith("^\\circ"):
        scale = rest[6:].strip()
        return (
            None
            if unit
            else (False, "degree" if not scale else f"degree{scale}")
            if scale in ("", "C", "F")
            else None
        )
    if rest in ("%", "percent", "per cent", "pct"):
        return None if unit else (True, "")
    if not rest:
        return False, unit
    ratio = _UNIT_RATIO.fullmatch(rest)
    if ratio is not None and {ratio[1], ratio[2]} <= _SHORT_UNITS:
        rest, spaced = f"{ratio[1]}/{ratio[2]}{ratio[3] or ''}", True
    rest = _OF_THE.sub("", " " + rest).strip()
    if not rest:
        return False, unit
    if not _UNIT.fullmatch(rest) or _NO_UNIT.search(rest) or len(rest) > 40:
        return None
    if unit:
        return (False, unit) if _canonical(rest) in (unit, "US", "each") else None
    # ``5m`` may be a product; ``5 m`` and ``5cm`` are not.
    first = re.match(r"[a-zA-Z\u00b5\u03bc]+", rest)
    short = first is not None and len(first[0]) < 3
    if short and first is not None and first[0] not in _SHORT_UNITS:
        return None
    if first is not None and len(first[0]) == 1 and not spaced:
        return None
    return False, _canonical(rest)


def _canonical(unit: str) -> str:
    words = (
        re.sub(r"\bper\b", "/", unit.replace("\\cdot", " ").replace(".", " "))
        .replace("{", "")
        .replace("}", "")
    )
    words = re.sub(r"\b(?:square|sq)\s+([a-zA-Z]+)", r"\1^2", words)
    words = re.sub(r"\bcubic\s+([a-zA-Z]+)", r"\1^3", words)
    words = re.sub(r"[a-zA-Z]+", lambda m: _NAMES.get(m[0], _NAMES.get(m[0].lower(), m[0])), words)
    words = words.replace("$", "dollar").replace("€", "euro").replace("£", "pound")
    if re.fullmatch(r"units?(\^[23])?", words):
        return ""
    return re.sub(r"\s*([/^])\s*", r"\1", " ".join(words.split())).replace(" ", "-")


def _number(text: str) -> Fraction:
    return Fraction(text.replace(",", "").replace(" ", ""))


def _repeating(whole: str, start: str, period: str) -> Fraction:
    number = Fraction(int(start or "0"), 10 ** len(start))
    number += Fraction(int(period), 10 ** len(start) * (10 ** len(period) - 1))
    value = abs(int(whole.replace(" ", ""))) + number
    return -value if "-" in whole else value


def _value(reader: re.Pattern[str], match: re.Match[str]) -> Fraction:
    parts = [part for part in match.groups() if part is not None]
    if reader is _PLAIN:
        return _number(parts[0])
    if reader is _REPEATING:
        return _repeating(*match.groups())
    if reader in (_SCIENTIFIC, _SHORT):
        return _number(parts[0]) * Fraction(10) ** int(parts[1])
    sign = -1 if "-" in parts[0] else 1
    if reader is _TEN:
        return sign * Fraction(10) ** int(parts[1])
    if reader is _MIXED:
        return sign * (int(parts[1]) + Fraction(int(parts[2]), int(parts[3])))
    return sign * _number(parts[1]) / _number(parts[2])

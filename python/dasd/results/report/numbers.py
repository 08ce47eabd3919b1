"""Numbers into words and back: one place decides how many digits a reader sees."""

from __future__ import annotations

from math import floor, isfinite, log10

from pydantic import JsonValue

__all__ = [
    "MISSING",
    "as_float",
    "as_int",
    "count",
    "decimal",
    "finite",
    "number",
    "percent",
    "plus_minus",
    "short",
]

MISSING = "–"


def finite(value: float | int | None) -> float | None:
    """``value``, or None for null, NaN and infinities, which JSON can't hold."""
    return None if value is None or not isfinite(value) else float(value)


def as_float(value: JsonValue) -> float | None:
    """A figure of a summary as a finite float, None for anything else."""
    return finite(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_int(value: JsonValue) -> int | None:
    """A count of a summary, None for anything else."""
    found = as_float(value)
    return None if found is None else int(found)


def count(value: int | None) -> str:
    """``12 345``, with narrow no-break spaces."""
    return MISSING if value is None else f"{value:,}".replace(",", "\u202f")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as ``12.3 %``."""
    return MISSING if value is None else f"{_signed(100 * value, digits)}\u202f%"


def decimal(value: float | None, digits: int = 2) -> str:
    """``1.23``, with a real minus sign."""
    return MISSING if value is None else _signed(value, digits)


def number(value: float | None) -> str:
    """A figure of unknown size: three significant digits, whole from a hundred on."""
    if value is None:
        return MISSING
    if value == 0 or abs(value) >= 100:
        return count(round(value)).replace("-", "−")
    return _signed(value, max(0, 2 - floor(log10(abs(value)))))


def plus_minus(value: float | None, error: float | None, *, as_percent: bool = False) -> str:
    """``12.3 ± 0.4``; in per cent without the sign, which the column's head has."""
    if value is None:
        return MISSING
    if as_percent:
        value, error = 100 * value, None if error is None else 100 * error
        return f"{value:.1f}" + ("" if error is None else f" ± {error:.1f}")
    digits = _digits(value, error)
    return _signed(value, digits) + ("" if error is None else f" ± {error:.{digits}f}")


def _digits(value: float, error: float | None) -> int:
    """Decimals that show two digits of the error; of a value without one, three digits."""
    size = error if error else abs(value) / 10
    return 2 if size <= 0 else min(4, max(0, 1 - floor(log10(size))))


def short(value: int | None) -> str:
    """A large count for a table: ``9 876``, ``12.3 k``, ``4.56 M``, ``7.8 G``."""
    if value is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scaled = value / (1e3 if unit == "k" else size)
            return f"{scaled:.3g}\u202f{unit}" if scaled < 1000 else f"{scaled:.0f}\u202f{unit}"
    return count(value)


def _signed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")

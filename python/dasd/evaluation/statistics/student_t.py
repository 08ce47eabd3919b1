"""Student's t distribution: tail probability and quantile, by the incomplete beta function."""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log, log1p, sqrt

__all__ = ["t_quantile", "t_two_sided"]

_TINY = 1e-300
_STEPS = 500
_ENOUGH = 1e-15


def t_two_sided(t: float, degrees: float) -> float:
    """Probability that |T| is ``t`` or more, T with ``degrees`` degrees of freedom."""
    if degrees <= 0:
        raise ValueError(f"degrees of freedom: wanted more than 0, got {degrees}")
    return _beta(degrees / (degrees + t * t), degrees / 2, 0.5)


@lru_cache(maxsize=1024)
def t_quantile(probability: float, degrees: float) -> float:
    """The value below which T lies with ``probability`` (0 to 1, both excluded)."""
    if not 0 < probability < 1:
        raise ValueError(f"probability: wanted one between 0 and 1, got {probability}")
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    tail = 2 * (1 - probability)
    low, high = 0.0, 1.0
    while t_two_sided(high, degrees) > tail and high < 1e12:
        low, high = high, high * 2
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:  # no number lies between the two
            break
        if t_two_sided(middle, degrees) > tail:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b); continued fraction of DLMF 8.17.22, by Lentz's method."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x))
    if x > (a + 1) / (a + b + 2):
        return 1 - front * _fraction(1 - x, b, a) / b
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > _TINY else _TINY)
    value = d
    for m in range(1, _STEPS + round(sqrt(a + b))):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for step in (even, odd):
            d = 1 + step * d
            c = 1 + step / c
            d = 1 / (d if abs(d) > _TINY else _TINY)
            c = c if abs(c) > _TINY else _TINY
            value *= c * d
        if abs(c * d - 1) < _ENOUGH:
            break
    return value

"""Arithmetic of amounts: what is not known stays unknown, bounds stay bounds."""

from __future__ import annotations

from dasd.pipeline.plan.records import Amount

__all__ = ["at_most", "least", "rounded", "scaled", "times", "total", "with_balance", "with_share"]


def times(amount: Amount, count: int) -> Amount:
    """``count`` for each."""
    expected = None if amount.expected is None else amount.expected * count
    return Amount(expected, None if amount.most is None else amount.most * count, amount.exact)


def scaled(amount: Amount, mean: float | None, most: int | None) -> Amount:
    """``mean`` for each on average (None: not known), and ``most`` at most (None: no bound)."""
    bound = None if amount.most is None or most is None else amount.most * most
    expected = rounded(amount.expected, mean)
    return Amount(None if expected is None else least(expected, bound), bound)


def at_most(amount: Amount, limit: int | None) -> Amount:
    """No more than ``limit``; None: as it is."""
    if limit is None:
        return amount
    expected = None if amount.expected is None else min(amount.expected, limit)
    return Amount(expected, least(amount.most, limit), amount.exact)


def total(one: Amount, two: Amount) -> Amount:
    """Both together."""
    expected = None if one.expected is None or two.expected is None else one.expected + two.expected
    most = None if one.most is None or two.most is None else one.most + two.most
    return Amount(expected, most, one.exact and two.exact)


def rounded(count: int | None, factor: float | None) -> int | None:
    """``count`` times ``factor``."""
    return None if count is None or factor is None else round(count * factor)


def least(one: int | None, two: int | None) -> int | None:
    """The tighter of two bounds, of which either may be unknown."""
    known = [value for value in (one, two) if value is not None]
    return min(known) if known else None


def with_share(own: Amount, share: float) -> Amount:
    """Rows of which the part ``share`` is others than ``own``."""
    whole = 1 / (1 - share)
    return Amount(rounded(own.expected, whole), rounded(own.most, whole), own.exact)


def with_balance(mixed: int | None, selected: int | None, balance: float) -> int | None:
    """Rows of a mixed-policy training: the mixed ones and ``balance`` off-policy ones for each."""
    if mixed is None or selected is None:
        return None
    return mixed + min(round(balance * mixed), selected)

"""Intervals of shares and of their differences, which end where shares do: at 0 and 1, at -1 and 1.

A share here is a mean over questions of values between 0 and 1 (a question's attempts are one cluster), so the
Wilson score interval takes an effective number of observations: as many as would give a plain share the error that
was measured (Kott and Carr 1997; Dean and Pagano 2015 find it to cover near the ends where t intervals don't).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dasd.evaluation.statistics.estimate import Estimate, Interval, t_reach

__all__ = ["share_difference_interval", "share_interval"]

_END = 1e-12
"""Nearer to 0 or 1 than this a mean is there, but for rounding."""


def share_interval(estimate: Estimate) -> Interval | None:
    """Wilson's interval of a mean over questions of values in [0, 1]; None for a single question.

    ``((p + c) -+ t sqrt(p (1 - p) / m + t^2 / (4 m^2))) / (1 + 2 c)`` with ``c = t^2 / (2 m)``, t the quantile with
    ``questions - 1`` degrees of freedom (as Korn and Graubard 1998 take it) and ``m = p (1 - p) / standard_error^2``,
    at most the number of attempts. Where every value is 0, or every one is 1, no error can be measured and m is the
    number of questions.
    """
    if estimate.standard_error is None:
        return None
    value, error = min(max(estimate.value, 0.0), 1.0), estimate.standard_error
    t = t_reach(estimate.questions)
    spread = value * (1 - value)
    if spread < _END:
        count = float(estimate.questions)
    else:
        count = min(spread / error**2 if error > 0 else np.inf, float(estimate.attempts))
    centre = t * t / (2 * count)
    reach = t * float(np.sqrt(spread / count + (t / (2 * count)) ** 2))
    low, high = ((value + centre + side * reach) / (1 + 2 * centre) for side in (-1, 1))
    return Interval(max(0.0, min(low, value)), min(1.0, max(high, value)))


def share_difference_interval(
    first_Q: npt.NDArray[np.float64],  # noqa: N803 - one value a question
    second_Q: npt.NDArray[np.float64],  # noqa: N803
    attempts: tuple[int, int],
) -> Interval | None:
    """Interval of ``mean(second) - mean(first)``, both values in [0, 1] at the same questions; None for one question.

    Both shares' intervals are put together by the distances from the shares to their ends, with the correlation of
    the two (Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data", method 10; Zou and Donner 2008 for other estimates than plain proportions). ``attempts``: of each.
    """
    questions = first_Q.size
    if questions < 2:
        return None
    ends = []
    for values, count in zip((first_Q, second_Q), attempts, strict=True):
        error = float(values.std(ddof=1) / np.sqrt(questions))
        mean = min(max(float(values.mean()), 0.0), 1.0)
        interval = share_interval(Estimate(mean, error, questions, count))
        assert interval is not None
        ends.append((mean, mean - interval.low, interval.high - mean))
    (first, first_down, first_up), (second, second_down, second_up) = ends
    varied = first_Q.std() > 0 and second_Q.std() > 0
    r = float(np.corrcoef(first_Q, second_Q)[0, 1]) if varied else 0.0
    difference = second - first
    down, up = _joined(second_down, first_up, r), _joined(second_up, first_down, r)
    return Interval(max(-1.0, difference - down), min(1.0, difference + up))


def _joined(a: float, b: float, r: float) -> float:
    return float(np.sqrt(max(0.0, a * a + b * b - 2 * r * a * b)))

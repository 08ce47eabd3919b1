"""Gaussian kernel density of values between 0 and 1, such as response probabilities."""

from __future__ import annotations

import numpy as np

__all__ = ["bandwidth", "density", "kernels"]

_AT_ONCE = 4096
_NARROWEST = 0.004


def bandwidth(values: np.ndarray) -> float:
    """Silverman's rule of thumb: 0.9 min(sd, interquartile range / 1.34) n^(-1/5); 0.004 at least.

    Silverman 1986, "Density Estimation for Statistics and Data Analysis", formula 3.31.
    """
    spread = float(min(np.std(values), (np.quantile(values, 0.75) - np.quantile(values, 0.25)) / 1.34))
    return float(max(0.9 * (spread or float(np.std(values))) * len(values) ** -0.2, _NARROWEST))


def kernels(values: np.ndarray, grid: np.ndarray, width: float) -> np.ndarray:
    """A column a value (grid x values): its kernel, mirrored at 0 and 1 so that no mass leaves."""
    total = np.zeros((len(grid), len(values)))
    for centres in (values, -values, 2.0 - values):
        distance = (grid[:, None] - centres[None, :]) / width
        total += np.exp(-0.5 * distance * distance)
    return np.asarray(total / (width * np.sqrt(2 * np.pi)))


def density(values: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """The density at the points of ``grid``; ``values``: one or more."""
    width = bandwidth(values)
    total = np.zeros(len(grid))
    for start in range(0, len(values), _AT_ONCE):
        total += kernels(values[start : start + _AT_ONCE], grid, width).sum(axis=1)
    return total / len(values)

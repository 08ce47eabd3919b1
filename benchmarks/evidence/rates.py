"""Learning rates tuned on pilot seeds: every arm at the same factors, the most accurate one taken."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

__all__ = ["rate_lines", "tuned"]


def tuned(table: pl.DataFrame, tried: Mapping[str, float]) -> dict[str, float]:
    """Arm -> factor of the highest mean accuracy over seeds, the lower of two equal ones.

    ``table``: as of results; ``tried``: budget -> factor. An arm that lacks a cell that others have is left out.
    """
    means = _means(table, tried)
    full = max((each["seeds"] for each in means.values()), default=0)
    found: dict[str, float] = {}
    for arm in dict.fromkeys(arm for arm, _ in means):
        mine = {budget: means.get((arm, budget)) for budget in tried}
        if all(each is not None and each["seeds"] == full for each in mine.values()):
            best = max(mine, key=lambda budget: (means[arm, budget]["accuracy"], -tried[budget]))
            found[arm] = tried[best]
    return found


def rate_lines(table: pl.DataFrame, tried: Mapping[str, float]) -> Iterator[str]:
    """A line an arm: its accuracy at each factor, and the factor taken."""
    means, best = _means(table, tried), tuned(table, tried)
    for arm in dict.fromkeys(arm for arm, _ in means):
        shown = (
            f"{factor:.2g}: {means[arm, budget]['accuracy']:.3f}"
            for budget, factor in tried.items()
            if (arm, budget) in means
        )
        yield f"{arm}: {', '.join(shown)}; " + (f"taken {best[arm]:.2g}" if arm in best else "unfinished")


def _means(table: pl.DataFrame, tried: Mapping[str, float]) -> dict[tuple[str, str], dict[str, float]]:
    rows = table.filter((pl.col("measure") == "accuracy") & pl.col("budget").is_in(list(tried)))
    groups = (
        rows.group_by("arm", "budget")
        .agg(accuracy=pl.col("value").mean(), seeds=pl.len())
        .sort("arm", "budget")
    )
    return {(row["arm"], row["budget"]): row for row in groups.iter_rows(named=True)}

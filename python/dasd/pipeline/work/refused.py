"""Requests that an engine refuses while it serves others: set aside with their reason, counted, and bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

import polars as pl

from dasd.base.frames import only
from dasd.base.schemas import REFUSED
from dasd.errors import BackendError
from dasd.pipeline.work.question_places import named
from dasd.pipeline.work.stage import StageContext
from dasd.pipeline.work.under_way import UnderWay

__all__ = ["Refusals", "allowed"]

HANDFUL = 5
"""Refused requests that are allowed whatever their share is, but at most half of all."""
SHOWN = 3


def allowed(total: int, share: float) -> int:
    """How many of ``total`` requests may be refused: ``share`` of them, or a handful, or of fewer than ten half."""
    return max(int(share * total), min(HANDFUL, total // 2))


class Refusals:
    """What the engine refused of one list of requests, over all starts of the stage.

    Those of a unit are kept as its rows are: in scratch while it is under way, in the frame ``refused`` once it is
    done. When the stage stops for them, those under way are forgotten, so that a mended engine is asked again.
    """

    def __init__(self, context: StageContext, total: int, of: Callable[[], Collection[str]]) -> None:
        """``of``: sample_ids of the whole list, of which there are ``total``; the stage may have several lists."""
        self._context = context
        self._total = total
        self._share = context.recipe.settings.refused_share
        written = context.writer.read("refused").collect()
        self._rows = only(written, of()) if written.height else written
        self._units: dict[str, UnderWay] = {}

    def open(self, key: str) -> frozenset[str]:
        """Begin with a unit that isn't done; sample_ids of it that an earlier start saw refused."""
        unit = self._units[key] = UnderWay(self._context, key, REFUSED)
        rows = unit.resume()
        if rows.height:
            self._rows = pl.concat([self._rows, rows])
        return frozenset(rows.get_column("sample_id"))

    def add(self, key: str, sample_id: str, question_id: str, reason: str) -> None:
        """Set a request of an open unit aside. Raises BackendError where that is one too many."""
        row = pl.DataFrame([(sample_id, question_id, reason)], schema=dict(REFUSED.columns), orient="row")
        self._units[key].hold(row)
        self._rows = pl.concat([self._rows, row])
        if self._rows.height > allowed(self._total, self._share):
            self._stop(f"more than refused_share: {self._share:g} allows")

    def save(self) -> None:
        """Write what is held of the open units. Raises DiskFullError."""
        for unit in self._units.values():
            unit.save()

    def finish(self, key: str, *, given: bool) -> None:
        """Write the unit's refusals with it. ``given``: whether the list has any row so far.

        Raises BackendError where a whole unit was refused and nothing else was given: that is no single row.
        """
        rows = self._units[key].rows
        if rows.height and not given and self._share < 1:
            self._stop("and gave none so far")
        if rows.height:
            self._context.writer.append("refused", rows, key=key)

    def forget(self, key: str) -> None:
        """The unit is done: its files in scratch aren't needed any more."""
        self._units.pop(key).forget()

    def tell(self) -> None:
        """Warn of what was refused, and write the stage's count of it into the summary."""
        if not self._rows.height:
            return
        context = self._context
        stage = context.writer.read("refused").select(pl.len()).collect().item()
        context.writer.summarise({"refused": int(stage)})
        context.console.warn(
            f"{context.name}: the engine refused {self._rows.height} of {self._total} requests, which are set "
            f"aside{self._first()}; all of them: frame `refused` of the stage"
        )

    def _stop(self, why: str) -> None:
        for unit in self._units.values():
            unit.forget()
        raise BackendError(
            f"{self._context.name}: the engine refused {self._rows.height} of {self._total} requests, {why}"
            f"{self._first()}. Mend the cause, leave such questions out, or raise refused_share; what is finished "
            "is kept"
        )

    def _first(self) -> str:
        """The first reasons, each once, with a question that it was given for."""
        rows = list(self._rows.select("question_id", "reason").iter_rows())
        counted = Counter(reason for _, reason in rows)
        questions: dict[str, str] = {}
        for question, reason in rows:
            questions.setdefault(reason, question)
        reasons = list(questions)[:SHOWN]
        names = named(self._context, [questions[reason] for reason in reasons])
        lines = [
            f"\n  {name}{f' and {counted[reason] - 1} more' if counted[reason] > 1 else ''}: {reason}"
            for reason, name in zip(reasons, names, strict=True)
        ]
        return "".join(lines)

"""The suite of a filter: verdicts on responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import polars as pl
from pydantic import JsonValue

from dasd.api import Filter
from dasd.models.tokens.chat import ChatTokenizer
from dasd.plugins.components import Role
from dasd.recipe.curation_settings import FilterSettings
from dasd.recipe.model_settings import ModelSettings
from dasd.testing.rows import responses
from dasd.testing.suite import ComponentSuite

__all__ = ["FilterSuite"]

MAX_LENGTH = 512
ORDINARY = (
    "<think>Begin at 9. So 9 + 3 = 12. That makes 12. </think>12",
    "<think>Let me see. Grüße 😀.</think>7",
    "7",
    "",
    "  \n",
    "<think>never closed " + "and on " * 40,
)


class FilterSuite(ComponentSuite):
    """Set ``name``, and in ``kept`` and ``dropped`` a text or two that it is to keep and to drop."""

    role: ClassVar[Role] = "filter"
    kept: ClassVar[tuple[str, ...]] = ()
    """Texts of responses that the filter keeps."""
    dropped: ClassVar[tuple[str, ...]] = ()
    """Texts of responses that it drops."""
    filters: ClassVar[Mapping[str, JsonValue]] = {}
    """Keys of the section ``filters`` that it is made with."""

    @classmethod
    def make_filter(cls) -> Filter:
        """The filter, through the registry, which checks its verdicts."""
        options = {cls.name: dict(cls.make_options(cls.directory()))}
        settings = FilterSettings.model_validate({"options": options, **cls.filters})
        return cls.registry().make_filter(cls.name, settings, MAX_LENGTH)

    @classmethod
    def responses(cls, *texts: str) -> pl.DataFrame:
        """What a filter sees of responses with these texts."""
        return responses(texts, ChatTokenizer.load(ModelSettings(model="dasd:mini-student")))

    def test_every_response_gets_one_verdict(self) -> None:
        """A row each, in order; whatever it holds, and none for none."""
        rows = self.responses(*ORDINARY, *self.kept, *self.dropped)
        judge = self.make_filter()
        for each in (rows, rows.head(0)):
            assert judge.judge(each).height == each.height, f"wanted {each.height} verdicts"

    def test_what_is_dropped_has_a_reason(self) -> None:
        """A short slug for what is dropped, "" for what is kept."""
        verdicts = self.make_filter().judge(self.responses(*ORDINARY, *self.kept, *self.dropped))
        for kept, reason in verdicts.select("kept", "reason").iter_rows():
            assert (reason == "") is kept, f"kept {kept} with reason {reason!r}"
            assert len(reason) <= 40 and reason == reason.strip(), f"reason {reason!r}: wanted a short slug"

    def test_a_verdict_does_not_depend_on_its_neighbours(self) -> None:
        """Alone, each response gets the verdict that it got among the others; twice the same."""
        rows = self.responses(*ORDINARY, *self.kept, *self.dropped)
        judge = self.make_filter()
        together = judge.judge(rows)
        alone = pl.concat([judge.judge(row) for row in rows.iter_slices(1)])
        assert judge.judge(rows).equals(together), "the same responses were judged otherwise"
        different = rows.filter((alone != together).select(pl.any_horizontal(pl.all())).to_series())["text"]
        assert different.is_empty(), f"alone, {different[0]!r} is judged otherwise than among others"

    def test_what_is_to_be_kept_is_kept_and_the_rest_dropped(self) -> None:
        """The suite's own examples."""
        judge = self.make_filter()
        for text in self.kept:
            verdict = judge.judge(self.responses(text)).row(0, named=True)
            assert verdict["kept"], f"{text!r} is dropped: {verdict['reason']}, {verdict['detail']}"
        for text in self.dropped:
            assert not judge.judge(self.responses(text))["kept"][0], f"{text!r} is kept"

"""Questions by their id from a file, and sets of identities, against dictionaries and sets."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import MonkeyPatch

from dasd.base import drawn_ids, id_numbers, id_set
from dasd.base.frames import messages_by_question
from dasd.base.id_set import IdSet
from dasd.base.schemas import QUESTIONS
from dasd.store import question_lookup
from dasd.store.question_lookup import QuestionLookup


def questions(count: int) -> pl.DataFrame:
    rows = [
        (
            f"q{number}",
            [{"role": "system", "content": "Ä \ud7ff"}, {"role": "user", "content": f"{number} + 1 = ?\n"}],
            ("sums", "words")[number % 2],
            None if number % 3 == 0 else str(number + 1),
            None if number % 5 == 0 else "integer",
            "made",
            "train",
        )
        for number in range(count)
    ]
    return pl.DataFrame(rows, schema=dict(QUESTIONS.columns), orient="row")


@pytest.mark.parametrize("collide", [False, True])
def test_every_question_in_any_order(monkeypatch: MonkeyPatch, collide: bool) -> None:
    if collide:  # all hashes are one
        same = question_lookup._hash("same")
        monkeypatch.setattr(question_lookup, "_hash", lambda _: same)
    monkeypatch.setattr(question_lookup, "_HELD", 7)
    rows = questions(60)
    lookup = QuestionLookup(rows.iter_slices(11))
    wanted = messages_by_question(rows.lazy())
    for question in [*reversed(wanted), *wanted]:
        assert lookup.messages[question] == wanted[question]
    assert dict(lookup.messages) == wanted and len(lookup) == 60
    known = rows.filter(pl.col("answer").is_not_null() & pl.col("verifier").is_not_null())
    answers = {row[0]: row[1:] for row in known.select("question_id", "answer", "verifier").iter_rows()}
    assert dict(lookup.answers) == answers and len(lookup.answers) == len(answers)
    assert dict(lookup.domains) == dict(rows.select("question_id", "domain").iter_rows())
    assert "q0" not in lookup.answers and lookup.answers.get("q0") is None
    with pytest.raises(KeyError):
        lookup.messages["q60"]


@given(st.lists(st.lists(st.text(max_size=3))), st.lists(st.text(max_size=3)))
def test_a_set_of_identities(held: list[list[str]], asked: list[str]) -> None:
    wanted = {name for names in held for name in names}
    found = IdSet(pl.Series(names, dtype=pl.String) for names in held)
    assert len(found) == len(wanted)
    everything = [*asked, *sorted(wanted)]
    mask = found.mask(pl.Series(everything, dtype=pl.String))
    assert mask.to_list() == [name in wanted for name in everything]
    found.keep([pl.Series(asked, dtype=pl.String)])
    assert found.mask(pl.Series(everything, dtype=pl.String)).to_list() == [
        name in wanted and name in asked for name in everything
    ]


@settings(deadline=None)
@given(st.lists(st.text(max_size=3), unique=True), st.integers(-1, 20), st.integers(1, 5))
def test_a_draw_takes_the_lowest(names: list[str], count: int, kinds: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            drawn_ids, "uniform", lambda *parts: len(str(parts[2])) % kinds / kinds
        )  # many are equal
        ids = pl.LazyFrame({"sample_id": names}, schema={"sample_id": pl.String})
        found = drawn_ids.drawn_ids(ids, count, "balance", 0)
    lowest = sorted(names, key=lambda name: (len(name) % kinds, name))[: max(count, 0)]
    assert len(found) == len(lowest)
    assert found.mask(pl.Series(lowest, dtype=pl.String)).all()


def test_identities_that_share_half_of_their_hash(monkeypatch: MonkeyPatch) -> None:
    right = id_set._hashes

    def half(ids: pl.Series) -> tuple[id_set._U64, id_set._U64]:
        first, second = right(ids)
        return first % 3, second

    monkeypatch.setattr(id_set, "_hashes", half)
    names = [f"s{number}" for number in range(50)]
    found = IdSet([pl.Series(names[:25])])
    assert found.mask(pl.Series(names)).to_list() == [True] * 25 + [False] * 25


@given(st.lists(st.text(max_size=3)), st.lists(st.text(max_size=3)))
def test_numbers_of_identities(names: list[str], asked: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_numbers, "_SMALLEST", 2)  # it grows
        known: dict[str, int] = {}
        patch.setattr(id_numbers, "_halves", lambda name: (len(name) % 2, known.setdefault(name, len(known))))
        found = id_numbers.IdNumbers()
        first = list(dict.fromkeys(names))
        for place, name in enumerate(names):
            assert found.add(name) == (first.index(name) if name in names[:place] else None)
        assert len(found) == len(first)
        for name in [*names, *asked]:
            assert found.find(name) == (first.index(name) if name in first else None)

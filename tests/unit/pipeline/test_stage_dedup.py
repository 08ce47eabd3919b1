"""Stage ``dedup``: duplicates within a question."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from dasd.errors import StoreError
from dasd.pipeline.stages.dedup import duplicates
from dasd.pipeline.work.question_groups import (
    ROW_WEIGHT,
    RowStream,
    question_groups,
    question_windows,
    resume_at,
)
from dasd.recipe.curation_settings import DedupSettings


def rows(*pairs: tuple[str, list[int]]) -> pl.DataFrame:
    return pl.DataFrame(
        list(pairs), schema={"question_id": pl.String, "token_ids": pl.List(pl.UInt32)}, orient="row"
    )


LONG = list(range(100, 160))


def test_duplicates_count_within_a_question_only() -> None:
    near = [*LONG[:-1], 7]
    frame = rows(("a", LONG), ("b", LONG), ("a", [1, 2, 3]), ("a", LONG), ("a", near), ("b", [5, 6, 7]))
    assert duplicates(frame, DedupSettings()) == {3: ("exact_duplicate", 0), 4: ("near_duplicate", 0)}
    assert duplicates(frame, DedupSettings(near=False)) == {3: ("exact_duplicate", 0)}
    assert duplicates(frame, DedupSettings(exact=False)) == {
        3: ("near_duplicate", 0),
        4: ("near_duplicate", 0),
    }
    assert duplicates(frame, DedupSettings(exact=False, near=False)) == {}
    assert duplicates(frame.clear(), DedupSettings()) == {}


def test_groups_hold_whole_questions_and_every_row_once() -> None:
    frame = rows(*[(question, [1] * 10) for question in "aaabbccccde"])
    weight = 10 + ROW_WEIGHT

    def bounds(start: int = 0, **settings: int) -> list[tuple[int, int, bool]]:
        found = list(question_groups(frame.lazy(), start, **settings))
        assert frame.slice(start).equals(pl.concat([group.rows for group in found]))
        return [(group.unit.start, group.unit.stop, group.ends_window) for group in found]

    assert bounds() == [(0, 11, True)]
    assert bounds(size=4 * weight) == [(0, 5, False), (5, 9, False), (9, 11, True)]
    assert bounds(5, size=4 * weight) == [(5, 9, False), (9, 11, True)]
    assert bounds(size=1) == [(0, 3, False), (3, 5, False), (5, 9, False), (9, 10, False), (10, 11, True)]
    windows = [(0, 3, False), (3, 5, True), (5, 9, False), (9, 10, True), (10, 11, True)]
    assert bounds(size=1, window=2) == windows
    assert bounds(window=2) == [(0, 5, True), (5, 10, True), (10, 11, True)]
    assert [(unit.start, unit.stop) for unit in question_windows(frame.lazy(), 2)] == [
        (0, 5),
        (5, 10),
        (10, 11),
    ]
    assert list(question_groups(frame.clear().lazy())) == question_windows(frame.clear().lazy()) == []
    assert resume_at([group.unit.key for group in question_groups(frame.lazy(), size=1)][:2]) == 5
    assert resume_at([]) == 0


@pytest.mark.parametrize("part", [1, 2, 5, 11])
def test_groups_don_t_depend_on_the_files_that_rows_lie_in(tmp_path: Path, part: int) -> None:
    frame = rows(*[(question, [1] * 10) for question in "aaabbccccde"])
    for start in range(0, frame.height, part):
        frame.slice(start, part).write_parquet(tmp_path / f"{start:02d}.parquet")
    scanned = pl.scan_parquet(sorted(tmp_path.glob("*.parquet")))
    found = [group.unit.key for group in question_groups(scanned, size=3 * (10 + ROW_WEIGHT), window=3)]
    assert found == [
        "00000000-00000003",
        "00000003-00000009",
        "00000009-00000011",
    ]
    stream = RowStream(scanned, 1)
    assert [stream.take(count).height for count in (0, 4, 6)] == [0, 4, 6]
    with pytest.raises(StoreError, match="1 rows are wanted and 0 are left"):
        stream.take(1)

"""Spans of two tokenizations of one text against a plain search."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dasd.training.spans import Spans

ENDS = st.lists(st.integers(1, 4), min_size=1, max_size=12)


def plain(own: list[int], theirs: list[int], ended: bool) -> list[tuple[list[int], list[int]]]:
    """Numbers of both models' tokens in each span, by walking along the text."""
    body, their_body = own[: len(own) - ended], theirs[: len(theirs) - ended]
    found, start = [], 0
    for end in sorted({*body} & {*their_body}):
        inside = lambda ends, start=start, end=end: [  # noqa: E731
            i for i, each in enumerate(ends) if start < each <= end and (i == 0 or ends[i - 1] < each)
        ]
        found.append((inside(body), inside(their_body)))
        start = end
    return [*found, ([len(own) - 1], [len(theirs) - 1])] if ended else found


@given(ENDS, ENDS, st.booleans(), st.data())
def test_spans_are_those_of_a_walk_along_the_text(
    own_sizes: list[int], their_sizes: list[int], ended: bool, data: st.DataObject
) -> None:
    total = max(sum(own_sizes), sum(their_sizes))
    ends = []
    for sizes in (own_sizes, their_sizes):
        found, at = [], 0
        for size in [*sizes, total]:
            at = min(at + size, total)
            # Some tokens have no width: the headers of a chat format.
            found += [at, at] if data.draw(st.integers(0, 9)) == 0 else [at]
        ends.append(found + ([total] if ended else []))
    own, theirs = ends
    spans = Spans.of(own, theirs, ended=ended)
    values = [[float(i + 1) for i in range(len(each))] for each in (own, theirs)]
    sums, their_sums = spans.sums(*values)
    walked = plain(own, theirs, ended)
    for own_numbers, their_numbers in walked:
        place = spans.own_N[own_numbers[0]]
        assert {int(spans.own_N[i]) for i in own_numbers} == {int(place)}
        assert sums[place] == sum(values[0][i] for i in own_numbers)
        assert their_sums[place] == sum(values[1][i] for i in their_numbers)
        assert [len(own_numbers), len(their_numbers)] == [int(each[place]) for each in spans.sizes]
    told = {i for numbers, _ in walked for i in numbers}
    alone = {i for i in range(len(own)) if i not in told}
    assert all(spans.sizes[1][spans.own_N[i]] == 0 for i in alone), "what has no counterpart is told nothing"

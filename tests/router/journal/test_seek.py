"""A moment is found in a journal with few questions."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from router.journal.seek import WAYS, seek_now


@given(st.lists(st.integers(0, 50), max_size=300).map(sorted), st.integers(-1, 51), st.integers(1, 1000))
def test_the_first_that_was_stored_at_or_after_a_moment_is_found(times: list[int], moment: int, tail: int) -> None:
    head = tail + len(times)

    def stored_at(positions: Sequence[int]) -> list[float | None]:
        return [None if position == head else times[position - tail] for position in positions]

    expected = next((tail + i for i, at in enumerate(times) if at >= moment), head)
    assert seek_now(tail, head, moment, stored_at) == expected


def test_ten_million_events_take_a_handful_of_questions() -> None:
    asked: list[int] = []

    def stored_at(positions: Sequence[int]) -> list[float | None]:
        asked.append(len(positions))
        return [float(position) for position in positions]

    assert seek_now(1, 10_000_001, 7_654_321.0, stored_at) == 7_654_321
    assert len(asked) <= 7
    assert max(asked) <= 2 * WAYS

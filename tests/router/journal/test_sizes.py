"""How much of the journal events take: about, and never far off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.journal.sizes import STEP, Sizes


def test_what_was_there_counts_as_of_even_size_and_what_comes_as_it_is() -> None:
    sizes = Sizes(101, 201, 1000)
    assert (sizes.since(101), sizes.since(151), sizes.since(201), sizes.last(500)) == (1000, 500, 0, 152)
    sizes.add(301, 100_000_000)
    sizes.add(302, 5)
    assert (sizes.since(302), sizes.since(1), sizes.since(999)) == (0, 100_001_005, 0)
    assert 100_000_000 <= sizes.since(201) <= 100_000_005


def test_nothing_is_nowhere() -> None:
    sizes = Sizes(1, 1, 0)
    assert (sizes.since(1), sizes.last(10), sizes.up_to(7)) == (0, 1, 0)


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, STEP)), min_size=1, max_size=60), st.data())
def test_it_is_off_by_two_samples_at_most(batches: list[tuple[int, int]], data: st.DataObject) -> None:
    sizes = Sizes(1, 1, 0)
    edges = [(1, 0)]
    for count, size in batches:
        edges.append((edges[-1][0] + count, edges[-1][1] + size))
        sizes.add(edges[-1][0], size)
    head, total = edges[-1]
    position, before = data.draw(st.sampled_from(edges))
    assert abs(sizes.since(position) - (total - before)) <= 2 * STEP
    limit = data.draw(st.integers(0, 2 * total))
    floor = sizes.last(limit)
    assert 1 <= floor <= head
    assert sizes.since(floor) <= limit
    sizes.forget(position)
    assert abs(sizes.since(position) - (total - before)) <= 2 * STEP

"""The window's mark and counters, as tables and against a model."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from router.journal import NOTHING, Change, Ending, Progress, Span
from router.routed import Chunk
from router.testing import make_event
from router.window import Window


def progress(position: int = 1) -> Progress:
    return Progress(position=position, since=1, pattern="p", filtered=position - 1)


def told(change: Change | None) -> tuple[list[Span], list[Ending]]:
    assert change
    return list(change.spans), list(change.endings)


def test_the_mark_waits_for_the_oldest_chunk() -> None:
    window = Window(progress())
    first, second = window.take(11, range(1, 11)), window.take(21, range(11, 16))
    window.settle(second, 1000.0, delivered=range(11, 16))
    assert window.advance(1000.0) is None
    assert window.progress.position == 1
    window.settle(first, 1000.1, delivered=range(1, 11))
    assert window.advance(1000.1) == NOTHING
    assert (window.progress.position, window.progress.delivered, window.progress.filtered) == (21, 15, 5)


def test_counting_changes_nothing_but_the_counters() -> None:
    """Where it ends, its state and its pattern stay what they are."""
    window = Window(Progress(position=1, since=1, pattern="p", state="paused", until=9, carried=0, left_out=0))
    slot = window.take(11, range(1, 11))
    window.settle(slot, 1000.0, delivered=range(1, 11))
    window.advance(1000.0)
    wanted = Progress(position=11, since=1, pattern="p", state="paused", until=9, delivered=10)
    assert window.progress == wanted


def test_what_was_delivered_before_the_mark_keeps_its_own_time() -> None:
    """Though the mark passes both at once."""
    window = Window(progress())
    first, second, third = (window.take(end, range(end - 10, end)) for end in (11, 21, 31))
    window.settle(second, 1000.0, delivered=range(11, 21))
    window.settle(third, 1000.5, delivered=range(21, 31))
    window.settle(first, 1060.0, delivered=range(1, 11))
    spans = [Span(1, 11, 1060.0, 1060.0), Span(11, 21, 1000.0, 1000.0), Span(21, 31, 1000.5, 1000.5)]
    assert told(window.advance(1060.0)) == (spans, [])


def test_how_an_event_ended_that_came_late_is_told_when_the_mark_passes_it() -> None:
    """And its chunk's span is that of the others."""
    window = Window(progress())
    slot = window.take(11, range(1, 11))
    ending = Ending(position=3, at=1060.0, tries=2, reason="busy")
    window.settle(slot, 1000.0, delivered=[1, 2, *range(4, 11)])
    window.settle(slot, 1060.0, delivered=[3], late=[ending])
    assert told(window.advance(1060.0)) == ([Span(1, 11, 1000.0, 1000.0)], [ending])


def test_a_chunk_that_is_wanted_by_nobody_moves_the_mark_at_once() -> None:
    window = Window(progress())
    window.take(101, ())
    assert window.advance(1000.0) == NOTHING
    assert (window.progress.position, window.progress.filtered) == (101, 100)


def test_nothing_is_skipped_while_something_is_out() -> None:
    window = Window(progress())
    window.take(11, [4])
    window.skip(100)
    assert window.advance(1000.0) is None
    assert window.progress.position == 1


def chunk(end: int, positions: Sequence[int]) -> Chunk:
    return Chunk(end, positions, [make_event(number=f"{position}") for position in positions])


def above(window: Window) -> list[tuple[int, int]]:
    return [(span.first, span.end) for span in window.progress.above]


def test_what_is_settled_above_the_mark_is_counted_when_it_is_asked_for() -> None:
    """One event that waits keeps nothing else from being known as delivered; and it is counted once."""
    window = Window(progress())
    slot = window.take(101, range(1, 101))
    window.settle(slot, 1000.0, delivered=[p for p in range(1, 101) if p not in (1, 40)])
    assert window.advance(1000.0) is None
    assert window.advance(1000.0, whole=True) == NOTHING
    assert (window.progress.position, window.progress.delivered, above(window)) == (1, 98, [(2, 40), (41, 101)])
    assert window.progress.pending(101) == 2
    assert window.advance(1000.0, whole=True) is None
    window.settle(slot, 1000.0, delivered=[1])
    window.advance(1000.0, whole=True)
    assert (window.progress.delivered, above(window)) == (99, [(1, 40), (41, 101)])
    window.settle(slot, 1000.0, delivered=[40])
    window.advance(1000.0)
    assert (window.progress.position, window.progress.delivered, above(window)) == (101, 100, [])


def test_chunks_that_are_settled_behind_one_that_waits_take_one_stretch() -> None:
    """However many there are; those of another second keep their own time."""
    window = Window(progress())
    first = window.take(11, range(1, 11))
    for number in range(1, 1000):
        slot = window.take(number * 10 + 11, range(number * 10 + 1, number * 10 + 11))
        window.settle(slot, 1000.0 + number / 100, delivered=range(number * 10 + 1, number * 10 + 11))
        window.advance(1000.0, whole=number % 7 == 0)
    window.advance(1010.0, whole=True)
    assert window.progress.delivered == 9990
    assert len(window.progress.above) < 20
    assert window.progress.pending(10001) == 10
    window.settle(first, 1060.0, delivered=range(1, 11))
    spans, _ = told(window.advance(1060.0))
    assert (spans[0].first, spans[-1].end, window.progress.position) == (1, 10001, 10001)
    assert all(before.end == after.first for before, after in itertools.pairwise(spans))
    assert all(span.ended - span.begun <= 1 for span in spans)


def test_what_was_settled_above_the_mark_is_not_handed_out_in_the_next_life() -> None:
    """And its times are kept."""
    stretches = (Span(3, 6, 500.0, 501.0), Span(8, 15, 502.0, 503.0))
    before = Progress(position=1, since=1, pattern="p", delivered=9, filtered=1, above=stretches)
    window = Window(before)
    taken: list[int] = []
    for end, positions in ((10, [1, 3, 4, 6, 8, 9]), (20, [10, 11, 16, 18])):
        for part in window.unsettled(chunk(end, positions)):
            taken += part.positions
            window.settle(window.take(part.end, part.positions), 900.0, delivered=part.positions)
    assert taken == [1, 6, 16, 18]
    spans, _ = told(window.advance(900.0))
    now = window.progress
    assert (now.position, now.delivered, now.filtered, now.above) == (20, 13, 6, ())
    assert [(span.first, span.end, span.begun) for span in spans] == [
        (1, 3, 900.0),
        (3, 6, 500.0),
        (6, 8, 900.0),
        (8, 10, 502.0),
        (10, 15, 502.0),
        (15, 20, 900.0),
    ]


def test_a_new_pattern_begins_behind_what_is_settled_and_carries_what_is_not() -> None:
    """P4: the books balance before, between and after; what was filtered of those carried is told."""
    before = Progress(
        position=1, since=1, pattern="p", delivered=5, filtered=4, parked=1, above=(Span(3, 13, 5.0, 5.0),)
    )
    now = before.recount("q", 0)
    assert (now.since, now.carried, now.covered - now.counted, now.pending(20)) == (13, 3, 0, 9)
    window = Window(now)
    for part in window.unsettled(chunk(20, [2, 5, 14])):
        window.settle(window.take(part.end, part.positions), 9.0, delivered=part.positions)
    window.advance(9.0)
    now = window.progress
    assert (now.position, now.delivered, now.filtered, now.left_out, now.parked) == (20, 2, 7, 1, 1)
    assert now.covered == now.counted


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20),
    st.randoms(use_true_random=False),
    st.integers(1, 5),
)
def test_the_counters_add_up_at_every_step(chunks: list[tuple[int, int]], random: random.Random, every: int) -> None:
    """P4: whatever the order in which chunks are settled, and however little at a time; and in a next life, too."""
    window = Window(progress())
    todo = []
    end = 1
    for wanted, unwanted in chunks:
        positions = range(end, end + wanted)
        end += wanted + unwanted
        slot = window.take(end, positions)
        todo += [(slot, position) for position in positions]
    random.shuffle(todo)
    settled: set[int] = set()
    for number, (slot, position) in enumerate(todo):
        delivered, filtered = ([position], []) if position % 3 else ([], [position])
        window.settle(slot, 1000.0 + number, delivered=delivered, filtered=filtered)
        settled.add(position)
        window.advance(1000.0 + number, whole=number % every == 0)
        now = window.progress
        assert now.covered == now.counted
        if number % every == 0:
            assert {p for _, p in todo if now.settled(p)} == settled
            assert now.pending(end) == len(todo) - len(settled)
    window.advance(9000.0)
    assert (window.progress.position, window.progress.above) == (end, ())
    assert window.progress.covered == window.progress.counted

"""The window's mark and counters, as tables and against a model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.journal import NOTHING, Change, Ending, Progress, Span
from router.window import Window


def progress(position: int = 1) -> Progress:
    return Progress(position=position, since=1, pattern="p", filtered=position - 1)


def told(change: Change | None) -> tuple[list[Span], list[Ending]]:
    assert change
    return list(change.spans), list(change.endings)


def test_the_mark_waits_for_the_oldest_chunk() -> None:
    window = Window(progress())
    first, second = window.take(11, 10), window.take(21, 5)
    window.settle(second, 1000.0, delivered=5)
    assert window.advance(1000.0) is None
    assert window.progress.position == 1
    window.settle(first, 1000.1, delivered=10)
    assert window.advance(1000.1) == NOTHING
    assert (window.progress.position, window.progress.delivered, window.progress.filtered) == (21, 15, 5)


def test_what_was_delivered_before_the_mark_keeps_its_own_time() -> None:
    """Though the mark passes both at once."""
    window = Window(progress())
    first, second, third = window.take(11, 10), window.take(21, 5), window.take(31, 5)
    window.settle(second, 1000.0, delivered=5)
    window.settle(third, 1000.5, delivered=5)
    window.settle(first, 1060.0, delivered=10)
    spans = [Span(1, 11, 1060.0, 1060.0), Span(11, 21, 1000.0, 1000.0), Span(21, 31, 1000.5, 1000.5)]
    assert told(window.advance(1060.0)) == (spans, [])


def test_how_an_event_ended_that_came_late_is_told_when_the_mark_passes_it() -> None:
    """And its chunk's span is that of the others."""
    window = Window(progress())
    slot = window.take(11, 10)
    ending = Ending(position=3, at=1060.0, tries=2, reason="busy")
    window.settle(slot, 1000.0, delivered=9)
    window.settle(slot, 1060.0, delivered=1, late=[ending])
    assert told(window.advance(1060.0)) == ([Span(1, 11, 1000.0, 1000.0)], [ending])


def test_a_chunk_that_is_wanted_by_nobody_moves_the_mark_at_once() -> None:
    window = Window(progress())
    window.take(101, 0)
    assert window.advance(1000.0) == NOTHING
    assert (window.progress.position, window.progress.filtered) == (101, 100)


def test_nothing_is_skipped_while_something_is_out() -> None:
    window = Window(progress())
    window.take(11, 1)
    window.skip(100)
    assert window.advance(1000.0) is None
    assert window.progress.position == 1


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20), st.randoms(use_true_random=False))
def test_the_counters_add_up_to_the_mark_at_every_step(chunks: list[tuple[int, int]], random: object) -> None:
    """P4: whatever the order in which chunks are settled, and however little at a time."""
    window = Window(progress())
    todo = []
    end = 1
    for wanted, unwanted in chunks:
        end += wanted + unwanted
        slot = window.take(end, wanted)
        todo += [(slot, "delivered" if i % 3 else "filtered") for i in range(wanted)]
    random.shuffle(todo)  # type: ignore[attr-defined]
    for slot, kind in todo:
        window.settle(slot, 1000.0, delivered=int(kind == "delivered"), filtered=int(kind == "filtered"))
        window.advance(1000.0)
        now = window.progress
        assert now.position - now.since == now.delivered + now.filtered + now.dead
    window.advance(1000.0)
    assert window.progress.position == end

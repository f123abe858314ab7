"""What `verify` says of books that do not add up, where no daemon is needed to cook them."""

from __future__ import annotations

from router.journal import Progress
from router.journal.replay import Replay
from router.verify import Count

PROGRESS = Progress(position=11, since=1, pattern="p", filtered=10)


def replay(filtered: int) -> Replay:
    return Replay(number=3, first=1, end=9, position=5, per_second=1.0, begun=0.0, filtered=filtered)


def test_a_replay_whose_counters_do_not_add_up_is_named() -> None:
    assert not Count("p", (), PROGRESS, replays=[replay(4)]).balance("d/s", 11, 1).problem
    assert "replay 3" in Count("p", (), PROGRESS, replays=[replay(4), replay(5)]).balance("d/s", 11, 1).problem


def test_what_was_left_out_by_later_steps_is_no_longer_wanted() -> None:
    carried = Progress(position=11, since=1, pattern="p", filtered=11, carried=1, left_out=1)
    assert not Count("p", (), carried).balance("d/s", 11, 1).problem
    cooked = Progress(position=11, since=1, pattern="p", filtered=11, carried=1)
    assert Count("p", (), cooked).balance("d/s", 11, 1).problem

"""What every journal must hold of replays: a part of its conformance suite."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from router.errors import Retry
from router.journal import Change, DeadLetter, Parked, Partition, Progress
from router.journal.conformance import batch, event, settled, until_appended
from router.journal.conformance_samples import TROUBLE
from router.journal.replay import Replay

MARK = Progress(position=9, since=1, pattern="p", delivered=6, parked=1, dead=1)
RUNNING = Replay(number=3, first=1, end=9, position=1, per_second=10.0, begun=5.0, match={"region": ["a", "b"]})


def trouble(position: int) -> dict[str, Any]:
    """Return what parked events and dead letters have in common."""
    kept: dict[str, Any] = {"reason": "no", "status": 400, "attempts": 3, "first_try": 1.0, "last_try": 2.0}
    return {"position": position, "event": event(b"%d" % position), **kept}


class ReplaySuite:
    """The clauses about replays; `router.journal.conformance` has the others."""

    def opened(self, state: Path, *, small: bool = False) -> AbstractAsyncContextManager[Partition]:
        """Open the journal to test; a `small` one is full after at most 2 MB of events."""
        raise NotImplementedError

    async def test_replays_are_where_they_were_committed_last(self, tmp_path: Path) -> None:
        """And forgotten one by one, or with their subscription."""
        async with self.opened(tmp_path) as partition:
            assert partition.replays("d/s") == []
            other = replace(RUNNING, number=4, match=None, state="stopped", ended=7.0, note="why")
            partition.commit("d/s", MARK, Change(replays=[RUNNING]))
            partition.commit("d/s", MARK, Change(replays=[other, replace(RUNNING, position=5, delivered=4)]))
            partition.commit("d/t", MARK, Change(replays=[replace(RUNNING, number=5)]))
            assert partition.replays("d/s") == [replace(RUNNING, position=5, delivered=4), other]
            await partition.flush()
            partition.commit("d/s", MARK, Change(forgotten=[3]))
            assert partition.replays("d/s") == [other]
            partition.forget("d/s")
            assert partition.replays("d/s") == []
            assert [one.number for one in partition.replays("d/t")] == [5]

    async def test_what_a_range_holds_of_parked_events_and_dead_letters_is_known(self, tmp_path: Path) -> None:
        """Also what was committed just now."""
        parked = [Parked(due=1.0, times=0, **trouble(position)) for position in (2, 3, 7)]
        dead = [DeadLetter(kind="refused", **trouble(position)) for position in (1, 4, 6)]
        async with self.opened(tmp_path) as partition:
            partition.commit("d/s", MARK, Change(parked=parked, dead=dead))
            partition.commit("d/t", MARK, Change(parked=parked, dead=dead))
            held = await partition.held("d/s", 3, 6)
            assert held.parked == {3: event(b"3").id}
            assert held.dead == {4: event(b"4").id}
            partition.commit("d/s", MARK, Change(unparked=[3], undead=[4]))
            held = await partition.held("d/s", 3, 6)
            assert not held.parked
            assert not held.dead

    async def test_a_subscription_takes_everything_to_another_name(self, tmp_path: Path) -> None:
        """P4: its progress, what is parked and dead, its replays and its sink's positions."""
        async with self.opened(tmp_path) as partition:
            partition.commit("d/s", MARK, TROUBLE)
            await partition.flush()
            partition.commit("d/s", MARK)
            partition.rename("d/s", "d/t")
            assert partition.progress("d/s") is None
            assert partition.progress("d/t") == MARK
            await partition.flush()
            assert list(partition.names) == ["d/t"]
            assert not await partition.parked("d/s", 10)
            assert [one.position for one in await partition.parked("d/t", 10)] == [p.position for p in TROUBLE.parked]
            assert len(await partition.dead_letters("d/t", 0, 10)) == len(TROUBLE.dead)
            assert partition.marks("d/t") == TROUBLE.marks

    async def test_a_replay_does_not_keep_a_journal_full(self, tmp_path: Path) -> None:
        """What is new comes before what is past."""
        async with self.opened(tmp_path, small=True) as partition:
            partition.activate(["d/s"])
            number = 0
            with pytest.raises(Retry):
                while True:
                    await partition.append(batch(number))
                    number += 1
                    partition.commit("d/s", settled(1), Change(replays=[RUNNING]))
            for more in range(number, number + 20):
                partition.commit("d/s", settled(partition.head))
                await until_appended(partition, batch(more))
            assert partition.tail > 1


class DurableReplaySuite(ReplaySuite):
    """What a journal that outlives its process holds beside."""

    async def test_replays_come_back_after_a_restart(self, tmp_path: Path) -> None:
        """With the progress that they were committed with."""
        async with self.opened(tmp_path) as partition:
            partition.commit("d/s", MARK, Change(replays=[RUNNING]))
            await partition.flush()
            moved = replace(RUNNING, position=4, delivered=2, gone=1)
            partition.commit("d/s", replace(MARK, delivered=8, carried=2), Change(replays=[moved]))
        async with self.opened(tmp_path) as partition:
            assert partition.replays("d/s") == [moved]
            assert partition.progress("d/s") == replace(MARK, delivered=8, carried=2)

"""What every journal must hold of its space: a part of its conformance suite."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest

from router.errors import Retry
from router.journal import FIRST, Partition
from router.journal.conformance_samples import batch, event, settled, until_appended


class SpaceSuite:
    """The clauses about space; `router.journal.conformance` has the others."""

    def opened(self, state: Path, *, small: bool = False) -> AbstractAsyncContextManager[Partition]:
        """Open the journal to test; a `small` one is full after at most 2 MB of events."""
        raise NotImplementedError

    async def test_it_is_known_who_holds_how_much_of_it(self, tmp_path: Path) -> None:
        """P4: most first; and where the last so many bytes begin, so that somebody's backlog can be bounded."""
        async with self.opened(tmp_path) as partition:
            for i in range(20):
                await partition.append([event(b"x" * 1000, name=f"{i}")])
            partition.commit("d/ahead", settled(partition.head - 2))
            partition.commit("d/done", settled(partition.head))
            partition.commit("d/behind", settled(FIRST))
            partition.activate(["d/ahead", "d/done", "d/behind"])
            behind, ahead = partition.holders()
            assert (behind.name, behind.position, ahead.name) == ("d/behind", FIRST, "d/ahead")
            assert 20_000 <= behind.bytes < 40_000
            assert 1_000 <= ahead.bytes <= behind.bytes / 5
            assert partition.last(10 * behind.bytes) == FIRST
            assert FIRST < partition.last(behind.bytes // 2) < partition.head

    async def test_a_full_journal_refuses_and_recovers(self, tmp_path: Path) -> None:
        """P4: `Retry` while all of it is needed; when it is settled, intake goes on and nothing is lost."""
        async with self.opened(tmp_path, small=True) as partition:
            partition.commit("d/s", settled(FIRST))
            partition.activate(["d/s"])
            stored = 0
            with pytest.raises(Retry) as refusal:
                for i in range(1000):
                    await partition.append(batch(i))
                    stored += 10
            assert refusal.value.after
            assert partition.statistics().full
            assert partition.head == FIRST + stored
            assert partition.tail == FIRST
            partition.commit("d/s", settled(partition.head))
            with anyio.fail_after(20):
                await until_appended(partition, batch(5000))
            assert partition.head == FIRST + stored + 10

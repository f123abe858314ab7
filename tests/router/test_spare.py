"""Spare time: work that can wait gets what is left over, and a small share where nothing is."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from router.spare import LONGEST, SHARE, SpareTime

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure by trio's clock, so that a loop is idle unless a test makes it wait."""
    monkeypatch.setattr(time, "monotonic", trio.current_time)


def intake() -> Callable[[], int]:
    """Count what came in, ever more with each look."""
    return partial(next, count())


async def worked(turns: SpareTime, piece: float, seconds: float) -> float:
    """Return the share of the time that work gets whose pieces take so long."""
    done = 0.0
    start = anyio.current_time()
    while anyio.current_time() - start < seconds:
        await turns.wait()
        await anyio.sleep(piece)
        turns.spent(piece)
        done += piece
    return done / (anyio.current_time() - start)


async def test_work_that_can_wait_has_all_the_time_while_there_is_nothing_else_to_do() -> None:
    assert await worked(SpareTime(lambda: 0), 0.01, 100) > 0.99


async def test_while_something_comes_in_it_gets_a_small_share_but_never_nothing() -> None:
    share = await worked(SpareTime(intake()), 0.001, 100)
    assert 0.8 / (SHARE + 1) < share <= 1 / (SHARE + 1)


async def test_it_is_told_whether_others_wait_so_that_it_does_less_at_once() -> None:
    assert await SpareTime(lambda: 0).wait()
    busy = SpareTime(intake())
    busy.spent(1)
    assert not await busy.wait()


async def test_a_long_piece_of_work_is_not_held_against_it_for_long() -> None:
    turns = SpareTime(intake())
    turns.spent(3600)
    start = anyio.current_time()
    await turns.wait()
    assert anyio.current_time() - start <= LONGEST + 0.01


async def test_it_gets_the_gaps_that_intake_leaves() -> None:
    """Something comes in during every other second: half of the time is its own, and a share of the rest."""
    numbers = count()
    turns = SpareTime(lambda: next(numbers) if int(anyio.current_time()) % 2 else 0)
    assert 0.45 < await worked(turns, 0.001, 100) < 0.6


async def test_a_loop_that_others_keep_busy_is_not_taken_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing comes in, but stepping aside takes long: others had something to do."""
    late = count()
    monkeypatch.setattr(time, "monotonic", lambda: trio.current_time() + next(late) * 0.001)
    turns = SpareTime(lambda: 0)
    turns.spent(0.01)
    assert not await turns.wait()
    assert trio.current_time() > 0.03

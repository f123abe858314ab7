"""P6. The cost of an event does not grow with the number of subscriptions that do not want it."""

from __future__ import annotations

import sys
import time
from types import FrameType

import pytest

from router.dispatch import Dispatch, Feed
from router.event import Event, Message
from router.journal import FIRST, Segment
from router.match import Route, Routes, parse
from router_plugins.directmail.decoder import DirectMail

DECODER = DirectMail()


def events(count: int) -> list[Event]:
    text = (
        "env_id={0}&msg_id={0}&account=a@x.cn&from=a@x.cn&rcpt=r{0}@y.cn&recv_time=2026-03-01 09:00:00"
        "&end_time=2026-03-01 09:00:01&status={1}&event=deliver&region=cn-hangzhou&err_code=250&err_msg=ok"
    )
    return [DECODER.decode(Message(text.format(i, 0 if i % 3 else 4).encode(), 0.0), "s") for i in range(count)]


def routes(total: int) -> Routes:
    """Ten routes want failures; the others want other regions, other accounts, or one recipient that never comes."""
    wanting = [Route(("*@x.cn",), parse({"type": "Deliver:SendFailed"}, DECODER))] * 10
    patterns = [{"region": "r{}"}, {"rcpt": "nobody{}@y.cn"}, {"type": "Deliver:SendFailed", "err_code": "{}"}]
    others = [
        Route(
            ("*",) if i % 4 else (f"*@other{i}.cn",),
            parse({k: v.format(i) for k, v in patterns[i % 3].items()}, DECODER),
        )
        for i in range(total - 10)
    ]
    return Routes([*wanting, *others], DECODER)


def calls(total: int) -> int:
    """Count the Python and C calls that dispatching 500 events takes, once the memo is warm."""
    table = routes(total)

    async def read(position: int, limit: int) -> Segment:
        raise AssertionError

    dispatch = Dispatch(table.wanted, [Feed(FIRST) for _ in range(total)], FIRST, read)
    batch = events(500)
    dispatch(Segment(FIRST, batch[:100]))
    count = 0

    def note(_frame: FrameType, what: str, _argument: object) -> None:
        nonlocal count
        count += what in {"call", "c_call"}

    sys.setprofile(note)
    try:
        dispatch(Segment(FIRST + 100, batch))
    finally:
        sys.setprofile(None)
    return count


def test_an_event_costs_as_many_calls_with_1000_routes_as_with_20() -> None:
    few, many = calls(20), calls(1000)
    assert few > 500, "nothing was counted"
    assert many <= few * 1.1


@pytest.mark.parametrize("total", [20, 1000])
def test_exactly_the_ten_that_want_it_get_it(total: int) -> None:
    table = routes(total)
    assert [table.wanted(e) for e in events(3)] == [tuple(range(10)), (), ()]


def test_a_thousand_routes_are_not_tried_one_by_one() -> None:
    """As a time, too, side by side: far from the fifty times that trying each would take."""
    batch = events(2000)

    def seconds(total: int) -> float:
        table = routes(total)
        for event in batch[:50]:
            table.wanted(event)
        best = 1e9
        for _ in range(5):
            start = time.perf_counter()
            for event in batch:
                table.wanted(event)
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(1000) < 5 * seconds(20)

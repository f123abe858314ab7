"""The fakes that plugin authors test with."""

from __future__ import annotations

import json

import pytest
from trio.testing import MockClock

from router import Partial, Retry
from router.testing import Recorder, make_event, make_events


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


@pytest.mark.anyio
async def test_a_recorder_fails_as_told_and_then_works() -> None:
    first, second = make_events(2)
    deliver = Recorder([OSError("down"), Partial({0: Retry("no")}), None])
    with pytest.raises(OSError, match="down"):
        await deliver([first])
    with pytest.raises(Partial):
        await deliver([first, second])
    await deliver([first])
    await deliver([first])
    assert deliver.tried == [[first], [first, second], [first], [first]]
    assert deliver.delivered == [second, first, first]


def test_events_made_for_tests_are_alike_when_their_fields_are() -> None:
    assert make_event(region="x") == make_event(region="x")
    assert make_event(region="x").id != make_event(region="y").id
    assert len({event.id for event in make_events(100)}) == 100


def test_an_event_made_for_a_test_has_its_fields_flat() -> None:
    event = make_event(id="1", region="x")
    assert event.get("region") == json.loads(event.json())["region"] == "x"
    assert json.loads(make_event().json())["account"] == "sender@example.com"

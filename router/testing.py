"""Fakes and conformance suites for plugin authors.

A suite is a class of pytest tests that each plugin of a kind must pass, because the engine relies on it. Subclass it
in a test module, mark the class with `pytest.mark.anyio`, and give the fixture that its tests ask for:

    @pytest.mark.anyio
    class TestPrinter(SinkSuite):
        @pytest.fixture
        def destination(self, tmp_path):
            return PrinterOnPaper(tmp_path)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import anyio
import anyio.lowlevel
import msgspec

from router.errors import Partial, Reject, Retry
from router.event import Batch, Event, Message
from router.plugin import Deliver, Sink

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PATIENCE = 20.0
"""Seconds in which a destination that is back must be found again, and what was closed must be gone."""


class SampleFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Fields of an event made for a test: an account, and whatever else the test names."""

    account: str
    extra: Mapping[str, str] = {}


def make_event(
    *,
    id: str = "",  # noqa: A002 - the event's own word
    type: str = "Sample",  # noqa: A002 - as above
    time: datetime = NOON,
    account: str = "sender@example.com",
    raw: bytes | None = None,
    **fields: str,
) -> Event:
    """Make an event with these fields. Without an `id`, different fields give different ids."""
    values = SampleFields(account=account, extra=fields)
    body = msgspec.json.encode(values) if raw is None else raw
    return Event(
        id=id or hashlib.sha256(body).hexdigest()[:32],
        type=type,
        time=time,
        source="sample",
        fields=values,
        message=Message(body, NOON.timestamp()),
    )


def make_events(count: int, start: int = 0) -> list[Event]:
    """Make events that differ in the field `number`, which counts from `start`."""
    return [make_event(number=str(number)) for number in range(start, start + count)]


class Recorder:
    """A `Deliver` that remembers what it is given, and fails as told.

    `Recorder([OSError(), None])` raises at its first call and works from then on; so does `Partial`, for the events
    that it names.
    """

    def __init__(self, outcomes: Iterable[Exception | None] = ()) -> None:
        self.tried: list[Batch] = []
        """Every batch that it was called with."""
        self.delivered: list[Event] = []
        """The events that it took."""
        self._outcomes = iter(outcomes)

    async def __call__(self, batch: Batch) -> None:
        """Record the batch; raise the next of the outcomes."""
        self.tried.append(batch)
        await anyio.lowlevel.checkpoint()
        error = next(self._outcomes, None)
        if isinstance(error, Partial):
            self.delivered += [event for index, event in enumerate(batch) if index not in error.errors]
        elif error is None:
            self.delivered += batch
        if error is not None:
            raise error


class Destination(Protocol):
    """A sink and the place that it delivers to, as a suite needs them."""

    sink: Sink

    async def arrived(self) -> Sequence[str]:
        """Return the ids of the events that are there, in order, without waiting for any."""
        ...

    async def take_down(self) -> None:
        """Make the destination fail."""
        ...

    async def bring_back(self) -> None:
        """Make it work again."""
        ...


class SinkSuite:
    """What the engine relies on in every sink. The fixture `destination` gives a `Destination` that is up and empty."""

    async def test_what_deliver_returned_for_is_there_in_order(self, destination: Destination) -> None:
        """Returning is the ack: at that moment, and not only after closing, the events are at the destination."""
        destination.sink.check()
        events = make_events(20)
        async with destination.sink.open() as deliver:
            await _deliver_all(deliver, destination.sink, events)
            arrived = list(await destination.arrived())
        assert arrived == [event.id for event in events], arrived

    async def test_a_destination_that_fails_is_worth_another_try(self, destination: Destination) -> None:
        """A destination that is down is `Retry`, never a dead letter, and what was retried is there when it is back.

        One that refuses everything may say so: a `Reject` that holds the subscription.
        """
        events = make_events(min(destination.sink.batch, 4))
        async with destination.sink.open() as deliver:
            await _deliver_all(deliver, destination.sink, make_events(1, start=100))
            await destination.take_down()
            await _expect_retry(deliver, events)
            await destination.bring_back()
            await _deliver_until_it_works(deliver, events)
            arrived = set(await destination.arrived())
        assert {event.id for event in events} <= arrived, arrived

    async def test_it_opens_while_the_destination_is_down(self, destination: Destination) -> None:
        """A destination that is down when the router starts does not keep the router from starting."""
        events = make_events(1)
        await destination.take_down()
        async with destination.sink.open() as deliver:
            await _expect_retry(deliver, events)
            await destination.bring_back()
            await _deliver_until_it_works(deliver, events)
            arrived = await destination.arrived()
        assert events[0].id in arrived, arrived

    async def test_what_was_cancelled_can_be_delivered_again(self, destination: Destination) -> None:
        """A delivery cut off at any moment does no harm to the next one."""
        sink = destination.sink
        events = make_events(min(sink.batch, 200))
        async with sink.open() as deliver:
            for seconds in (0, 0.0003, 0.001, 0.003):
                with anyio.move_on_after(seconds):
                    await deliver(events)
            await _deliver_until_it_works(deliver, events)
            arrived = list(await destination.arrived())
        assert {event.id for event in events} == set(arrived), arrived
        assert arrived[-len(events) :] == [event.id for event in events] or len(arrived) == len(events), arrived

    async def test_events_are_left_as_they_are(self, destination: Destination) -> None:
        """A batch and its events belong to all subscriptions; one that `reads_only` is trusted with that."""
        sink = destination.sink
        events, before = make_events(min(sink.batch, 4)), make_events(min(sink.batch, 4))
        async with sink.open() as deliver:
            await _deliver_until_it_works(deliver, events)
        assert [msgspec.structs.replace(event, encoded=None) for event in events] == before

    async def test_closing_leaves_nothing_open(self, destination: Destination) -> None:
        """After the block no file or connection of the sink is left, also when it ends by an error."""
        before = _descriptors()
        async with destination.sink.open() as deliver:
            await _deliver_all(deliver, destination.sink, make_events(3))
        await _break_off(destination.sink)
        with anyio.fail_after(PATIENCE):
            while _descriptors() > before:  # noqa: ASYNC110 - the loop closes sockets in its own time
                await anyio.sleep(0.01)


async def _deliver_all(deliver: Deliver, sink: Sink, events: Batch) -> None:
    """Deliver in batches as the engine would."""
    for start in range(0, len(events), sink.batch):
        await deliver(events[start : start + sink.batch])


async def _break_off(sink: Sink) -> None:
    """Use the sink, and leave its block by an error, which comes out as it is or in a group."""
    try:
        async with sink.open() as deliver:
            await _deliver_all(deliver, sink, make_events(3))
            await _fail()
    except* KeyError:
        pass


async def _fail() -> None:
    raise KeyError


async def _expect_retry(deliver: Deliver, events: Batch) -> None:
    error = await _failure(deliver, events)
    assert _is_for_now(error), f"{error!r}"


async def _deliver_until_it_works(deliver: Deliver, events: Batch) -> None:
    with anyio.fail_after(PATIENCE):
        while error := await _failure(deliver, events):
            assert _is_for_now(error), f"{error!r}"
            await anyio.sleep(0.02)


def _is_for_now(error: Exception | None) -> bool:
    """Whether no dead letter follows."""
    return isinstance(error, Retry) or (isinstance(error, Reject) and error.hold is True)


async def _failure(deliver: Deliver, events: Batch) -> Exception | None:
    """Return what a delivery raised; a `Partial` of which nothing is a dead letter counts as `Retry`."""
    try:
        await deliver(events)
    except Partial as error:
        rejected = [each for each in error.errors.values() if not _is_for_now(each)]
        return rejected[0] if rejected else Retry(error.args[0])
    except Exception as error:  # noqa: BLE001 - the suite judges it
        return error
    return None


def _descriptors() -> int:
    """Count what the process has open."""
    return len(list(Path("/dev/fd").iterdir()))

"""What the suites for journals work with: events, progress and troubles, and how to make them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import anyio
import msgspec

from router.errors import Retry
from router.event import Event, Message
from router.journal import (
    FIRST,
    Change,
    DeadLetter,
    Parked,
    Partition,
    Progress,
    Span,
)


class Note(msgspec.Struct, frozen=True):
    """Fields of the suite's events."""

    text: str


def event(body: bytes, *, name: str = "", **attributes: str) -> Event:
    """Make an event whose id depends on `name`, or else on the body alone."""
    digest = hashlib.blake2b(name.encode() or body, digest_size=16).hexdigest()
    return Event(
        id=digest,
        type="note",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        source="suite",
        fields=Note(str(body)),
        message=Message(body, 1.5, attributes),
    )


def restore(message: Message, source: str, name: str) -> Event:
    """Make the event of a stored message again."""
    body = bytes(message.body)
    return Event(
        id=name,
        type="note",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        source=source,
        fields=Note(str(body)),
        message=message,
    )


def settled(position: int, since: int = FIRST) -> Progress:
    """Return the progress of a subscription that wanted nothing up to the position."""
    return Progress(position=position, since=since, pattern="p", filtered=position - since)


def trouble(position: int, body: bytes) -> dict[str, Any]:
    """Return what is known of an event that failed."""
    return {
        "position": position,
        "event": event(body),
        "reason": "no",
        "status": 400,
        "attempts": 3,
        "first_try": 1.0,
        "last_try": 2.0,
    }


ABOVE = (Span(5, 7, 1.5, 2.5), Span(9, 10, 3.5, 3.5))
MARK = Progress(position=3, since=1, pattern="p", delivered=3, parked=1, dead=1, state="paused", above=ABOVE)
TROUBLE = Change(
    dead=[DeadLetter(kind="refused", **trouble(1, b"a"))],
    parked=[Parked(due=9.0, times=4, **trouble(2, b"b"))],
    marks={"file": 7},
)


async def check_troubles(partition: Partition) -> None:
    """Look whether `MARK` and `TROUBLE` are there, as they were committed for `d/s`."""
    assert partition.progress("d/s") == MARK
    assert partition.marks("d/s") == {"file": 7}
    assert partition.statistics().dead == {"d/s": 1}
    (letter,), (parked,) = await partition.dead_letters("d/s", 0, 10), await partition.parked("d/s", 10)
    assert (letter.kind, parked.due, parked.times) == ("refused", 9.0, 4)
    for found, body in ((letter, b"a"), (parked, b"b")):
        assert (found.event.id, bytes(found.event.raw)) == (event(body).id, body)
        assert (found.reason, found.status, found.attempts, found.first_try, found.last_try) == ("no", 400, 3, 1.0, 2.0)


def batch(number: int) -> Sequence[Event]:
    """Make ten events of 2 kB each."""
    return [event(b"x" * 2000, name=f"{number}.{i}") for i in range(10)]


async def until_appended(partition: Partition, events: Sequence[Event]) -> None:
    """Append the events as soon as there is room."""
    while True:
        try:
            await partition.append(events)
        except Retry:
            await anyio.sleep(0.05)
        else:
            return

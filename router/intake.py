"""Intake: messages in, decoded events into the journal; the first station of an event's way.

What no decoder understands becomes an event of type `Undecodable`, so that it is kept, counted and routed
like any other; nothing that was accepted is dropped here but duplicates, by the journal.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from router.event import UNDECODABLE, Event, Message, UndecodableFields
from router.plugin import Decoder
from router.proof import FAILURES, failure, proven

_LONGEST_TEXT = 4096
"""Characters of an undecodable body that its event shows; the bytes are kept whole."""


class Intake:
    """Decodes what the sources hand in, and appends it."""

    def __init__(self, decoder: Decoder, append: Callable[[Sequence[Event]], Coroutine[Any, Any, None]]) -> None:
        self._decoder = decoder
        self._append = append
        self.received: Counter[str] = Counter()
        """Messages stored, or dropped as duplicates, by source."""
        self.undecodable: Counter[str] = Counter()
        """Those of them that the decoder did not understand, by source."""

    async def emit(self, source: str, messages: Sequence[Message]) -> None:
        """Return when the messages are safe; raises `Retry` when they could not be stored."""
        await self.store(source, *decoded(self._decoder, source, messages))

    async def store(self, source: str, events: Sequence[Event], unknown: int) -> None:
        """Do the same with events, of which so many are `Undecodable`."""
        await self._append(events)
        self.received[source] += len(events)
        self.undecodable[source] += unknown


def decoded(decoder: Decoder, source: str, messages: Sequence[Message]) -> tuple[Sequence[Event], int]:
    """Return the events of the messages, and how many of them the decoder did not understand, or failed at."""
    unknown = 0
    events: list[Event] = []
    decode, doubtful = decoder.decode, not decoder.vouches
    for message in messages:
        try:
            event = decode(message, source)
            if doubtful:
                event = proven(decoder, event, message, source)
        except FAILURES as error:
            event = undecodable(message, source, failure(decoder, error).reason)
            unknown += 1
        events.append(event)
    return events, unknown


def event_of(decoder: Decoder, message: Message, source: str, name: str = "") -> Event:
    """Decode a message again; `name` is the id that it was journalled under, so that a better decoder keeps it."""
    if not name:
        return decoded(decoder, source, [message])[0][0]
    try:
        event = decoder.restore(message, source, name)
        return event if decoder.vouches else proven(decoder, event, message, source, name)
    except FAILURES as error:
        return undecodable(message, source, failure(decoder, error).reason, name)


def undecodable(message: Message, source: str, reason: str, name: str = "") -> Event:
    """Return the event of a message that no decoder understood; `name` is its id, if it has one already."""
    body = bytes(message.body)
    if not name:
        origin = message.attributes.get("message_id", "").encode("utf-8", "surrogatepass")
        name = hashlib.blake2b(body, digest_size=16, key=hashlib.blake2b(origin, digest_size=32).digest()).hexdigest()
    return Event(
        id=name,
        type=UNDECODABLE,
        time=datetime.fromtimestamp(message.received, UTC),
        source=source,
        message=message,
        fields=UndecodableFields(reason, body.decode("utf-8", "replace")[:_LONGEST_TEXT]),
    )

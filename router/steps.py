"""The steps of a subscription: an event through all of them, in order.

The JSON that is remembered with an event belongs to that event alone. A step that makes another one with
`msgspec.structs.replace` takes it along unawares; what it was to hide must not go out by that.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import force_setattr

from router.errors import Reject
from router.event import Event
from router.plugin import Step


def apply(steps: Sequence[Step], event: Event) -> Event | Reject | None:
    """Return the event in its last form; None if a step left it out, `Reject` if one failed on it."""
    for step in steps:
        try:
            changed = step.apply(event)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything
            return Reject(f"step {type(step).__name__}: {type(error).__name__}: {error}")
        if changed is None:
            return None
        if changed is not event and changed.encoded is not None and changed.encoded is event.encoded:
            force_setattr(changed, "encoded", None)
        event = changed
    return event

"""The steps of a subscription: an event through all of them, in order."""

from __future__ import annotations

from collections.abc import Sequence

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
        event = changed
    return event

"""The steps of a subscription: an event through all of them, in order.

The JSON that is remembered with an event belongs to that event alone. A step that makes another one with
`msgspec.structs.replace` takes it along unawares; what it was to hide must not go out by that.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import cast

import msgspec
from msgspec.structs import force_setattr

from router.errors import Reject, RouterError, told
from router.event import Event, Message
from router.plugin import Step, is_id


def apply(steps: Sequence[Step], event: Event) -> Event | Reject | None:
    """Return the event in its last form; None if a step left it out, `Reject` if one failed on it.

    The cause of a `Reject` is what the step raised, if it raised anything.
    """
    if steps:
        event.freeze()
    for step in steps:
        try:
            changed = step.apply(event)
            if changed is event:
                continue
            if changed is None:
                return None
            _check(changed, event, renames=step.renames)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a plugin may raise anything, also what ends a process
            reject = Reject(f"step {type(step).__name__}: {told(error)}")
            reject.__cause__ = None if isinstance(error, _Wrong) else error
            return reject
        event = changed
    return event


class _Wrong(RouterError):
    """A step returned what it must not."""


def renamed(steps: Sequence[Step], name: str) -> str:
    """Return the id under which an event leaves that has the id `name` in the journal; what a step raises comes out."""
    for step in steps:
        name = step.renamed(name) if step.renames else name
    return name


def _check(changed: object, event: Event, *, renames: bool) -> None:
    """Refuse what is no event, is another one, or cannot be written."""
    if isinstance(changed, Coroutine):
        changed.close()
        raise _Wrong("it returned a coroutine: `apply` must not be async")
    if not isinstance(changed, Event):
        raise _Wrong(f"it returned {type(changed).__name__}, no Event and not None")
    if changed.id != event.id and not (renames and is_id(changed.id)):
        raise _Wrong(f"it returned an event with another id, {changed.id!r}"[:200])
    fields, message = cast("tuple[object, object]", (changed.fields, changed.message))  # `replace` checks no types
    if not (isinstance(fields, msgspec.Struct) and isinstance(message, Message)):
        raise _Wrong("it returned an event whose fields are no struct, or that has no message")
    if changed.encoded is not None and changed.encoded is event.encoded:
        force_setattr(changed, "encoded", None)
    try:
        changed.json()
    except Exception as error:
        raise _Wrong(f"it returned an event that cannot be written: {told(error)}") from error

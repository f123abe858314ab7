"""What can go wrong, in the words that the engine and its plugins share.

Returning is the ack, raising is the nack: a sink (and the journal) says with `Retry`, `Reject` or
`Partial` what did not work; everything else that it raises counts as `Retry`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import anyio


class RouterError(Exception):
    """An error of ours, meant to be shown to a user as one line."""


class Retry(RouterError):
    """Say that it did not work now and is worth another try.

    `reason` is for people; `after` is the number of seconds that the other side asked to wait (one that is no number of
    seconds counts as none), `status` what it answered, if it did: calls that fail are counted by it. `detail` is for
    our own log alone: it may name what strangers need not know.
    """

    def __init__(self, reason: str, after: float | None = None, status: int | None = None, *, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = str(reason)
        self.after = after if isinstance(after, int | float) and 0 <= after < math.inf else None
        self.status = status if isinstance(status, int) else None
        self.detail = detail


class Reject(RouterError):
    """Say that it will never work: the event becomes a dead letter with this `reason`.

    `status` is what the destination answered; without one the sink itself knows that it is the event's fault. What a
    destination answers may be about everything: when it refuses many in a row, they are kept until it takes another.
    With `hold` the refusal is as a rule about everything (no access, no such queue): the subscription is held until
    the destination takes an event again, and only what it refuses once more after that is a dead letter; a few that are
    refused so just after others were taken, with nothing behind them, are at fault themselves, unless it is `always`
    about everything (no credentials). False says that it is the event's fault, however many are refused.
    """

    def __init__(
        self, reason: str, status: int | None = None, *, hold: bool | None = None, always: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = str(reason)
        self.status = status if isinstance(status, int) else None
        self.hold = hold
        self.always = always

    @property
    def sure(self) -> bool:
        """Whether it is the event's own fault for sure."""
        return self.hold is False or (self.hold is None and self.status is None)


class Partial(RouterError):
    """Say that a batch worked but for some: `errors` maps the index in the batch to what went wrong.

    `marks` are the sink's own positions that the others changed, if it keeps any (`Sink.resume`).
    """

    def __init__(self, errors: Mapping[int, Retry | Reject], marks: Mapping[str, int] | None = None) -> None:
        super().__init__(f"{len(errors)} of the batch failed")
        self.errors = errors
        self.marks: Mapping[str, int] = marks or {}

    def fault(self, size: int) -> str:
        """Say what makes it meaningless for a batch of so many; empty if nothing does."""
        errors: Any = self.errors  # whatever a plugin put there
        if not isinstance(errors, Mapping):
            return f"it has {type(errors).__name__}, no mapping of indices to errors"
        said = cast("Mapping[object, object]", errors)
        if not said:
            return "it names no event"
        for index, error in said.items():
            if type(index) is not int or not 0 <= index < size:
                return f"it names {index!r} of a batch of {size}"[:200]
            if not isinstance(error, Retry | Reject):
                return f"it has {type(error).__name__}, not Retry or Reject, for {index}"
        return ""


class Undecodable(RouterError):
    """Say that a message is in no known form; the engine keeps it as an event of type `Undecodable`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def leaves(error: BaseException) -> Sequence[BaseException]:
    """Return the errors of a group of groups; of any other, itself."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [leaf for inner in group.exceptions for leaf in leaves(inner)]
    return [error]


def is_cancellation(error: BaseException) -> bool:
    """Say whether an error is the end of what was cancelled: not a library's own, which nobody asked for."""
    return not isinstance(error, Exception | SystemExit) and anyio.current_effective_deadline() == -math.inf


def told(error: BaseException) -> str:
    """Say what went wrong, in one line: of a group, each different error once; ours without their type."""
    return "; ".join(dict.fromkeys(map(_told, leaves(error))))


def _told(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as another:  # noqa: BLE001 - a plugin's own error may fail to say what it is
        text = f"(its text fails with {type(another).__name__})"
    if isinstance(error, RouterError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class ConfigError(RouterError):
    """A mistake in the config: `place` is the key's path (`sources.push.listen`), `hint` the likely fix."""

    def __init__(self, place: str, problem: str, hint: str = "") -> None:
        super().__init__(f"{place}: {problem}" + (f" ({hint})" if hint else ""))
        self.place = place
        self.problem = problem
        self.hint = hint

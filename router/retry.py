"""What a failed try means, and when the next one is: pure, so that a day's schedule is a table in a test.

First quick tries with full jitter; then the event is parked, durably, on a schedule that grows over three days;
then it is a dead letter. A wait that the destination asked for is never cut short, up to a cap.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec

from router.errors import Partial, Reject, Retry

SCHEDULE = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Seconds until each try of a parked event after the one before: Standard Webhooks' recommended schedule."""
GONE = 410
"""The HTTP status that says: never again (RFC 9110 section 15.5.11)."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a subscription delivers. Times in seconds.

    `in_flight` calls at once and `batch` events in a call, at most; `rate` events a second, 0 for no limit.
    `ordered`: events are delivered in order, those with equal values of the field `key` if one is named; what
    fails waits instead of being parked; `single`: so is everything else, such as dead letters that are replayed.
    `tries`: quick tries, between pauses of up to `retry_max`, before an event is parked on the `schedule`.
    `retry_after_max` is the longest wait that is obeyed when the destination asks for one. Events may be pending for
    `pending_age` and take `pending_bytes` of the journal (0: any), before the oldest are given up on.
    """

    in_flight: int = 1
    batch: int = 500
    rate: float = 0.0
    ordered: bool = False
    single: bool = False
    key: str = ""
    tries: int = 3
    retry_min: float = 1.0
    retry_max: float = 60.0
    retry_after_max: float = 3600.0
    schedule: Sequence[float] = SCHEDULE
    pending_age: float = math.inf
    pending_bytes: int = 0


class Outcome(msgspec.Struct, frozen=True):
    """What one try left of a batch: indices to try again, with the wait that was asked for, and those refused."""

    again: Sequence[int] = ()
    refused: Sequence[tuple[int, Reject]] = ()
    after: float | None = None
    reason: str = ""
    status: int | None = None
    whole: bool = False
    """Whether the batch failed as a whole, so that the destination is at fault rather than an event."""
    singly: bool = False
    """Whether the whole batch was refused, so that each event must be tried alone to find the culprit."""
    gone: bool = False
    """Whether the destination wants nothing more at all."""

    @property
    def hold(self) -> bool:
        """Whether it was refused as a rule refuses everything."""
        return any(error.hold for _, error in self.refused)

    def took(self, size: int) -> int:
        """Return how many events of a batch of `size` were delivered."""
        return 0 if self.singly else size - len(self.again) - len(self.refused)

    @property
    def answer(self) -> str:
        """What the destination answered, to count failed calls by."""
        if self.status is not None:
            return str(self.status)
        return "no answer" if self.again and not self.singly else "refused"


def judge(error: Exception | None, size: int, longest: float = math.inf) -> Outcome:  # noqa: PLR0911 - a table
    """Say what a try's error means for a batch of `size` events; no wait is obeyed for more than `longest` seconds."""
    match error:
        case None:
            return Outcome()
        case Partial():
            return _judge_partial(error, longest)
        case Reject() if error.status == GONE:
            return Outcome(range(size), reason=error.reason, status=GONE, whole=True, gone=True)
        case Reject() if error.hold:
            refused = [(index, error) for index in range(size)]
            return Outcome(refused=refused, reason=error.reason, status=error.status)
        case Reject() if size > 1:
            return Outcome(range(size), reason=error.reason, status=error.status, singly=True)
        case Reject():
            return Outcome(refused=[(0, error)], reason=error.reason, status=error.status)
        case Retry():
            after = _obeyed(error.after, longest)
            return Outcome(range(size), after=after, reason=error.reason, status=error.status, whole=True)
        case _:
            return Outcome(range(size), reason=f"{type(error).__name__}: {error}", whole=True)


def _judge_partial(error: Partial, longest: float) -> Outcome:
    """Say what is left of a batch that failed in part; gone for one of its events is gone for all."""
    errors = sorted(error.errors.items())
    refused = [(i, e) for i, e in errors if isinstance(e, Reject) and e.status != GONE]
    again = {i: e for i, e in errors if isinstance(e, Retry) or e.status == GONE}
    asked = [_obeyed(e.after, longest) for e in again.values() if isinstance(e, Retry)]
    first = next((e for e in (*again.values(), *(e for _, e in refused))), None)
    reason, status = (first.reason, first.status) if first else ("", None)
    gone = any(isinstance(e, Reject) for e in again.values())
    longest_asked = max((wait for wait in asked if wait is not None), default=None)
    return Outcome(list(again), refused, longest_asked, reason, status, gone=gone)


def _obeyed(after: float | None, longest: float) -> float | None:
    """Return the wait that is obeyed of what was asked for, which may be any number, or none."""
    return None if after is None else max(0.0, min(longest, after))


def pause(policy: Policy, tries: int, after: float | None) -> float:
    """Return the seconds before quick try `tries` + 1: exponential with full jitter, at least what was asked for."""
    ceiling = min(policy.retry_max, policy.retry_min * 2 ** min(tries - 1, 32))
    return max(random.uniform(0, ceiling), after or 0.0)  # noqa: S311 - jitter, no secret


def longest(policy: Policy, times: int) -> float:
    """Return the most seconds that an event waits that was parked `times` before."""
    scheduled = policy.schedule[min(times, len(policy.schedule) - 1)] if policy.schedule else 0.0
    return max(scheduled * 1.1, policy.retry_after_max)


def parking(policy: Policy, parked: int, after: float | None) -> float | None:
    """Return the seconds until the next try of an event that was parked `parked` times; None if none is left.

    A tenth of jitter keeps what failed together from coming back together.
    """
    if parked >= len(policy.schedule):
        return None
    return max(policy.schedule[parked] * random.uniform(1.0, 1.1), after or 0.0)  # noqa: S311 - jitter, no secret

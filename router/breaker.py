"""What holds calls back: breaker, adaptive concurrency and rate; pure, with the time passed in.

The breaker opens on failures in a row of different batches, or when too many of the last ones failed: one event
that never works must not stop the others. While it is open nothing is tried, so nothing is used up or parked; then
one probe goes through, and its result closes the breaker or opens it for longer.

Concurrency grows by one call per round of successes and halves on a failure or when calls get much slower
(additive increase, multiplicative decrease, as in TCP).
"""

from __future__ import annotations

from collections import deque
from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["closed", "open", "half-open"]


class BreakerPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When it opens, and for how many seconds: `open_min` at first, doubling up to `open_max`."""

    failures: int = 5
    rate: float = 0.5
    window: int = 50
    open_min: float = 5.0
    open_max: float = 60.0


class Breaker:
    """Says when a call may be made. Times are of one monotonic clock."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._recent: deque[bool] = deque(maxlen=policy.window)
        self._asked: deque[float] = deque(maxlen=policy.failures)
        self._row: set[int] = set()
        self._length = 0
        self._pause = policy.open_min
        self._until = 0.0
        self.since = 0.0
        """When it opened, if it is not closed."""
        self.state: State = "closed"

    def __repr__(self) -> str:
        return f"<Breaker {self.state} failures={self._length} until={self._until}>"

    @property
    def row(self) -> int:
        """How many different batches failed in a row."""
        return len(self._row)

    def wait(self, now: float) -> float | None:
        """Return 0 if a call may be made now, the seconds to wait, or None to wait for the probe under way."""
        if self.state == "half-open":
            return None
        return 0.0 if self.state == "closed" else max(0.0, self._until - now)

    def enter(self) -> None:
        """Note that a call is made; if it is not closed, as its probe."""
        if self.state == "open":
            self.state = "half-open"

    def succeeded(self) -> None:
        """Note a call that worked."""
        self._recent.append(True)
        self._row.clear()
        self._length = 0
        if self.state != "closed":
            self.reset()

    def failed(self, batch: int, now: float, *, after: float | None = None) -> None:
        """Note a call that failed; `batch` tells batches apart, `after` is the wait that the destination asked for.

        It waits as long as each of the last ones asked for: one event that is told to wait says little of the others.
        """
        self._recent.append(False)
        self._asked.append(after or 0.0)
        self._row.add(batch)
        self._length += 1
        if self.state == "half-open":
            self._pause = min(self._pause * 2, self._policy.open_max)
            self._open(now, min(self._asked))
        elif self.state == "closed" and (self._in_a_row() or self._too_many()):
            self._open(now, min(self._asked))

    def hold(self, now: float, *, ask: bool = False) -> None:
        """Open, since the destination refuses everything, it seems; with `ask`, a probe may follow at once."""
        if ask:
            if self.state == "closed":
                self._pause = self._policy.open_min / 2  # doubles when the probe says the same
            self._open(now, 0.0)
            self._until = now
        elif self.state == "half-open":
            self._pause = min(self._pause * 2, self._policy.open_max)
            self._open(now, 0.0)
        elif self.state == "closed" or self._until <= now:
            self._open(now, 0.0)

    def reset(self) -> None:
        """Close it, and begin anew."""
        self.state = "closed"
        self._pause = self._policy.open_min
        self._recent.clear()
        self._asked.clear()
        self._row.clear()
        self._length = 0

    def _open(self, now: float, after: float) -> None:
        if self.state == "closed":
            self.since = now
        self.state = "open"
        self._until = now + max(self._pause, after)

    def _in_a_row(self) -> bool:
        return self._length >= self._policy.failures and len(self._row) > 1

    def _too_many(self) -> bool:
        full = len(self._recent) == self._policy.window
        return full and len(self._row) > 1 and self._recent.count(False) >= self._policy.rate * self._policy.window


class Concurrency:
    """How many calls may be under way: between 1 and `cap`."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._level = float(cap)
        self._fastest = float("inf")
        self._lowered = float("-inf")

    @property
    def limit(self) -> int:
        """Calls that may be under way now."""
        return int(self._level)

    def succeeded(self, seconds: float, now: float) -> None:
        """Note a call that worked and how long it took."""
        self._fastest = min(self._fastest * 1.001, seconds)
        if seconds > 10 * self._fastest + 0.5:
            self._lower(0.9, now, seconds)
        else:
            self._level = min(self._level + 1 / self._level, float(self._cap))

    def failed(self, seconds: float, now: float) -> None:
        """Note a call that failed."""
        self._lower(0.5, now, seconds)

    def _lower(self, factor: float, now: float, seconds: float) -> None:
        """Lower it once for all calls that were under way together."""
        if now - seconds >= self._lowered:
            self._level = max(1.0, self._level * factor)
            self._lowered = now


class Rate:
    """A bucket of tokens: `rate` events a second, and no more than a second's worth at once; 0 is no limit."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._next = 0.0

    def wait(self, count: int, now: float) -> float:
        """Take `count` tokens; return the seconds to wait before using them."""
        if not self._rate:
            return 0.0
        start = max(self._next, now - 1.0)
        self._next = start + count / self._rate
        return self.debt(now)

    def debt(self, now: float) -> float:
        """Return the seconds until tokens are left over."""
        return max(0.0, self._next - now)

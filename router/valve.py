"""The valve before a destination: how many calls may be under way, and what those that ended say of it. Synchronous.

Times are of one monotonic clock, in seconds.
"""

from __future__ import annotations

from router.agenda import Work
from router.breaker import Breaker, BreakerPolicy, Concurrency, Rate
from router.latency import Latency
from router.retry import Outcome, Policy


class Valve:
    """Breaker, concurrency and rate of one destination, and the figures of its calls since the start."""

    def __init__(self, policy: Policy, breaker: BreakerPolicy) -> None:
        self.breaker = Breaker(breaker)
        self.concurrency = Concurrency(policy.in_flight)
        self.latency = Latency()
        self.attempts = 0
        self.failures = 0
        self.in_flight = 0
        """Events that are with the destination."""
        self._rate = Rate(policy.rate)
        self._calls = 0

    @property
    def full(self) -> bool:
        """Whether no further call may be under way."""
        return self._calls >= self.concurrency.limit

    @property
    def probing(self) -> bool:
        """Whether the next call is to find out if the destination is back."""
        return self.breaker.state == "half-open"

    def reset(self) -> None:
        """Note that no call is under way."""
        self._calls = self.in_flight = 0

    def enter(self, now: float) -> float | None:
        """Return 0 if a call may be made now, the seconds to wait, or None to wait for the probe under way."""
        return self.breaker.enter(now)

    def take(self, events: int, now: float) -> float:
        """Note that a call with so many events is to be made; return the seconds that it must wait for the rate."""
        self._calls += 1
        return self._rate.wait(events, now)

    def leave(self) -> None:
        """Note that a call is over, or was not made."""
        self._calls -= 1

    def debt(self, now: float) -> float:
        """Return the seconds until the rate has something left over."""
        return self._rate.debt(now)

    def begin(self, events: int) -> None:
        """Note that a call with so many events begins."""
        self.attempts += 1
        self.in_flight += events

    def end(self, work: Work, outcome: Outcome, seconds: float, now: float) -> None:
        """Note how a call went that took so many seconds."""
        self.in_flight -= len(work.events)
        self.latency.observe(seconds)
        failed = outcome.again and not outcome.singly
        if failed and (outcome.whole or len(outcome.again) == len(work.events)):
            self.breaker.failed(work.positions[0], now, after=outcome.after)
            self.concurrency.failed(seconds, now)
        else:
            self.breaker.succeeded()
            self.concurrency.succeeded(seconds, now)
        self.failures += bool(failed)

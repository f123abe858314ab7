"""The valve before a destination: how many calls may be under way, and what those that ended say of it. Synchronous.

Times are of one monotonic clock, in seconds.
"""

from __future__ import annotations

from collections import Counter

from router.breaker import Breaker, BreakerPolicy, Concurrency, Rate
from router.latency import Latency
from router.retry import Outcome, Policy
from router.work import Work


class Valve:
    """Breaker, concurrency and rate of one destination, and the figures of its calls since the start."""

    def __init__(self, policy: Policy, breaker: BreakerPolicy) -> None:
        self.breaker = Breaker(breaker)
        self.concurrency = Concurrency(policy.in_flight)
        self.latency = Latency()
        self.attempts = 0
        self.failures: Counter[str] = Counter()
        """Calls that failed, by what was answered."""
        self.in_flight = 0
        """Events that are with the destination."""
        self.worked = float("-inf")
        """When the last call began that worked, at least for some of its events."""
        self.took = float("-inf")
        """When the last one of these ended."""
        self._rate = Rate(policy.rate)
        self._calls = 0

    @property
    def full(self) -> bool:
        """Whether no further call may be under way."""
        return self._calls >= self.concurrency.limit

    @property
    def idle(self) -> bool:
        """Whether no call is under way."""
        return not self._calls

    @property
    def alone(self) -> bool:
        """Whether no more than one call is under way."""
        return self._calls <= 1

    def reset(self) -> None:
        """Note that no call is under way."""
        self._calls = self.in_flight = 0

    def suspects(self, work: Work) -> bool:
        """Say whether a batch failed although the destination works: others got through since.

        What was parked failed so, too. Such a batch says nothing of the destination when it fails again.
        """
        return bool(work.troubles) or (work.failed is not None and self.worked >= work.failed)

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

    def works(self, events: int, started: float, now: float, *, late: bool) -> None:
        """Note a call that delivered all of its events; `late` if it began before others were refused."""
        seconds = now - started
        self.in_flight -= events
        self.latency.observe(seconds)
        self.worked, self.took = max(self.worked, started), now
        self.concurrency.succeeded(seconds, now)
        if not late:  # else its success says little
            self.breaker.succeeded()

    def end(self, work: Work, outcome: Outcome, started: float, now: float, *, late: bool = False) -> None:
        """Note how a call went; `late` if it began before others were refused, so that its success says little."""
        seconds = now - started
        self.in_flight -= len(work.events)
        self.latency.observe(seconds)
        if outcome.again or outcome.refused:
            self.failures[outcome.answer] += 1
        if outcome.took(len(work.events)):
            self.worked, self.took = max(self.worked, started), now
            self.concurrency.succeeded(seconds, now)
            if not late:
                self.breaker.succeeded()
        elif outcome.again and not outcome.singly and (not self.suspects(work) or self.breaker.state == "half-open"):
            self.breaker.failed(work.positions[0], now, after=outcome.after)
            if outcome.after is not None or self.breaker.row > 1:  # one event that fails is no sign of haste
                self.concurrency.failed(seconds, now)

"""Push backoff: a subscription that keeps failing is pushed to less and less, and recovers fast (PROTOCOL 2.6).

Documented are the ends: the interval grows from 0 over 500 ms to 60 s, the messages of one push round fall from 32
to 1, all is as before within 100 s once the endpoint answers, and messages get fewer retries meanwhile. What lies
between is this emulator's choice: a level for each round that failed as a whole, each with half as many pushes as
the one before and twice its interval; a success halves the level.
"""

from __future__ import annotations

from random import Random

from router_plugins.emulator.topic import Strategy, redelivery_wait

LARGEST_ROUND = 32
FIRST_INTERVAL = 0.5
LONGEST_INTERVAL = 60.0

_HIGHEST_LEVEL = 8
"""The first whose interval would be above the longest."""


class Backoff:
    """The level of one subscription. Times are of one monotonic clock, in seconds; `fast` divides the intervals.

    `level` 0 is no backoff. A push is told its `epoch` when it starts, and counts only within it: those that were
    under way when the level changed tell nothing new.
    """

    def __init__(self, fast: float = 1) -> None:
        self.level = 0
        self.epoch = 0
        self._fast = fast
        self._failures = 0
        self._started = 0
        self._opens = 0.0

    def interval(self) -> float:
        """Return the seconds from one round to the next."""
        if not self.level:
            return 0.0
        return min(LONGEST_INTERVAL, FIRST_INTERVAL * 2.0 ** (self.level - 1)) / self._fast

    def round_size(self) -> int:
        """Return how many pushes a round has at most."""
        return max(1, LARGEST_ROUND >> self.level)

    def wait(self, now: float) -> float:
        """Return in how many seconds a push may start; 0 for at once."""
        return max(0.0, self._opens - now)

    def start(self, now: float) -> int:
        """Note that a push starts; return its epoch."""
        self._started += 1
        if self.level and self._started >= self.round_size():
            self._close(now)
        return self.epoch

    def settle(self, epoch: int, now: float, *, answered: bool) -> None:
        """Note how a push of this epoch ended."""
        if epoch != self.epoch:
            return
        if answered:
            self._failures = 0
            if self.level:
                self._change(self.level // 2, now)
            return
        self._failures += 1
        if self._failures >= self.round_size():
            self._change(min(self.level + 1, _HIGHEST_LEVEL), now)

    def _change(self, level: int, now: float) -> None:
        self.level = level
        self.epoch += 1
        self._failures = 0
        self._close(now)

    def _close(self, now: float) -> None:
        """Let the next round begin after the interval."""
        self._started = 0
        self._opens = now + self.interval()


def overtaken(strategy: Strategy, attempt: int, late: float, random: Random) -> int:
    """Return the attempt that a push which is `late` by so many seconds has come to.

    The retries that would have been made meanwhile are lost: in backoff there are fewer than the strategy has. The
    last one is always made.
    """
    while True:
        wait = redelivery_wait(strategy, attempt, random)
        if wait is None or wait > late:
            return attempt
        attempt += 1
        late -= wait

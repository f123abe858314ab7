"""Housekeeping: when the journal deletes what nobody needs any more, and how much of it with one commit. Pure."""

from __future__ import annotations

import msgspec

from router.journal.batches import Sweep
from router.journal.ledger import Ledger

REST = 1.0
PRESSED = 0.2
HURRY = 0.02
"""Seconds between two looks: at rest, while there is too much, and while a look found more than it deleted."""
SWEPT = 2**20
"""Bytes that are deleted with one commit at most, so that it does not take long."""
PRESSURE = 0.8
"""Above this share of the quota, settled events go before their retention is over, at the latest."""


class Limits(msgspec.Struct, frozen=True):
    """How much is kept: `quota` bytes; settled events for `retention` seconds, and ids for `duplicates` seconds.

    Settled events go before their time while all takes more than `retention_size` bytes (0: a share of the quota).
    """

    quota: int
    retention: float
    retention_size: int
    duplicates: float

    @property
    def comfortable(self) -> int:
        """The bytes above which settled events go."""
        share = int(self.quota * PRESSURE)
        return min(self.retention_size, share) if self.retention_size else share


class Housekeeping:
    """Says what to delete. `more` is whether the last sweep left something that might go, too."""

    def __init__(self, limits: Limits) -> None:
        self.more = False
        self._limits = limits
        self._swept = 0.0
        self._tidied = 0.0
        self._turn = 0

    def plan(self, now: float, used: int, ledger: Ledger) -> tuple[Sweep | None, str]:
        """Return what may be deleted, once in a while, and now and then whose deliveries to tidy, one after the other.

        `now` is in Unix seconds; a clock that is set back only makes it look at once. `used` are the journal's bytes.
        """
        excess = max(used - self._limits.comfortable, 0)
        wait = HURRY if self.more else PRESSED if excess else REST
        if 0 <= now - self._swept < wait:
            return None, ""
        self._swept = now
        limits = self._limits
        settled = ledger.settled if excess else int(min(ledger.settled, ledger.replayed))
        sweep = Sweep(settled, now - limits.retention, excess, now - limits.duplicates, SWEPT)
        return sweep, self._next(now, ledger)

    def _next(self, now: float, ledger: Ledger) -> str:
        names = ledger.names
        if not names or 0 <= now - self._tidied < REST:
            return ""
        self._tidied = now
        self._turn += 1
        return names[self._turn % len(names)]

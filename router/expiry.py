"""Expiry: a subscription's oldest pending events are given up on when they wait longer, or hold more, than they may.

So an operator bounds what one destination's outage takes from the journal, which is everybody's. What expires is a dead
letter; of these the newest are kept, and all are counted. It takes a whole batch when its newest event may wait no
longer, unless that is with the destination; what is parked ends by its schedule. A clock that jumps forward makes
nothing expire.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import anyio
import structlog

from router.agenda import Agenda
from router.bell import Bell
from router.books import Books
from router.journal import DeadLetter
from router.retry import Policy
from router.settlement import expired
from router.tally import Tally
from router.work import Work

LOOK = 1.0
"""Seconds between two looks at what waits."""
KEPT = 10_000
"""Dead letters of this kind that a subscription keeps; older ones are discarded."""

log = structlog.get_logger("delivery")


class Expiry:
    """Gives up on what may wait no longer. `discard` forgets dead letters."""

    def __init__(
        self,
        name: str,
        policy: Policy,
        tally: Tally,
        agenda: Agenda,
        bell: Bell,
        books: Books,
        discard: Callable[[Sequence[DeadLetter]], object],
    ) -> None:
        self._name = name
        self._policy = policy
        self._tally = tally
        self._agenda = agenda
        self._bell = bell
        self._books = books
        self._discard = discard
        self._drift = math.inf
        """The wall clock less that of the waits, at its least."""
        self._floor = 0
        self._count = 0

    @property
    def bounded(self) -> bool:
        """Whether anything ever expires."""
        return self._policy.pending_age < math.inf or self._policy.pending_bytes > 0

    async def run(self) -> None:
        """Go on until cancelled."""
        while self.bounded:
            if self._policy.pending_bytes:
                self._floor = self._books.last(self._policy.pending_bytes)
            oldest = self._oldest()
            for work in self._agenda.take_out(lambda work: all(self._expires(work, oldest))):  # noqa: B023 - at once
                self._give_up(work, range(len(work.events)))
            if self._count:
                log.error("expired: pending events are dead letters now", subscription=self._name, events=self._count)
                self._count = 0
                self._bell.ring()
                self._discard(await self._books.expired(KEPT))
            await anyio.sleep(LOOK)

    def keep(self, work: Work) -> Work:
        """Give up on what of a new batch may wait no longer; return the rest."""
        if not self.bounded:
            return work
        expires = self._expires(work, self._oldest())
        if not any(expires):
            return work
        self._give_up(work, [index for index, gone in enumerate(expires) if gone])
        return work.only([index for index, gone in enumerate(expires) if not gone], work.tries)

    def _oldest(self) -> float:
        """Return when what may still wait must have come in, in Unix seconds."""
        self._drift = min(self._drift, time.time() - anyio.current_time())
        return anyio.current_time() + self._drift - self._policy.pending_age

    def _expires(self, work: Work, oldest: float) -> list[bool]:
        events = (work.original(index) for index in range(len(work.events)))
        pairs = zip(work.positions, events, strict=True)
        return [position < self._floor or event.received < oldest for position, event in pairs]

    def _give_up(self, work: Work, indices: Sequence[int]) -> None:
        now = time.time()
        age, size = self._policy.pending_age, self._policy.pending_bytes
        bounds = [f"for more than {age:g} s"] if age < math.inf else []
        bounds += [f"with more than {size} bytes of the journal behind it"] if size else []
        reason = f"pending {' or '.join(bounds)}" + (f"; {work.reason}" if work.reason else "")
        dead = [expired(work, index, reason, now) for index in indices]
        self._count += len(dead)
        self._tally.enter(work, (), (), dead)

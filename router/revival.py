"""Revival: parked events whose time has come are tried again.

When that is, is kept by the wall clock, which outlives a restart but may be set: so no event waits for longer, from
when it is looked at, than what was decided when it was parked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import anyio

from router.agenda import Agenda
from router.bell import Bell
from router.books import Books
from router.plugin import Step
from router.preparation import cut, prepare
from router.retry import Policy
from router.settlement import brought_forward
from router.tally import Tally
from router.work import Work

AT_ONCE = 500
"""Parked events that are read back at a time."""
ANEW = 2000
"""And that are looked at when the clock was set, and at the start, since it may have been before."""
LOOK = 60.0
"""Seconds until it is noticed that the clock was set back."""


class Revival:
    """Puts what is parked and due on the agenda; it reads more when all of that is settled."""

    def __init__(
        self,
        tally: Tally,
        agenda: Agenda,
        bell: Bell,
        steps: Sequence[Step],
        policy: Policy,
        books: Books,
    ) -> None:
        self._tally = tally
        self._agenda = agenda
        self._bell = bell
        self._steps = steps
        self._policy = policy
        self._books = books
        self._drift = math.inf
        """The wall clock less that of the waits."""

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            wait: float | None = None
            if self._tally.progress.parked and not self._tally.reviving:
                drift = time.time() - anyio.current_time()
                back, self._drift = drift < self._drift - 1.0, drift
                wait = self._tally.due - time.time()
                if back or wait <= 0:
                    await self._read(ANEW if back else AT_ONCE)
                    continue
                wait = min(wait, LOOK)
            await self._bell.wait(wait)

    async def _read(self, limit: int) -> None:
        """Put those that are due on the agenda; note when the next one is."""
        self._tally.due = math.inf
        found = await self._books.parked(limit)
        now = time.time()
        parked = [brought_forward(self._policy, one, now) for one in found]
        if moved := [one for one, before in zip(parked, found, strict=True) if one is not before]:
            self._tally.postpone(moved)
        due = [one for one in parked if one.due <= now][:AT_ONCE]
        self._tally.due = min([self._tally.due, *(one.due for one in parked)]) if not due else 0.0
        work = Work(None, [one.position for one in due], [one.event for one in due], now, troubles=due)
        prepared = prepare(self._steps, work)
        self._tally.leave_out_parked(prepared.filtered, prepared.dead)
        self._tally.reviving = len(prepared.work.events)
        for batch in cut(self._policy, prepared.work):
            self._agenda.add(batch)
        self._bell.ring()

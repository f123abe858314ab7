"""Revival: parked events whose time has come are tried again."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from router.agenda import Agenda, Work
from router.bell import Bell
from router.books import Books
from router.plugin import Step
from router.preparation import cut, prepare
from router.retry import Policy
from router.tally import Tally

AT_ONCE = 500
"""Parked events that are read back at a time."""


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

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            wait: float | None = None
            if self._tally.progress.parked and not self._tally.reviving:
                wait = self._tally.due - time.time()
                if wait <= 0:
                    await self._read()
                    continue
            await self._bell.wait(wait)

    async def _read(self) -> None:
        """Put those that are due on the agenda; note when the next one is."""
        self._tally.due = math.inf
        parked = await self._books.parked(AT_ONCE)
        now = time.time()
        due = [one for one in parked if one.due <= now]
        self._tally.due = min([self._tally.due, *(one.due for one in parked[:1])]) if not due else 0.0
        work = Work(None, [one.position for one in due], [one.event for one in due], now, troubles=due)
        prepared = prepare(self._steps, work)
        self._tally.leave_out_parked(prepared.filtered, prepared.dead)
        self._tally.reviving = len(prepared.work.events)
        for batch in cut(self._policy, prepared.work):
            self._agenda.add(batch)
        self._bell.ring()

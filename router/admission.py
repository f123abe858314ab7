"""Admission: what may be tried now, or how long to wait. Synchronous; times are of one monotonic clock.

While the breaker is open a probe goes out whenever it may: an event that has not failed yet, if there is one, since
those that have may be at fault themselves. What is at fault itself, likely, does not wait for the breaker.
"""

from __future__ import annotations

from msgspec.structs import replace

from router.agenda import Agenda
from router.reckoning import Reckoning
from router.tally import Tally
from router.valve import Valve
from router.work import Work

DELIVERS = frozenset({"active", "held"})
"""The states in which anything is tried."""


class Admission:
    """Says what comes next."""

    def __init__(self, tally: Tally, valve: Valve, agenda: Agenda, reckoning: Reckoning) -> None:
        self._tally = tally
        self._valve = valve
        self._agenda = agenda
        self._reckoning = reckoning

    def next(self, now: float, *, satisfied: bool) -> Work | float | None:
        """Return a batch that may be tried now, or else the seconds to wait; None to wait for a change.

        What is past is tried only if the window is not `satisfied`.
        """
        valve, agenda = self._valve, self._agenda
        if self._tally.progress.state not in DELIVERS or valve.full:
            return None
        verdict = self._reckoning.doubt.decide(now) if agenda.aside else None
        if valve.breaker.state != "closed":
            found = self._probe(now)
        else:
            wait = agenda.wait(now, None if satisfied else valve.debt(now))
            found = agenda.take(now) if wait == 0.0 else wait
        return _sooner(found, verdict)

    def _probe(self, now: float) -> Work | float | None:
        """Return what may be tried although the breaker is open, or as its probe."""
        agenda, reckoning = self._agenda, self._reckoning
        at_fault = not (reckoning.new or reckoning.doubt.grave)
        work = agenda.take_due(now, reckoning.may_pass) if at_fault else None
        if work is not None:
            return work
        wait = self._valve.breaker.wait(now)
        if wait == 0.0:
            work = self._single(now)
            if work is None:
                return agenda.wait_later(now)
            self._valve.breaker.enter()
            return work
        return _sooner(wait, agenda.wait_later(now) if at_fault else None)

    def _single(self, now: float) -> Work | None:
        """Take out one event for a probe."""
        agenda = self._agenda
        if self._reckoning.doubt.crowded:
            return agenda.take_aside()
        work = agenda.take_new(now)
        if work is None and self._reckoning.doubt.asking and agenda.aside:
            work = agenda.ahead(agenda.aside[0].work.lane)  # or what is under way will say it
        elif work is None:
            work = agenda.take_aside()
        if work is None:
            return None
        if len(work.events) > 1:
            rest = work.only(range(1, len(work.events)), work.tries)
            agenda.defer(work.lane, [replace(rest, instead=False)])
            work = work.only([0], work.tries)
        return work


def _sooner(one: Work | float | None, other: float | None) -> Work | float | None:
    if isinstance(one, Work) or other is None:
        return one
    return other if one is None else min(one, other)

"""The doubt whether a refusal is the event's own fault or the destination's, and what is done until it is known.

It is the event's when the destination took another one since. Until then what was refused is set aside. A few of
these are given up on when there is nothing else to ask with; but more than 20 different events in a row, or one that
is refused as a rule refuses everything, hold the subscription. Then it is probed with other events, and when one is
taken, what was refused has one more try. Synchronous; times are of one monotonic clock, but for those that are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from msgspec.structs import replace

from router.agenda import Agenda
from router.bell import Bell
from router.retry import Policy
from router.settlement import Left, refused
from router.tally import Tally
from router.valve import Valve
from router.work import Refusal, Work

ROW = 20
"""Different events in a row that may be refused until the next one holds the subscription."""
ASKED = 100
"""Refused events that are set aside while others are asked with; then it is these that are."""
RECENT = 10.0
"""Seconds after an event was taken within which one that is refused is more likely to be at fault itself."""
PATIENCE = 0.5
"""Seconds that a refused event waits for another one, which might be taken, before it is given up on."""

log = structlog.get_logger("delivery")


class Doubt:
    """What was refused and is not decided."""

    def __init__(self, name: str, policy: Policy, tally: Tally, valve: Valve, agenda: Agenda, bell: Bell) -> None:
        self._name = name
        self._policy = policy
        self._tally = tally
        self._valve = valve
        self._agenda = agenda
        self._bell = bell
        self._row: set[int] = set()
        """The events that were refused in a row."""
        self._since: float | None = None
        """When one was refused as everything is, if none was taken since by a call that began later."""
        self._held_at = 0.0
        self._fresh = self._always = False
        """Whether the row began just after an event was taken; whether a refusal in it can be about no single event."""
        self.asking = False
        """Whether another event than the one that was refused is about to say whose fault it is."""

    @property
    def held(self) -> bool:
        """Whether the subscription is held."""
        return self._tally.progress.state == "held"

    @property
    def grave(self) -> bool:
        """Whether it is likely that the destination refuses everything."""
        return self.held or self._since is not None

    @property
    def crowded(self) -> bool:
        """Whether so many were refused that no further ones are asked with."""
        return len(self._agenda.aside) >= ASKED

    def begin(self, now: float) -> None:
        """Find out at once whether a destination that refused everything still does."""
        if self.held:
            self._held_at = now
            self._valve.breaker.hold(now, ask=True)

    def forget(self) -> None:
        """Try everything again, as if nothing had been refused."""
        self._row.clear()
        self._since, self.asking = None, False
        for one in self._agenda.pick(lambda _: True):
            self._agenda.resume(replace(one.work, tries=one.work.tries + 1))

    @property
    def _own(self) -> bool:
        """Whether it is likely the events' own fault though nothing is left to ask with: a few, just after others."""
        if self._policy.ordered or self._always or self.held:
            return False
        return self._fresh and len(self._row) <= ROW

    def is_late(self, started: float) -> bool:
        """Say whether a call began before others were refused as everything is: its success says little."""
        return self._since is not None and started < self._since

    def add(self, left: Left, started: float, now: float) -> None:
        """Set aside what a call refused; hold the subscription if that is everything, as far as one can say."""
        aside, reason = left.aside, left.errors[0].reason
        grave = any(error.hold for error in left.errors)
        if not self._row:
            self._fresh, self._always = started - self._valve.took <= RECENT, False
        self._always = self._always or any(error.always for error in left.errors)
        self._row.update(aside.positions)
        self._tally.wrong(reason)
        if not aside.instead:
            self._agenda.set_aside(Refusal(aside, left.errors, grave, started))
        if self.held and started < self._held_at:
            return  # it was under way when that became known
        if grave or len(self._row) > ROW:
            self._since = now if self._since is None else self._since
            self._ask(aside, reason, now)

    def note_silence(self, reason: str, now: float) -> None:
        """Note that the other event that was asked with was not answered."""
        if self.asking:
            self._hold(reason, now)

    def note_passed(self, work: Work) -> None:
        """Give up what was refused when what is behind it in its lane was taken: it must not be tried again."""
        if work.instead and work.lane is not None:
            self._agenda.put_back(work.lane, ())
            for one in self._agenda.pick(lambda one: one.work.lane == work.lane):
                self._give_up(one)

    def note_success(self, started: float, now: float) -> None:
        """Note that the destination takes events: what it refused before it took this one is likely to be at fault."""
        held, aside = self.held, self._agenda.aside
        if not (held or self._row or aside):
            return
        self._decide(now, again=held, meant=lambda one: (one.work.failed or 0.0) <= started)
        self._row = {position for one in self._agenda.aside for position in one.work.positions}
        self._since, self._fresh = None, True

    def decide(self, now: float) -> float | None:
        """Decide what was refused if there is nothing else to ask with; returns the seconds until it is time for that.

        So a broken destination makes no more than a few dead letters, however slowly events come. Where it took
        others at the same time, it is not broken.
        """
        aside = self._agenda.aside
        if not aside or not (self._agenda.idle and self._valve.idle):
            return None
        grave = self.grave
        if grave and not self._own and not all(one.started < self._valve.took for one in aside):
            if not (self.held or (self.asking and self._agenda.has_behind(aside[0].work))):
                self._hold(aside[0].errors[0].reason, now)
            return None
        wait = 0.0 if self._policy.ordered else max((one.work.failed or 0.0) for one in aside) + PATIENCE - now
        if wait > 0:
            return wait
        if grave:
            self._since = None
            self._valve.breaker.reset()
        self._decide(now, again=grave, meant=lambda _: True)
        return None

    def _ask(self, aside: Work, reason: str, now: float) -> None:
        """Ask with another event first, if there is one; else, or if that was refused as well, hold."""
        other = self._agenda.ready > 0 or not self._valve.alone
        other = other or (not aside.instead and self._agenda.has_behind(aside))
        if other and not (self.asking and (self._agenda.ready == 0 or not self._own)):
            self.asking = True
            self._valve.breaker.hold(now, ask=True)
        elif self._own:  # `decide` gives them up unless something new comes soon
            self.asking = False
            self._valve.breaker.reset()
        else:
            self._hold(reason, now)

    def _hold(self, reason: str, now: float) -> None:
        """Hold the subscription; its events wait in the journal."""
        self.asking = False
        self._valve.breaker.hold(now)
        if self._tally.progress.state == "active":
            self._held_at = now
            log.error("held: the destination refuses everything", subscription=self._name, reason=reason)
            self._tally.turn("held")
            self._bell.ring()

    def _decide(self, now: float, *, again: bool, meant: Callable[[Refusal], bool]) -> None:
        """Try once more what was refused as everything is, give up the rest, and go on."""
        self.asking = False
        for one in self._agenda.pick(meant):
            if again or one.grave:
                self._agenda.resume(replace(one.work, tries=one.work.tries + 1, doubted=True))
            else:
                self._give_up(one)
        if self.held:
            seconds = round(now - self._held_at, 1)
            log.warning("released: the destination takes events again", subscription=self._name, seconds=seconds)
            self._tally.turn("active")
        self._bell.ring()

    def _give_up(self, refusal: Refusal) -> None:
        """Make dead letters of what was refused."""
        work, now = refusal.work, time.time()
        dead = [refused(work, index, error, now) for index, error in enumerate(refusal.errors)]
        self._agenda.settle(work, len(dead))
        if self._tally.enter(work, (), (), dead):
            self._bell.ring()
        self._agenda.leave(work)

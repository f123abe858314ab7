"""The reckoning: what follows from a call to the destination that ended, and whose fault it is that it failed.

A failure is the event's when others got through since it failed first; else it may be the destination's, and the
breaker counts it. What a destination refuses is decided by `router.doubt`. Synchronous.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog
from msgspec.structs import replace

from router.agenda import Agenda
from router.bell import Bell
from router.doubt import Doubt
from router.retry import Outcome, Policy, judge, pause
from router.settlement import Left, leave
from router.tally import Tally
from router.valve import Valve
from router.work import Work

FEW = 20
"""Events that may be parked since the last success although nothing says that it is their own fault."""
WAITING = 1000
"""Events that may wait for their next try in memory; those that fail then are parked at once."""

log = structlog.get_logger("delivery")


class Reckoning:
    """Settles calls. Times are of one monotonic clock, but for those that are kept."""

    def __init__(self, name: str, policy: Policy, tally: Tally, valve: Valve, agenda: Agenda, bell: Bell) -> None:
        self._name = name
        self._policy = policy
        self._tally = tally
        self._valve = valve
        self._agenda = agenda
        self._bell = bell
        self.doubt = Doubt(name, policy, tally, valve, agenda, bell)
        self._said = False
        """Whether the log has it that the breaker is open."""
        self._put_off = 0
        """Events that were parked since the last success although nothing says that it is their own fault."""
        self.starved = False
        """Whether nothing new can be had."""

    @property
    def new(self) -> bool:
        """Whether there is something that has not failed, or there may be."""
        return self._agenda.ready > 0 or not self.starved

    def forget(self) -> None:
        """Try everything again, as if nothing had failed and no wait been asked for."""
        self._valve.breaker.reset()
        self._put_off = 0
        self.doubt.forget()
        self._agenda.hurry()

    def may_pass(self, work: Work) -> bool:
        """Whether a batch that failed may be tried although the breaker is open: it is likely to be its own fault.

        So it is while there is nothing new to try, if others got through since it failed, or if only a few are left.
        """
        return not (self.new or self.doubt.grave) and (self._valve.suspects(work) or self._is_of_few(work))

    def _is_of_few(self, work: Work) -> bool:
        """Whether a batch is one of a few that are left at the end, of a subscription that delivered before."""
        if self.new or work.rerun is not None or not self._tally.progress.delivered:
            return False
        return self._agenda.open <= FEW and self._put_off < FEW

    def end(self, work: Work, error: Exception | None, started: float, now: float) -> None:
        """Note a call that ended with an error, or with none."""
        if error is None:
            self._delivered(work, started, now)
            return
        outcome = judge(error, len(work.events), self._policy.retry_after_max)
        breaker, since = self._valve.breaker, self._valve.breaker.since
        late = self.doubt.is_late(started)
        suspect = self._valve.suspects(work)
        self._valve.end(work, outcome, started, now, late=late)
        if outcome.took(len(work.events)):
            self._put_off = 0
            self._tally.works()
            self.doubt.note_passed(work)
            if not late:
                self.doubt.note_success(started, now)
        self._tell(outcome)
        self._settle(work, outcome, started, now, suspect=suspect)
        if outcome.again and not outcome.singly:
            self.doubt.note_silence(outcome.reason, now)
        elif breaker.state == "half-open" and not outcome.took(len(work.events)):
            breaker.hold(now, ask=True)  # the probe said nothing of the destination; another one may
        self._tell_breaker(since, now)

    def _delivered(self, work: Work, started: float, now: float) -> None:
        """Note a call that delivered all: as `end` does, without asking what cannot be."""
        valve, since, late = self._valve, self._valve.breaker.since, self.doubt.is_late(started)
        valve.works(len(work.events), started, now, late=late)
        self._put_off = 0
        self._tally.works()
        if work.instead:
            self.doubt.note_passed(work)
        if not late:
            self.doubt.note_success(started, now)
        self.book(work)
        if not work.instead:
            self._agenda.leave(work)
        if self._said or valve.breaker.state != "closed":
            self._tell_breaker(since, now)

    def book(self, work: Work, left: Left | None = None) -> None:
        """Enter in the tally what the try settled: all that it did not leave is delivered."""
        if left is None:
            self._agenda.settle(work, len(work.positions))
            if self._tally.deliver(work):
                self._bell.ring()
            return
        delivered, parked, dead = left.settled(work)
        self._agenda.settle(work, len(delivered) + len(parked) + len(dead))
        if self._tally.enter(work, delivered, parked, dead):
            self._bell.ring()

    def _tell(self, outcome: Outcome) -> None:
        """Say in the log what failed; stop delivering to a destination that is gone."""
        if outcome.again and not outcome.singly:
            self._tally.wrong(outcome.reason)
            log.warning(
                "delivery failed",
                subscription=self._name,
                events=len(outcome.again),
                reason=outcome.reason,
                breaker=self._valve.breaker.state,
            )
        if outcome.gone and self._tally.progress.state in {"active", "held"}:
            log.error("the destination is gone, the subscription waits until it is resumed", subscription=self._name)
            self._tally.turn("gone")
            self._bell.ring()

    def _tell_breaker(self, since: float, now: float) -> None:
        """Say in the log that the breaker opened, or closed; one that only asks once more is nobody's news."""
        breaker = self._valve.breaker
        if not self._said and breaker.state == "open" and not self._agenda.aside:
            self._said = True
            seconds, reason = round(breaker.wait(now) or 0.0, 1), self._tally.last_error
            log.warning("breaker opened", subscription=self._name, seconds=seconds, reason=reason)
        elif self._said and breaker.state == "closed":
            self._said = False
            log.info("breaker closed, it works again", subscription=self._name, seconds=round(now - since, 1))

    def _settle(self, work: Work, outcome: Outcome, started: float, now: float, *, suspect: bool) -> None:
        """Put what is left of a batch back on the agenda, or park it, or give it up; the rest is delivered."""
        stopped = work.rerun if work.rerun and work.rerun.closed else None
        again_whole = work.doubted and len(outcome.refused) == len(work.events) > 1
        if not stopped and (outcome.singly or again_whole):
            self._part(work, outcome)
            return
        left = self._leave(work, outcome, now, suspect=suspect, stopped=stopped is not None)
        if stopped:
            stopped.drop(len(left.again.events))
        self.book(work, left)
        again = () if stopped or not left.again.events else self._halves(left.again, outcome, suspect=suspect)
        if work.instead:
            parts = [replace(one, instead=False) for one in (*again, left.aside) if one.events]
            if work.lane is not None:
                self._agenda.put_back(work.lane, parts)
        elif left.aside.events and work.lane is not None:
            self._agenda.defer(work.lane, again)
        else:
            for part in again:
                self._agenda.again(part, now + pause(self._policy, part.tries, outcome.after))
        if left.aside.events:
            self.doubt.add(left, started, now)
        elif not again and not work.instead:
            self._agenda.leave(work)

    def _leave(self, work: Work, outcome: Outcome, now: float, *, suspect: bool, stopped: bool) -> Left:
        """Say what becomes of what was not delivered."""
        closed = self._valve.breaker.state == "closed"
        wait = stopped or self._policy.ordered or self._tally.progress.state != "active"
        wait = wait or not (closed or suspect or self._is_of_few(work))
        told = outcome.after is not None and outcome.after > self._policy.retry_max
        hasty = told or self._agenda.waiting >= WAITING
        took = outcome.took(len(work.events)) > 0
        sure = stopped or (took and not outcome.hold) or (work.doubted and len(work.events) == 1)
        left = leave(self._policy, work, outcome, time.time(), wait=wait, hasty=hasty, sure=sure)
        if not (closed or suspect):
            self._put_off += len(left.parked)
        failed = now if work.failed is None else work.failed
        return replace(left, again=replace(left.again, failed=failed), aside=replace(left.aside, failed=now))

    def _part(self, work: Work, outcome: Outcome) -> None:
        """Try each event of a batch alone that was refused as a whole."""
        reason = f"refused together with others: {outcome.reason}"
        self._agenda.defer(work.lane, [work.only([i], work.tries, reason) for i in range(len(work.events))])
        self._agenda.leave(work)

    def _halves(self, work: Work, outcome: Outcome, *, suspect: bool) -> Sequence[Work]:
        """Cut a batch that often failed as a whole, though others get through: that closes in on the culprit."""
        size = len(work.events)
        if self._policy.ordered or not (outcome.whole and suspect and size > 1 and work.tries >= self._policy.tries):
            return (work,)
        middle = size // 2
        return [work.only(some, work.tries) for some in (range(middle), range(middle, size))]

"""What becomes of an event that was not delivered: parked for later, or a dead letter. Pure; times in Unix seconds.

What is kept is the event as it was journalled: its bytes are all that a journal has of it, so its steps are applied
anew whenever it is tried.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from router.errors import Reject
from router.event import UNDECODABLE
from router.journal import DeadLetter, Ending, Kind, Parked
from router.retry import Outcome, Policy, longest, parking
from router.work import Work


class Left(msgspec.Struct, frozen=True):
    """What a try left of a batch: what is tried again soon, parked, given up on, or set aside since it was refused."""

    again: Work
    parked: Sequence[Parked]
    dead: Sequence[DeadLetter]
    aside: Work
    errors: Sequence[Reject] = ()
    """Why each of those was refused that are set aside."""

    def settled(self, work: Work) -> tuple[Sequence[int], Sequence[Parked], Sequence[DeadLetter]]:
        """Return the positions that were delivered, what is parked, and what is given up on."""
        settled = (one.position for one in (*self.parked, *self.dead))
        others = {*self.again.positions, *self.aside.positions, *settled}
        return [position for position in work.positions if position not in others], self.parked, self.dead


def leave(
    policy: Policy, work: Work, outcome: Outcome, now: float, *, wait: bool, hasty: bool = False, sure: bool = False
) -> Left:
    """Say what becomes of the events that a try did not deliver; with `wait`, none of them is parked.

    Tries are not used up while a whole batch fails as one: that says that the destination is down, and parking
    thousands would help nobody. `hasty`: no quick try is left, however few there were. What is refused is given up on
    if that is `sure` to be the event's fault, or else set aside.
    """
    again = work.only(outcome.again, work.tries + 1, outcome.reason)
    open_ = [(i, error) for i, error in outcome.refused if not (sure or error.sure)]
    aside = work.only([i for i, _ in open_], work.tries, outcome.reason)
    errors = [error for _, error in open_]
    dead = [refused(work, i, error, now) for i, error in outcome.refused if i not in {i for i, _ in open_}]
    down = outcome.whole and len(again.events) == len(work.events) > 1
    if wait or down or not (again.tries >= policy.tries or hasty):
        return Left(again, (), dead, aside, errors)
    late = [put_off(policy, again, i, outcome, now) for i in range(len(again.events))]
    parked = [one for one in late if isinstance(one, Parked)]
    dead += [one for one in late if isinstance(one, DeadLetter)]
    return Left(again.only((), 0), parked, dead, aside, errors)


def endings(work: Work, delivered: Sequence[int], now: float) -> Sequence[Ending]:
    """Say how it ended for events that were delivered, though not at their first try."""
    troubles = {trouble.position: trouble for trouble in work.troubles}
    found: list[Ending] = []
    for position in delivered:
        trouble = troubles.get(position)
        tries = work.tries + 1 + (trouble.attempts if trouble else 0)
        reason = work.reason or (trouble.reason if trouble else "")
        found.append(Ending(position=position, at=now, tries=tries, reason=reason))
    return found


def discarded(letter: DeadLetter, now: float) -> Ending:
    """Say how it ended for a dead letter that is discarded."""
    return Ending(position=letter.position, at=now, tries=letter.attempts, reason=letter.reason, fate="discarded")


def put_off(policy: Policy, work: Work, index: int, outcome: Outcome, now: float) -> Parked | DeadLetter:
    """Park an event that failed too often to be tried again soon, or give it up when its schedule is over."""
    trouble = work.troubles[index] if work.troubles else None
    times = trouble.times + 1 if trouble else 0
    wait = parking(policy, times, outcome.after)
    if wait is None:
        return _letter(work, index, Reject(outcome.reason, outcome.status), "exhausted", work.tries, now)
    return Parked(
        position=work.positions[index],
        event=work.original(index),
        reason=outcome.reason,
        status=outcome.status,
        attempts=work.tries + (trouble.attempts if trouble else 0),
        first_try=trouble.first_try if trouble else work.first_try,
        last_try=now,
        due=now + wait,
        times=times,
    )


def brought_forward(policy: Policy, one: Parked, now: float) -> Parked:
    """Return a parked event as it is, or due sooner if it would wait for longer than it can: the clock was set back."""
    decided = one.due - one.last_try
    most = min(decided, longest(policy, one.times)) if one.attempts else decided
    return one if one.due - now <= most + 1.0 else replace(one, due=now + most, last_try=min(one.last_try, now))


def refused(work: Work, index: int, error: Reject, now: float) -> DeadLetter:
    """Give up an event that the destination refused at its latest try."""
    return _letter(work, index, error, _blamed(work, index, "refused"), work.tries + 1, now)


def expired(work: Work, index: int, reason: str, now: float) -> DeadLetter:
    """Give up an event that may be pending no longer."""
    return _letter(work, index, Reject(reason), "expired", work.tries, now)


def faulty(work: Work, index: int, error: Reject, now: float) -> DeadLetter:
    """Give up an event that a step failed on."""
    return _letter(work, index, error, _blamed(work, index, "config"), 0, now)


def reborn(letter: DeadLetter, due: float, now: float) -> Parked:
    """Give a dead letter another life, with all its tries before it again."""
    return Parked(
        position=letter.position,
        event=letter.event,
        reason="replayed",
        status=None,
        attempts=0,
        first_try=letter.first_try,
        last_try=now,
        due=due,
        times=0,
    )


def _blamed(work: Work, index: int, kind: Kind) -> Kind:
    """Say what is at fault: the event's own form, if no decoder understood it; a better decoder may mend that."""
    return "undecodable" if work.original(index).type == UNDECODABLE else kind


def _letter(work: Work, index: int, error: Reject, kind: Kind, tries: int, now: float) -> DeadLetter:
    trouble = work.troubles[index] if work.troubles else None
    return DeadLetter(
        position=work.positions[index],
        event=work.original(index),
        reason=error.reason,
        status=error.status,
        attempts=tries + (trouble.attempts if trouble else 0),
        first_try=trouble.first_try if trouble else work.first_try,
        last_try=now,
        kind=kind,
    )

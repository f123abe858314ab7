"""What becomes of an event that was not delivered: parked for later, or a dead letter. Pure; times in Unix seconds.

What is kept is the event as it was journalled: its bytes are all that a journal has of it, so its steps are applied
anew whenever it is tried.
"""

from __future__ import annotations

from router.agenda import Work
from router.errors import Reject
from router.event import UNDECODABLE
from router.journal import DeadLetter, Kind, Parked
from router.retry import Outcome, Policy, parking


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


def refused(work: Work, index: int, error: Reject, now: float) -> DeadLetter:
    """Give up an event that the destination refused at its latest try."""
    return _letter(work, index, error, _blamed(work, index, "refused"), work.tries + 1, now)


def faulty(work: Work, index: int, error: Reject, now: float) -> DeadLetter:
    """Give up an event that a step failed on."""
    return _letter(work, index, error, _blamed(work, index, "config"), 0, now)


def reborn(letter: DeadLetter, due: float) -> Parked:
    """Give a dead letter another life, with all its tries before it again."""
    return Parked(
        position=letter.position,
        event=letter.event,
        reason="replayed",
        status=None,
        attempts=0,
        first_try=letter.first_try,
        last_try=letter.last_try,
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

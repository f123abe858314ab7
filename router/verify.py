"""The balance of every subscription, recomputed from the journal (promise P4).

`journalled = delivered + filtered + parked + dead + pending` must hold of the counters, and what they say must
be what the journal's own events give when they are decoded and matched again: as many wanted as were delivered
or given up on. A daemon may be running meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from router.event import Event
from router.journal import Progress
from router.plugin import Step
from router.steps import apply


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of one subscription; `recounted` is None where the journal no longer has all the events."""

    name: str
    journalled: int
    delivered: int
    filtered: int
    parked: int
    dead: int
    pending: int
    recounted: int | None
    problem: str = ""


class Count:
    """Counts what the journal's events say that a subscription should have delivered or given up on.

    `pattern` digests what the config says that the subscription wants.
    """

    def __init__(self, pattern: str, steps: Sequence[Step], progress: Progress) -> None:
        self._pattern = pattern
        self._steps = steps
        self._progress = progress
        self._wanted = 0

    def add(self, position: int, event: Event) -> None:
        """Count an event that matches, if it lies in the range that the progress speaks of and no step drops it."""
        if self._progress.since <= position < self._progress.position:
            self._wanted += apply(self._steps, event) is not None  # one that a step fails on is a dead letter

    def balance(self, name: str, head: int, tail: int) -> Balance:
        """Compare what was counted with what the subscription says."""
        progress = self._progress
        said = progress.delivered + progress.parked + progress.dead
        wanted = self._wanted + progress.carried
        covered = progress.position - progress.since + progress.carried
        complete = tail <= progress.since or progress.since == progress.position
        problem = ""
        if progress.position > head:
            problem = f"its position {progress.position} lies beyond the journal's end {head}"
        elif covered != said + progress.filtered:
            problem = f"its counters add up to {said + progress.filtered}, not {covered}"
        elif progress.pattern != self._pattern:
            complete = False  # counted under another match than the config's; the daemon starts a new count
        elif complete and wanted != said:
            problem = f"the journal has {wanted} events that it wants, but {said} were delivered, parked or given up on"
        return Balance(
            name=name,
            journalled=head - progress.since + progress.carried,
            delivered=progress.delivered,
            filtered=progress.filtered,
            parked=progress.parked,
            dead=progress.dead,
            pending=head - progress.position,
            recounted=wanted if complete else None,
            problem=problem,
        )

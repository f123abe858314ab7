"""The balance of every subscription, recomputed from the journal (promise P4).

`journalled = delivered + filtered + parked + dead + pending` must hold of the counters, and what they say must
be what the journal's own events give when they are decoded and matched again: as many wanted as were delivered
or given up on. A daemon may be running meanwhile.

Which events were delivered is not recorded one by one, so a number that is wrong is told with the positions that it
is about. What is parked or dead is: each must be an event that the subscription wants, below its mark, and be counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from router.event import Event
from router.journal import Held, Progress
from router.journal.replay import Replay
from router.plugin import Step
from router.steps import apply

OFFENDERS = 20
"""Events that are named at most."""

NONE_HELD = Held({}, {})


class Balance(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of one subscription; `recounted` is None where the journal no longer has all the events.

    `offenders` are parked events or dead letters that should not be there, a line each: id, position, what is wrong.
    """

    name: str
    journalled: int
    delivered: int
    filtered: int
    parked: int
    dead: int
    pending: int
    recounted: int | None
    problem: str = ""
    offenders: tuple[str, ...] = ()
    orphan: bool = False
    """Whether it is not in the config: then nobody can say what it wants, and nothing is recounted."""


class Count:
    """Counts what the journal's events say that a subscription should have delivered or given up on.

    `pattern` digests what the config says that the subscription wants; None for one that is not in it.
    """

    def __init__(
        self,
        pattern: str | None,
        steps: Sequence[Step],
        progress: Progress,
        held: Held = NONE_HELD,
        replays: Sequence[Replay] = (),
    ) -> None:
        self._pattern = pattern
        self._replays = replays
        self._steps = steps
        self._progress = progress
        self._held = held
        self._wanted = 0
        self._unconfirmed = {**held.parked, **held.dead}

    def add(self, position: int, event: Event) -> None:
        """Count an event that matches, if it lies in the range that the progress speaks of and no step drops it."""
        progress = self._progress
        if progress.since <= position and (position < progress.position or progress.settled(position)):
            wanted = apply(self._steps, event) is not None  # one that a step fails on is a dead letter
            self._wanted += wanted
            if wanted and self._unconfirmed.get(position) == event.id:
                del self._unconfirmed[position]

    def balance(self, name: str, head: int, tail: int) -> Balance:
        """Compare what was counted with what the subscription says."""
        progress = self._progress
        said = progress.delivered + progress.parked + progress.dead
        wanted = self._wanted + progress.carried - progress.left_out - progress.pending(progress.since)
        complete = tail <= progress.since or progress.since == progress.furthest
        offenders = self._offenders(tail)
        problem = ""
        if progress.furthest > head:
            problem = f"its position {progress.furthest} lies beyond the journal's end {head}"
        elif progress.covered != progress.counted:
            problem = f"its counters add up to {progress.counted}, not {progress.covered}"
        elif uncounted := self._uncounted():
            problem = uncounted
        elif wrong := [one.number for one in self._replays if one.balance]:
            problem = f"the counters of replay {wrong[0]} do not add up"
        elif offenders:
            problem = f"{len(offenders)} parked events or dead letters should not be there"
        elif progress.pattern != self._pattern:
            complete = False  # counted under another match than the config's; the daemon starts a new count
        elif complete and wanted != said:
            problem = (
                f"at positions {progress.since} to {progress.furthest - 1} the journal has {wanted} events that it "
                f"wants, but {said} were delivered, parked or given up on"
            )
        return Balance(
            name=name,
            journalled=progress.end(head) - progress.since + progress.carried,
            delivered=progress.delivered,
            filtered=progress.filtered,
            parked=progress.parked,
            dead=progress.dead,
            pending=progress.pending(head),
            orphan=self._pattern is None,
            recounted=wanted if complete else None,
            problem=problem,
            offenders=tuple(offenders[:OFFENDERS]),
        )

    def _uncounted(self) -> str:
        """Say if there are more or fewer of those that are kept than the counters say; letters may be discarded."""
        progress = self._progress
        dead = len(self._held.dead)
        if len(self._held.parked) != progress.parked:
            return f"{len(self._held.parked)} events are parked, but it counts {progress.parked}"
        return f"{dead} dead letters are kept, but it counts {progress.dead}" if dead > progress.dead else ""

    def _offenders(self, tail: int) -> list[str]:
        """Return what is parked or dead and should not be, as far as the journal still has the events."""
        progress = self._progress
        known = max(tail, progress.since) if progress.pattern == self._pattern else progress.furthest
        found: list[str] = []
        for what, held in (("parked", self._held.parked), ("dead", self._held.dead)):
            for position, key in sorted(held.items()):
                if not progress.settled(position):
                    found.append(f"{key} at {position} is {what}, but what it has there is pending")
                elif position >= known and position in self._unconfirmed:
                    found.append(f"{key} at {position} is {what}, but not an event there that it wants")
        return found

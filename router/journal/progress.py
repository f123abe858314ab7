"""What a journal keeps of each subscription: how far it is, what failed, and when the rest was delivered."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from router.event import Event
from router.journal.replay import Replay

State: TypeAlias = Literal["active", "paused", "gone", "held"]
"""Whether a subscription delivers; `gone` is what its destination said (410), `paused` what an operator did.

`held`: its destination refuses everything, as far as one can say, and is probed until it no longer does.
"""

Kind: TypeAlias = Literal["refused", "exhausted", "undecodable", "config", "expired"]
"""Why an event was given up on: the destination's word, no try left, its own form, a fault of a step, or it waited for
longer, or took more of the journal, than the subscription's `pending` allows.

Its own form is at fault where nobody could decode it, and the destination refused it or a step failed on it.
"""


PRECISION = 1.0
"""Seconds within which it is told when an event was delivered, or little more."""
JUST_NOW = 0.25
"""Seconds that the mark may come later than a delivery without anything being said about it."""


class Span(msgspec.Struct, frozen=True):
    """When events were delivered: those at positions from `first` to below `end`, between two moments (Unix seconds).

    It speaks of those that were delivered at the first try; how the others ended is an `Ending`.
    """

    first: int
    end: int
    begun: float
    ended: float

    def joined(self, later: Span, within: float) -> Span | None:
        """Return one for both, if both lie within so many seconds; `later` is the one of later positions."""
        begun, ended = min(self.begun, later.begun), max(self.ended, later.ended)
        return Span(self.first, later.end, begun, ended) if ended - begun <= within else None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a subscription is: all below `position` is settled or parked, and so is what lies in `above`.

    `position` is the low-water mark; `above` are the stretches beyond it, in order, that are settled whole, with when.
    The counters add up to both: `counted = position - since + carried + spread`, where `counted` is `delivered +
    filtered + parked + dead`. `since` is where the present pattern took effect and counting began; it lies beyond the
    mark where some was settled above it then. `pattern` is a digest of all that decides what the subscription wants, so
    that a change of it starts a new count; `carried` are the events from before `since` that were parked, dead or not
    settled then, and `left_out` those of them that are not wanted today (they are among the filtered). `dead` also
    counts the letters that were discarded since. `until` is where it ends that was taken out of the config: what came
    later is none of its business; 0 while it is in there.
    """

    position: int
    since: int
    pattern: str
    delivered: int = 0
    filtered: int = 0
    parked: int = 0
    dead: int = 0
    carried: int = 0
    state: State = "active"
    left_out: int = 0
    until: int = 0
    above: Sequence[Span] = ()

    def end(self, head: int) -> int:
        """Return the position up to which the journal's events concern it, given the journal's head."""
        return min(head, self.until) if self.until else head

    @property
    def over(self) -> bool:
        """Whether no event of the journal is needed for it any more."""
        return self.until > 0 and not self.pending(self.until)

    @property
    def spread(self) -> int:
        """How many events are settled above the mark."""
        return sum(span.end - span.first for span in self.above)

    @property
    def furthest(self) -> int:
        """The position after the last event that is settled."""
        return self.above[-1].end if self.above else self.position

    @property
    def counted(self) -> int:
        """What the counters add up to."""
        return self.delivered + self.filtered + self.parked + self.dead

    @property
    def covered(self) -> int:
        """What they must add up to."""
        return self.position - self.since + self.carried + self.spread

    def pending(self, end: int) -> int:
        """Return how many events below a position are not settled, and concern it."""
        end = self.end(end)
        above = sum(min(span.end, end) - span.first for span in self.above if span.first < end)
        return max(end - self.position - above, 0)

    def settled(self, position: int) -> Span | bool:
        """Say whether an event is settled; if above the mark, with when."""
        if position < self.position or not self.above:
            return position < self.position
        index = bisect_right(self.above, position, key=lambda span: span.first) - 1
        return index >= 0 and position < self.above[index].end and self.above[index]

    def recount(self, pattern: str, dead: int) -> Progress:
        """Return where a subscription goes on whose pattern is another one now; `dead` letters are kept of it.

        What it settled above the mark stays settled. What it has not settled between is carried into the new count.
        """
        return Progress(
            position=self.position,
            since=self.furthest,
            pattern=pattern,
            parked=self.parked,
            dead=dead,
            carried=self.parked + dead + self.pending(self.furthest),
            state=self.state,
            above=self.above,
        )


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a subscription could not deliver, and how it went. Times are Unix seconds.

    The event is as it was journalled; what the subscription's steps make of it is made at each try. `status` is the
    destination's, if it gave one.
    """

    position: int
    event: Event
    reason: str
    status: int | None
    attempts: int
    first_try: float
    last_try: float


class Parked(Trouble, frozen=True, kw_only=True):
    """Failed for now; its next try is `due`, in Unix seconds. It was parked `times` before."""

    due: float
    times: int


class DeadLetter(Trouble, frozen=True, kw_only=True):
    """Given up on, until replayed or discarded."""

    kind: Kind


def join(spans: list[Span], span: Span, within: float) -> None:
    """Put a span behind others, joined with the last one if both lie within so many seconds."""
    joined = spans[-1].joined(span, within) if spans else None
    if joined:
        spans[-1] = joined
    else:
        spans.append(span)


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an event ended that was not delivered at its first try: when (Unix seconds), and after how many tries.

    `reason` is what went wrong before. Tries are counted from when it was last taken up: by a start of the router, or
    by a replay, whose reason is `replayed`.
    """

    position: int
    at: float
    tries: int
    reason: str
    fate: Literal["delivered", "discarded"] = "delivered"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one commit of a subscription changes, besides its progress.

    `parked` and `dead` are added, or replace those of the same position; `unparked` and `undead` are the positions
    of those that are no longer so. `marks` are the sink's own positions, those that changed; a journal adds itself
    where its subscription was then (`marked_at`), and which it need not keep (`unmarked`). `endings` say how
    events ended that took more than one try; `spans`, in the order of positions, when the others were delivered that
    the mark now passes: if there are none, it was `JUST_NOW`. `replays` are those that are new or have changed, and
    `forgotten` the numbers of those that are dropped.
    """

    parked: Sequence[Parked] = ()
    unparked: Sequence[int] = ()
    dead: Sequence[DeadLetter] = ()
    undead: Sequence[int] = ()
    marks: Mapping[str, int] = {}
    marked_at: int = 0
    unmarked: Sequence[str] = ()
    spans: Sequence[Span] = ()
    endings: Sequence[Ending] = ()
    replays: Sequence[Replay] = ()
    forgotten: Sequence[int] = ()

    @property
    def only_spans(self) -> bool:
        """Whether it changes nothing else, but for replays that have moved."""
        troubles = self.parked or self.unparked or self.dead or self.undead
        return not (troubles or self.marks or self.endings or self.forgotten)


NOTHING = Change()

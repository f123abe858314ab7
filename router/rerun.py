"""A replay under way: a second window of its subscription, over what is already past. Pure and synchronous.

Stretches of the journal are opened in order and settled in any order; the replay's position moves only over those
that are settled whole. What went out again is carried into the subscription's count and is there what became of it:
delivered, parked or dead. An event that is a dead letter is counted already; it gets another life, like any other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from router.event import Event
from router.journal import Change, DeadLetter, Ending, Parked, Progress
from router.journal.replay import Replay
from router.window import Slot


class Past(msgspec.Struct, frozen=True):
    """The journal up to `end` as a replay sees it: the events that go out again, with their positions.

    Below `first` nothing is left in the journal. `letters` are the positions of those that are dead letters; those at
    the positions `waiting` are wanted, too, but parked.
    """

    first: int
    end: int
    positions: Sequence[int]
    events: Sequence[Event]
    letters: Collection[int] = frozenset()
    waiting: Sequence[int] = ()

    def parts(self, size: int) -> Iterator[Past]:
        """Cut it into parts of so many events at most."""
        first = self.first
        for start in range(0, max(len(self.positions), 1), size):
            positions = self.positions[start : start + size]
            end = self.end if start + size >= len(self.positions) else positions[-1] + 1
            waiting = [position for position in self.waiting if first <= position < end]
            yield Past(first, end, positions, self.events[start : start + size], self.letters, waiting)
            first = end


class Stretch(Slot):
    """One stretch that is out: `first` is its first position, `positions` are those that go out again."""

    __slots__ = ("gone", "letters", "positions", "waiting")

    def __init__(self, first: int, past: Past, kept: Sequence[int], dead: Sequence[DeadLetter]) -> None:
        super().__init__(first, past.end, kept)
        self.dead.extend(dead)
        self.positions = frozenset((*kept, *(letter.position for letter in dead)))
        self.letters = self.positions.intersection(past.letters)
        self.waiting = len(past.waiting)
        self.gone = past.first - first


class Rerun:
    """What is out of one replay, above the position up to which it is settled."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.taken = replay.position
        """Everything below was handed out."""
        self.closed = False
        """Whether nothing more of it is tried; what is with the destination is still settled."""
        self.void = False
        """Whether the replay went on without it: nothing is settled any more."""
        self.open = 0
        """Events that are out and not settled."""
        self._stretches: deque[Stretch] = deque()

    def __repr__(self) -> str:
        return f"<Rerun {self.replay.number} {self.replay.position}..{self.taken} open={self.open}>"

    def close(self, stopped: Replay, dropped: int) -> None:
        """Stop it; so many events that were out and not with the destination are not tried."""
        self.closed = True
        self.replay = stopped
        self.open -= dropped

    def drop(self, count: int) -> None:
        """Note that so many events failed that are not tried again, for it was stopped meanwhile."""
        self.open -= count

    def holds(self, position: int) -> bool:
        """Say whether the event at a position is out."""
        return any(position in stretch.positions for stretch in self._stretches)

    def take(self, past: Past, kept: Sequence[int], dead: Sequence[DeadLetter]) -> Stretch:
        """Open the stretch up to `past.end`; of its events the steps left these, and failed on those."""
        stretch = Stretch(self.taken, past, kept, dead)
        self.taken = past.end
        self.open += stretch.open
        self._stretches.append(stretch)
        return stretch

    def settle(
        self, stretch: Slot, delivered: Sequence[Ending], parked: Sequence[Parked], dead: Sequence[DeadLetter]
    ) -> None:
        """Note what became of some of a stretch's events."""
        settled = len(delivered) + len(parked) + len(dead)
        stretch.delivered += len(delivered)
        stretch.late.extend(delivered)
        stretch.parked.extend(parked)
        stretch.dead.extend(dead)
        stretch.open -= settled
        self.open -= settled

    def advance(self, progress: Progress, now: float) -> tuple[Progress, Change] | None:
        """Move over the settled stretches; return the subscription's progress with it, or None if it stays.

        `now` is in Unix seconds.
        """
        if self.void or not self._stretches or self._stretches[0].open:
            return None
        parked: list[Parked] = []
        dead: list[DeadLetter] = []
        undead: list[int] = []
        endings: list[Ending] = []
        while self._stretches and not self._stretches[0].open:
            stretch = self._stretches.popleft()
            progress = _carried(progress, stretch)
            self.replay = _moved(self.replay, stretch)
            parked += stretch.parked
            dead += stretch.dead
            undead += stretch.letters
            endings += [one for one in stretch.late if one.position in stretch.letters]
        if not self.replay.left:
            self.replay = replace(self.replay, state="done", ended=now)
        return progress, Change(parked=parked, dead=dead, undead=undead, endings=endings, replays=[self.replay])


def _carried(progress: Progress, stretch: Stretch) -> Progress:
    """Carry what went out again into the subscription's count; dead letters leave it for what became of them."""
    letters = len(stretch.letters)
    return replace(
        progress,
        delivered=progress.delivered + stretch.delivered,
        parked=progress.parked + len(stretch.parked),
        dead=progress.dead + len(stretch.dead) - letters,
        carried=progress.carried + len(stretch.positions) - letters,
    )


def _moved(replay: Replay, stretch: Stretch) -> Replay:
    """Move a replay over a stretch."""
    out = stretch.waiting + stretch.gone + len(stretch.positions)
    return replace(
        replay,
        position=stretch.end,
        delivered=replay.delivered + stretch.delivered,
        parked=replay.parked + len(stretch.parked),
        dead=replay.dead + len(stretch.dead),
        filtered=replay.filtered + stretch.end - stretch.first - out,
        waiting=replay.waiting + stretch.waiting,
        gone=replay.gone + stretch.gone,
    )

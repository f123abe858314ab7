"""The tally of one subscription: what became of its events, as far as it is settled, and what is committed of that.

Delivery enters results, in any order. The progress is committed whenever the low-water mark moves, something is parked
or given up on, or what was delivered above the mark has waited for a moment; with it go the sink's own positions, which
are always those of what is settled. Synchronous.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence

import structlog
from msgspec.structs import replace

from router.books import Books
from router.journal import Change, DeadLetter, Parked, Progress, State
from router.journal.replay import Replay
from router.rerun import Rerun
from router.routed import Chunk
from router.settlement import discarded, endings, reborn
from router.window import Slot, Window
from router.work import Work

LAZY = 0.5
"""Seconds that what is settled above the mark may wait to be committed, while more is being settled."""

log = structlog.get_logger("delivery")


class Tally:
    """Where a subscription is. `due` is when to look at what is parked, in Unix seconds."""

    def __init__(self, name: str, progress: Progress, books: Books) -> None:
        self._name = name
        self._window = Window(progress)
        self._books = books
        self._marks: dict[str, int] = {}
        self._noted = 0.0
        self.due = 0.0
        self.reviving = 0
        """Parked events that are being tried."""
        self.letters_moved = 0
        """Changes whenever dead letters are replayed or discarded."""
        self.last_error = ""
        self.last_error_at = 0.0
        """When, in Unix seconds."""

    @property
    def next_due(self) -> float:
        """When the next parked event is due, in Unix seconds; 0 if none is, or that is not known."""
        return self.due if self.progress.parked and math.isfinite(self.due) else 0.0

    def wrong(self, error: str) -> None:
        """Note what went wrong last."""
        self.last_error, self.last_error_at = error, time.time()

    def works(self) -> None:
        """Note that it works again."""
        if self.last_error:
            self.last_error, self.last_error_at = "", 0.0

    @property
    def progress(self) -> Progress:
        """What is settled."""
        return self._window.progress

    @property
    def idle(self) -> bool:
        """Whether nothing that was taken from the feed is out."""
        return self._window.idle

    def reset(self) -> None:
        """Forget what is out: it will be taken again, but for what is settled."""
        self.note()
        self._window = Window(self.progress)
        self._marks = {}
        self.reviving = 0

    def mark(self, marks: Mapping[str, int]) -> None:
        """Note the sink's own positions after a call."""
        self._marks.update(marks)

    def unsettled(self, chunk: Chunk) -> Iterator[Chunk]:
        """Yield the parts of a chunk of the feed that are not settled; each is to be taken before the next one."""
        return self._window.unsettled(chunk)

    def take(self, chunk: Chunk) -> Slot:
        """Open a chunk of the feed, or a part of it."""
        return self._window.take(chunk.end, chunk.positions)

    def leave_out(self, slot: Slot, filtered: Sequence[int], dead: Sequence[DeadLetter]) -> None:
        """Note what the steps left out of a chunk, and what they failed on."""
        self.mourn(dead)
        self._window.settle(slot, 0.0, filtered=filtered, dead=dead)

    def advance(self) -> None:
        """Move the mark over what is settled, and commit it."""
        change = self._window.advance(time.time())
        if change is not None:
            self._commit(change)

    def note(self) -> bool:
        """Commit all that is settled, also above the mark; returns whether that changed what is parked."""
        self._noted = time.monotonic()
        change = self._window.advance(time.time(), whole=True)
        return change is not None and self._commit(change, whole=True)

    def skip(self, head: int) -> None:
        """Note that nothing up to `head` is wanted; only while idle."""
        self._window.skip(head)
        self.advance()

    def deliver(self, work: Work) -> bool:
        """Note that all of a batch was delivered; returns whether that changed what is parked."""
        if work.slot is None or work.rerun is not None or work.reason:
            return self.enter(work, work.positions, (), ())
        now = time.time()
        self._window.deliver(work.slot, work.positions, now)
        if time.monotonic() > self._noted + LAZY:
            return self.note()
        change = self._window.advance(now)
        return change is not None and self._commit(change, whole=True)

    def enter(self, work: Work, delivered: Sequence[int], parked: Sequence[Parked], dead: Sequence[DeadLetter]) -> bool:
        """Note what a try settled of a batch; returns whether that changed what is parked."""
        self.mourn(dead)
        now = time.time()
        if work.rerun is not None and work.slot is not None:
            work.rerun.settle(work.slot, endings(work, delivered, now), parked, dead)
            return self.advance_rerun(work.rerun, whole=True)
        if work.slot is not None:
            late = endings(work, delivered, now) if work.reason else ()
            self._window.settle(work.slot, now, delivered=delivered, parked=parked, dead=dead, late=late)
            if parked or dead or time.monotonic() > self._noted + LAZY:
                return self.note()
            change = self._window.advance(now)
            return change is not None and self._commit(change, whole=True)
        late = endings(work, delivered, now)
        settled = len(delivered) + len(parked) + len(dead)
        self.reviving -= settled
        return settled > 0 and self._commit(self._window.revive(late, parked, dead), whole=True)

    def leave_out_parked(self, filtered: Sequence[int], dead: Sequence[DeadLetter]) -> None:
        """Note which parked events the steps of today leave out, and which they fail on."""
        if filtered or dead:
            self.mourn(dead)
            self._commit(self._window.revive(dead=dead, filtered=filtered))

    def advance_rerun(self, rerun: Rerun, *, whole: bool = False) -> bool:
        """Move a replay over what is settled of it, and commit that; returns whether it changed what is parked."""
        advanced = rerun.advance(self.progress, time.time())
        if advanced is None:
            return False
        self._window.progress, change = advanced
        return self._commit(change, whole=whole)

    def keep(self, *replays: Replay, forgotten: Sequence[int] = ()) -> None:
        """Commit replays as they are."""
        self._commit(Change(replays=replays, forgotten=forgotten))

    def turn(self, state: State) -> None:
        """Note that it delivers, or does not."""
        self._window.progress = replace(self.progress, state=state)
        self._commit(Change())

    def bound(self, until: int) -> None:
        """Note where it ends."""
        self._window.progress = replace(self.progress, until=until)
        self._commit(Change())

    def replay(self, letters: Sequence[DeadLetter], per_second: float, wait: float) -> None:
        """Park dead letters, due one after the other at this rate after `wait` seconds."""
        self.letters_moved += 1
        progress, count = self.progress, len(letters)
        self._window.progress = replace(progress, dead=progress.dead - count, parked=progress.parked + count)
        now = time.time()
        parked = [reborn(letter, now + wait + index / per_second, now) for index, letter in enumerate(letters)]
        self._commit(Change(parked=parked, undead=[letter.position for letter in letters]))

    def postpone(self, parked: Sequence[Parked]) -> None:
        """Change when parked events are due."""
        self._commit(Change(parked=parked))

    def discard(self, letters: Sequence[DeadLetter]) -> None:
        """Forget dead letters; their count stays."""
        self.letters_moved += 1
        now = time.time()
        gone = [discarded(letter, now) for letter in letters]
        self._commit(Change(undead=[letter.position for letter in letters], endings=gone))

    def _commit(self, change: Change, *, whole: bool = False) -> bool:
        """Keep progress and change; and the sink's positions, if they are those of what is settled.

        Returns whether that changed what is parked.
        """
        if whole and self._marks:
            change, self._marks = replace(change, marks=self._marks), {}
        self._books.commit(self.progress, change)
        if not change.parked:
            return bool(change.unparked)
        self.due = min(self.due, *(one.due for one in change.parked))
        return True

    def mourn(self, letters: Sequence[DeadLetter]) -> None:
        """Say in the log what was given up on."""
        for letter in letters:
            if letter.kind == "expired":
                continue  # said of all together
            self.wrong(letter.reason)
            log.warning(
                "dead letter", subscription=self._name, event_id=letter.event.id, kind=letter.kind, reason=letter.reason
            )

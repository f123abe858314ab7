"""The replays of one subscription: one after the other, what is past is put on the agenda again, at its rate.

They take what is left over: what is new is tried first, and the subscription's own rate has something to spare before
anything past is tried.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import anyio
import structlog
from msgspec.structs import replace

from router.agenda import Agenda
from router.bell import Bell
from router.books import Books
from router.breaker import Rate
from router.errors import Retry, RouterError
from router.journal.replay import Replay
from router.match import BadPattern
from router.plugin import Step
from router.preparation import cut, prepare
from router.rerun import Past, Rerun
from router.retry import Policy
from router.tally import Tally
from router.work import Work

READ = 512
"""Positions that are gone through at a time."""
ROUNDS = 2
"""Batches for each call in flight that are out at once, at most."""
SMOOTH = 0.25
"""Seconds' worth of events that are handed out at once, at most."""
KEPT = 20
"""Replays that are over and still known."""

log = structlog.get_logger("delivery")


class Replaying:
    """Feeds the replay that runs. They are kept in the journal: only what is out of them is known here."""

    def __init__(self, tally: Tally, bell: Bell, steps: Sequence[Step], policy: Policy, books: Books) -> None:
        self._tally = tally
        self._bell = bell
        self._steps = steps
        self._policy = policy
        self._books = books
        self._agenda = Agenda()
        self._reruns: dict[int, Rerun] = {}

    @property
    def all(self) -> Sequence[Replay]:
        """All that are known, as they are now."""
        return self._books.replays()

    def holds(self, position: int) -> bool:
        """Say whether the event at a position is under way."""
        return any(rerun.holds(position) for rerun in self._reruns.values())

    def begin(self, replay: Replay) -> None:
        """Add a replay behind those that are not over."""
        over = [one.number for one in self.all if one.state != "running"]
        forgotten = over[: max(0, len(over) + 1 - KEPT)]
        self._tally.keep(replay, forgotten=forgotten)
        self._bell.ring()

    def stop(self, number: int, note: str = "") -> None:
        """Stop a replay where it is; raises `RouterError` if it is over."""
        replay = self._named(number)
        if replay.state != "running":
            raise RouterError(f"replay {number} is {replay.state} already")
        stopped = replace(replay, state="stopped", ended=time.time(), note=note)
        rerun = self._reruns.get(number)
        if rerun is not None:
            rerun.close(stopped, self._agenda.drop(rerun))
        self._tally.keep(stopped)
        self._bell.ring()

    def resume(self, number: int, per_second: float | None) -> None:
        """Go on with a replay that was stopped, perhaps at another rate; raises `RouterError` if it was not."""
        replay = self._named(number)
        if replay.state != "stopped":
            raise RouterError(f"replay {number} is {replay.state}: only one that was stopped can go on")
        resumed = replace(replay, state="running", ended=None, note="", per_second=per_second or replay.per_second)
        if rerun := self._reruns.pop(number, None):
            rerun.void = True
        self._tally.keep(resumed)
        self._bell.ring()

    def reset(self) -> None:
        """Forget what is out: it will be taken again."""
        self._reruns.clear()

    async def run(self, agenda: Agenda) -> None:
        """Go on until cancelled."""
        self._agenda = agenda
        while True:
            rerun = self._current()
            if rerun is None:
                await self._bell.wait()
                continue
            try:
                await self._go(rerun)
            except BadPattern as error:  # the decoder knows other fields than when it was begun
                note = f"its match no longer has a meaning: {error}"
                log.error("a replay stopped", number=rerun.replay.number, reason=note)  # noqa: TRY400 - it says all
                self.stop(rerun.replay.number, note)

    def _current(self) -> Rerun | None:
        """Return the one that runs, or begin with the next."""
        running = {one.number: one for one in self.all if one.state == "running"}
        self._reruns = {n: rerun for n, rerun in self._reruns.items() if n in running or rerun.open}
        for rerun in self._reruns.values():  # no other yet, or the same event might be with the destination twice
            return None if rerun.closed else rerun
        for number, replay in running.items():
            return self._reruns.setdefault(number, Rerun(replay))
        return None

    async def _go(self, rerun: Rerun) -> None:
        """Go through a replay until it is stopped, or all of it is settled."""
        rate = Rate(rerun.replay.per_second)
        size = max(1, min(self._policy.batch * self._policy.in_flight, int(rerun.replay.per_second * SMOOTH)))
        head = self._books.head() if self._policy.single else 0
        while not rerun.closed and self._tally.progress.position < head:
            await self._bell.wait(SMOOTH)  # what a crash left of what is new comes first, or nobody knows what is there
        while not rerun.closed and rerun.taken < rerun.replay.end:
            letters, started = self._tally.letters_moved, anyio.current_time()
            past = await self._books.past(rerun.replay, rerun.taken, READ)
            await anyio.sleep(anyio.current_time() - started)  # others have half of the time, however little is wanted
            for part in past.parts(size):
                await self._wait_turn(rerun, rate, len(part.events))
                if self._policy.single and part.events:
                    await self._wait_alone(rerun)
                if rerun.closed or letters != self._tally.letters_moved:
                    break  # what was read is no longer so
                self._hand_out(rerun, part)
        while rerun.open and not rerun.closed:
            await self._bell.wait()

    async def _wait_turn(self, rerun: Rerun, rate: Rate, events: int) -> None:
        """Wait until so many events may go out, or the replay is stopped."""
        limit = ROUNDS * self._policy.in_flight * self._policy.batch
        while not rerun.closed and events and (rerun.open >= limit or self._tally.progress.state != "active"):
            await self._bell.wait()
        now = anyio.current_time()
        ready = now + rate.wait(events, now)
        while not rerun.closed and (now := anyio.current_time()) < ready:
            await self._bell.wait(ready - now)

    async def _wait_alone(self, rerun: Rerun) -> None:
        """Wait until nothing else is out, and all is on disk that was.

        A sink that keeps its positions knows what a crash left beyond them by its order, which is that of what is new.
        """
        while not rerun.closed:
            while not rerun.closed and (rerun.open or not self._tally.idle or self._tally.reviving):
                await self._bell.wait(SMOOTH)
            try:
                await self._books.flush()
            except Retry:  # the journal cannot write now
                await self._bell.wait(1.0)
                continue
            if self._tally.idle and not self._tally.reviving:
                return

    def _hand_out(self, rerun: Rerun, part: Past) -> None:
        """Put what the steps leave of a part on the agenda."""
        prepared = prepare(self._steps, Work(None, part.positions, part.events, time.time(), rerun=rerun))
        self._tally.mourn(prepared.dead)
        stretch = rerun.take(part, prepared.work.positions, prepared.dead)
        for work in cut(self._policy, replace(prepared.work, slot=stretch)):
            self._agenda.add(work)
        self._tally.advance_rerun(rerun)
        self._bell.ring()

    def _named(self, number: int) -> Replay:
        replay = next((one for one in self.all if one.number == number), None)
        if replay is None:
            raise RouterError(f"no replay {number} (`router replay CONFIG` lists them)")
        return replay

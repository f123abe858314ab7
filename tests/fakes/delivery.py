"""What one subscription's delivery is tested with: a sink that fails as told, and a feed and journal in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from router.breaker import BreakerPolicy
from router.delivery import Delivery
from router.event import Batch, Event
from router.journal import Change, DeadLetter, Ending, Parked, Progress, Span
from router.journal.conformance import event
from router.journal.replay import Replay
from router.plugin import Sink, Step
from router.rerun import Past
from router.retry import Policy
from router.routed import Chunk

ONE = Policy()
BREAKER = BreakerPolicy()


class Scripted(Sink, frozen=True, kw_only=True):
    """Fails as its script says, call by call; records what it was given and when."""

    script: list[Exception | None] = []
    calls: list[tuple[float, list[str]]] = []
    answer: Callable[[Batch], Exception | None] | None = None
    takes: float = 0.0

    async def deliver(self, batch: Batch) -> None:
        self.calls.append((anyio.current_time(), [e.id for e in batch]))
        await anyio.sleep(self.takes)
        error = self.answer(batch) if self.answer else self.script.pop(0) if self.script else None
        if error:
            raise error

    @property
    def batches(self) -> list[list[str]]:
        return [ids for _, ids in self.calls]


class Books:
    """A feed of chunks, and what is committed; `journal` is what replays find, by position."""

    def __init__(self, *chunks: Chunk) -> None:
        self.chunks = list(chunks)
        self.progress = Progress(position=1, since=1, pattern="p")
        self.letters: list[DeadLetter] = []
        self.waiting: dict[int, Parked] = {}
        self.rewound: list[int] = []
        self.marked: dict[str, int] = {}
        self.journal: dict[int, Event] = {}
        self.spans: list[Span] = []
        self.endings: list[Ending] = []
        self.jobs: dict[int, Replay] = {}
        self.wake = anyio.Event()
        """Set it after adding chunks to books that are in use."""

    def head(self) -> int:
        return max(self.journal, default=0) + 1

    async def flush(self) -> None:
        await anyio.lowlevel.checkpoint()

    def replays(self) -> Sequence[Replay]:
        return list(self.jobs.values())

    async def past(self, replay: Replay, position: int, limit: int) -> Past:
        await anyio.lowlevel.checkpoint()
        return self.look(replay, position, limit)

    def look(self, replay: Replay, position: int, limit: int) -> Past:
        kept = [p for p in sorted(self.journal) if position <= p < replay.end][:limit]
        if not kept:
            return Past(replay.end, replay.end, (), ())
        wanted = [p for p in kept if p not in self.waiting]
        waiting = [p for p in kept if p in self.waiting]
        letters = [letter.position for letter in self.letters]
        end = kept[-1] + 1 if len(kept) == limit else replay.end
        return Past(kept[0], end, wanted, [self.journal[p] for p in wanted], letters, waiting)

    def last(self, size: int) -> int:
        return max(1, self.head() - size)

    async def expired(self, keep: int) -> Sequence[DeadLetter]:
        await anyio.lowlevel.checkpoint()
        return [one for one in self.letters if one.kind == "expired"][: -keep or None]

    def marks(self) -> Mapping[str, int]:
        return dict(self.marked)

    def rewind(self, position: int) -> None:
        self.rewound.append(position)

    async def parked(self, limit: int) -> Sequence[Parked]:
        return sorted(self.waiting.values(), key=lambda p: (p.due, p.position))[:limit]

    async def take(self, limit: int) -> Chunk:
        while not self.chunks:
            await self.wake.wait()
            self.wake = anyio.Event()
        return self.chunks.pop(0)

    def commit(self, progress: Progress, change: Change) -> None:
        again = [one.position for one in change.parked if change.replays]
        assert not self.waiting.keys() & again
        for replay in change.replays:
            assert replay.balance == 0
            assert min(replay.filtered, replay.waiting, replay.gone, replay.left) >= 0
            self.jobs[replay.number] = replay
        for number in change.forgotten:
            del self.jobs[number]
        for position in change.unparked:
            del self.waiting[position]
        self.waiting |= {one.position: one for one in change.parked}
        self.letters = [d for d in self.letters if d.position not in change.undead] + list(change.dead)
        assert progress.covered == progress.counted
        assert progress.parked == len(self.waiting)
        assert progress.dead >= len(self.letters) == len({letter.position for letter in self.letters})
        self.progress = progress
        self.marked.update(change.marks)
        self.spans += change.spans
        self.endings += change.endings


def chunk(first: int, names: str, unwanted: int = 0) -> Chunk:
    events = [event(name.encode()) for name in names]
    return Chunk(first + len(events) + unwanted, range(first, first + len(events)), events)


def ids(names: str) -> list[str]:
    return [event(name.encode()).id for name in names]


def delivery(sink: Sink, books: Books, policy: Policy = ONE, steps: Sequence[Step] = ()) -> Delivery:
    return Delivery("d/s", sink, steps, policy, BREAKER, books.progress, books)


@asynccontextmanager
async def running(subject: Delivery) -> AsyncGenerator[Delivery]:
    with anyio.fail_after(10_000_000):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(subject.run)
            yield subject
            tasks.cancel_scope.cancel()

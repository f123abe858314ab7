"""Dispatch: each committed segment is matched once, and offered to the subscriptions that want some of it.

A subscription that keeps up is fed from memory, a bounded ring of routed segments. One that falls out of the
ring reads the journal at its own pace and rejoins (`router.scan`): at once if it is only a little behind, else in
spare time. Neither costs the other anything: what nobody wants costs one memo look-up, whatever the number of
subscriptions.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence

import anyio

from router.journal import Segment
from router.routed import Chunk, Routed, Wanted, joined, route
from router.scan import Read, Scan
from router.spare import AtOnce, SpareTime

RING_EVENTS = 20_000
RING_BYTES = 64 * 2**20
NEAR = 5 * RING_EVENTS
"""Events that a subscription may be behind and still catch up before anything else; beyond, it does in spare time."""


class Feed:
    """What one subscription has yet to take: chunks in memory while it keeps up, else a place in the journal.

    `pace` is in seconds: what is taken from memory waits that long since the last time for company, up to a whole
    batch. It delays nothing that comes alone, and nobody's answer waits for it.
    """

    def __init__(self, position: int, pace: float = 0.0) -> None:
        self.index = 0
        """Which route it belongs to."""
        self.position = position
        """Everything below was handed out."""
        self.live = False
        """Whether it is fed from memory."""
        self.far = False
        """Whether it is so far behind that it can wait; until it is live again."""
        self.until = sys.maxsize
        """Nothing from here on is handed out: a subscription that goes has only what was there when it was told to."""
        self.chunks: deque[Chunk] = deque()
        self._pace = pace
        self._taken = -math.inf
        self._waiting = 0
        self._wake = anyio.Event()

    def offer(self, chunk: Chunk) -> None:
        """Queue a chunk for a feed that is live."""
        self.chunks.append(chunk)
        self._waiting += len(chunk.events)
        self._wake.set()

    @property
    def settled(self) -> bool:
        """Whether it has taken all that it wants up to the head."""
        return self.live and not self.chunks

    def fall_behind(self) -> None:
        """Forget what is in memory; it will be read from the journal."""
        self.live = False
        self.chunks.clear()
        self._waiting = 0
        self._wake.set()

    def take(self, limit: int) -> Chunk:
        """Take the first chunk, joined with those behind it while they fit."""
        chunks = [self.chunks.popleft()]
        count = len(chunks[0].events)
        while self.chunks and count + len(self.chunks[0].events) <= limit:
            chunks.append(self.chunks.popleft())
            count += len(chunks[-1].events)
        chunk = joined(chunks)
        self._waiting -= count
        self.position = chunk.end
        return chunk

    async def wait_offered(self, limit: int) -> None:
        """Wait until there is something to do: a chunk that is worth taking, or no longer live."""
        if self.live and not self.chunks:
            self._wake = anyio.Event()
            await self._wake.wait()
        if self._pace:
            rest = self._taken + self._pace - anyio.current_time()
            if rest > 0 and self.live and self._waiting < limit:
                await anyio.sleep(rest)
            self._taken = anyio.current_time()


class Dispatch:
    """Follows the journal from `head` on; `wanted` says which routes an event goes to, by their indices.

    `read` is the journal's, for the feeds that lag. Feed i belongs to route i.
    """

    def __init__(
        self,
        wanted: Wanted,
        feeds: Sequence[Feed],
        head: int,
        read: Read,
        ring_events: int = RING_EVENTS,
    ) -> None:
        self._ring_events = ring_events
        self.head = head
        self._near = Scan(read, wanted, AtOnce())
        self._far = Scan(read, wanted, SpareTime(lambda: self.head))
        self.replace(wanted, feeds)

    def replace(self, wanted: Wanted, feeds: Sequence[Feed]) -> None:
        """Route by other matches from now on, to these feeds; a feed that goes on keeps its place.

        What is in memory was routed by the old ones: feeds that have not taken it read it from the journal.
        """
        self._wanted = wanted
        self._near.replace(wanted)
        self._far.replace(wanted)
        self._feeds = feeds
        self._ring: deque[Routed] = deque()
        self._size = 0
        for index, feed in enumerate(feeds):
            waiting = bool(feed.chunks)
            if feed.live and not waiting:
                feed.position = self.head
            feed.fall_behind()
            feed.index = index
            feed.live = feed.position >= self.head

    def __call__(self, segment: Segment) -> None:
        """Route a segment that was just committed."""
        routed = route(segment.first, segment.events, map(self._wanted, segment.events))
        self._ring.append(routed)
        self._size += routed.size
        self.head = segment.end
        for index in routed.groups:
            if self._feeds[index].live:
                self._feeds[index].offer(routed.chunk(index))
        self._trim()

    def _trim(self) -> None:
        """Drop what the ring has no room for; a feed that still had it in memory falls behind."""
        ring = self._ring
        while len(ring) > 1 and (self.head - ring[0].first > self._ring_events or self._size > RING_BYTES):
            gone = ring.popleft()
            self._size -= gone.size
            for index in gone.groups:
                feed = self._feeds[index]
                if feed.live and feed.chunks and feed.chunks[0].end <= gone.end:
                    feed.fall_behind()

    async def next(self, feed: Feed, limit: int) -> Chunk:
        """Return the feed's next chunk, waiting until there is one; it may hold no event that is wanted.

        Chunks that wait in memory are joined up to about `limit` events.
        """
        while True:
            if feed.position >= feed.until:
                await anyio.sleep_forever()
            elif feed.live:
                await feed.wait_offered(limit)
                if feed.chunks:
                    return _before(feed.take(limit), feed.until)
            elif not self._rejoin(feed):
                return _before(await self._catch_up(feed, limit), feed.until)

    def rewind(self, feed: Feed, position: int) -> None:
        """Start over from a position that is still in the journal."""
        feed.fall_behind()
        feed.position = position

    def _rejoin(self, feed: Feed) -> bool:
        """Feed it from memory again, if the ring still has all that it did not take."""
        first = self._ring[0].first if self._ring else self.head
        if feed.position < first:
            return False
        feed.live, feed.far = True, False
        for routed in self._ring:
            if routed.end > feed.position:
                chunk = routed.chunk(feed.index, feed.position)
                if chunk.events:
                    feed.offer(chunk)
        return True

    async def _catch_up(self, feed: Feed, limit: int) -> Chunk:
        feed.far = feed.far or self.head - feed.position > NEAR
        chunk = await (self._far if feed.far else self._near).take(feed, limit)
        feed.position = chunk.end
        return chunk


def _before(chunk: Chunk, until: int) -> Chunk:
    """Leave out what lies from a position on."""
    return chunk if chunk.end <= until else chunk.between(0, until)

"""What the daemon says of itself: the answer of `GET /status`, and what `router status` prints."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from router.journal import Statistics
from router.latency import Latencies

WITHHELD = "withheld (ask with the token of `admin: token:`, or on a loopback address where there is none)"
"""Stands for a text that may quote what a destination answered."""


class FrontStatus(msgspec.Struct, frozen=True):
    """A front process of a source; `pid` is 0 while there is none. `deaths`: how often it ended and was replaced."""

    pid: int
    ready: bool
    deaths: int


class SourceStatus(msgspec.Struct, frozen=True):
    """A source: messages taken in since the start, how many of them nobody could decode, and what it counted itself.

    `workers` are its front processes, if it has any. `last_error` was at `last_error_at` (Unix seconds), and is gone as
    soon as it works again.
    """

    ready: bool
    received: int
    counts: dict[str, int]
    last_error: str = ""
    undecodable: int = 0
    workers: tuple[FrontStatus, ...] = ()
    last_error_at: float = 0.0


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """A subscription: `journalled = delivered + filtered + parked + dead + pending`, since its pattern took effect.

    `in_flight` events are under way (they count as pending); `attempts` and `failures` are calls to the sink
    since the start, `concurrency` how many may be under way at once;
    `failures_by` says what was answered (a status, `no answer`, or `refused` by the sink itself). `last_error` was at
    `last_error_at` (Unix seconds), and is gone as soon as a call works. The next parked event is due at `next_due`, and
    the breaker lets the next call through in `breaker_seconds`.
    `live` says whether it keeps up with intake or reads the journal; `matched` events were taken since the start, and
    calls took `call_seconds`. The oldest pending event is stored since `oldest_pending_seconds`, 0 if nothing is
    pending; up to a second after a backlog is gone it may say more.
    """

    journalled: int
    delivered: int
    filtered: int
    parked: int
    dead: int
    pending: int
    in_flight: int
    attempts: int
    failures: int
    state: str
    breaker: str
    concurrency: int
    live: bool
    last_error: str
    matched: int = 0
    oldest_pending_seconds: float = 0.0
    call_seconds: Latencies = Latencies()
    replaying: int = 0
    """Positions that its replays have yet to go through."""
    draining: bool = False
    """Whether it was removed, and goes as soon as it has delivered what it had."""
    alarm: bool = False
    """Whether its oldest pending event has waited for longer than its `alarm_after`, or it is held."""
    failures_by: dict[str, int] = {}
    last_error_at: float = 0.0
    next_due: float = 0.0
    breaker_seconds: float = 0.0

    @property
    def balance(self) -> int:
        """What is missing (or too much) among the parts; 0 when the books balance."""
        return self.journalled - self.delivered - self.filtered - self.parked - self.dead - self.pending


class OrphanStatus(msgspec.Struct, frozen=True):
    """What is kept of a subscription that is not in the config: what it had not delivered when it was taken out."""

    pending: int
    parked: int
    dead: int


class Status(msgspec.Struct, frozen=True):
    """The whole daemon; `log_dropped` lines of its log were given to nobody, who did not read them.

    `orphans` are the subscriptions that the state knows and the config does not.
    """

    ready: bool
    journal: Statistics
    undecodable: int
    sources: dict[str, SourceStatus]
    subscriptions: dict[str, SubscriptionStatus]
    log_dropped: int = 0
    orphans: dict[str, OrphanStatus] = {}
    stopping: bool = False

    def without_texts(self) -> Status:
        """Return it as anyone may see it: of what went wrong only that it did, for texts may quote anything."""
        return replace(
            self,
            journal=replace(self.journal, failing=_withheld(self.journal.failing)),
            sources={name: replace(one, last_error=_withheld(one.last_error)) for name, one in self.sources.items()},
            subscriptions={
                name: replace(one, last_error=_withheld(one.last_error)) for name, one in self.subscriptions.items()
            },
        )


def _withheld(text: str) -> str:
    return text and WITHHELD

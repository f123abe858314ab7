"""What the daemon says of itself: the answer of `GET /status`, and what `router status` prints."""

from __future__ import annotations

import msgspec

from router.journal import Statistics


class SourceStatus(msgspec.Struct, frozen=True):
    """A source: messages stored since the start, and what it counted itself."""

    ready: bool
    received: int
    counts: dict[str, int]
    last_error: str = ""


class SubscriptionStatus(msgspec.Struct, frozen=True):
    """A subscription: `journalled = delivered + filtered + parked + dead + pending`, since its pattern took effect.

    `in_flight` events are under way (they count as pending); `attempts` and `failures` are calls to the sink
    since the start, `concurrency` how many may be under way at once;
    `live` says whether it keeps up with intake or reads the journal.
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


class Status(msgspec.Struct, frozen=True):
    """The whole daemon."""

    ready: bool
    journal: Statistics
    undecodable: int
    sources: dict[str, SourceStatus]
    subscriptions: dict[str, SubscriptionStatus]

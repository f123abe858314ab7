"""What became of a mail's results: the answer of `GET /explain`, and what `router explain` prints."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Fate: TypeAlias = Literal[
    "invisible", "filtered", "pending", "under way", "parked", "delivered", "dead", "earlier", "unknown"
]
"""Where an event is on its way to one subscription.

`invisible`: its department may not see the account. `under way`: taken from the journal, and tried, or waiting for a
try, or delivered before others that are not. `earlier`: settled before the present match took effect, so that
nothing is known of it. `unknown`: the daemon has not run with this subscription yet.
"""


class Way(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event and one subscription: its fate, and why, in a sentence.

    `ahead` counts the journal's events before it, from the mark below which all is settled. It was delivered between
    `earliest` and `latest`. `attempts` are its tries; the others are of those that failed: the destination's `status`,
    when it was tried, and when it will be (`due`). Times are Unix seconds.
    """

    subscription: str
    fate: Fate
    text: str
    ahead: int | None = None
    attempts: int | None = None
    status: int | None = None
    first_try: float | None = None
    last_try: float | None = None
    due: float | None = None
    earliest: float | None = None
    latest: float | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """An event, `received` in Unix seconds by a source; `event` is its flat JSON.

    `kept` is false where the journal has let go of it, and only a subscription that failed on it still has it.
    """

    position: int
    received: float
    source: str
    kept: bool
    event: msgspec.Raw
    ways: tuple[Way, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The events that a key names, newest first, of those from `tail` to below `head`; `more`: there are others."""

    key: str
    tail: int
    head: int
    more: bool
    found: tuple[Found, ...]

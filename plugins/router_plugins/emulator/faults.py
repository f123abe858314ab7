"""Faults to order: what a consumer must live with, made to happen when it is wanted."""

from __future__ import annotations

from random import Random
from typing import Annotated

import msgspec

FARTHEST = 100
"""Places that a queue's message falls behind at most."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often each fault happens, as a share of 1; none by default.

    `duplicates`: a push is made once more although it was answered, a queue's message can be received once more
    although it was deleted. `reordering`: a push is held back for up to a second, a queue's message falls up to a
    hundred places behind. `expired_handles`: a delete finds its lease over. `errors`: a request is answered 500 and not
    carried out. `lost_answers`: a request is carried out, and the connection closed without an answer.
    `slow`: seconds before every answer. `clock_skew`: seconds that the service's clock is ahead, in requests'
    dates as in its own.
    """

    duplicates: Share = 0
    reordering: Share = 0
    expired_handles: Share = 0
    errors: Share = 0
    lost_answers: Share = 0
    slow: Seconds = 0
    clock_skew: float = 0


def happens(share: float, random: Random) -> bool:
    """Say whether a fault of this share happens this time."""
    return bool(share) and random.random() < share

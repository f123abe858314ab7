"""A replay: a range of the journal that a subscription is past, and that goes to its destination once more."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

ReplayState: TypeAlias = Literal["running", "stopped", "done"]


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A range of positions, from `first` to before `end`, and how far it was gone through: to before `position`.

    `position - first = delivered + parked + dead + filtered + waiting + gone`. Those parked or dead are among the
    subscription's from then on. `filtered`: not wanted, by the subscription's match and steps of today or by the
    replay's own `match` (as in a config). `waiting`: parked already, and left to their next try. `gone`: no longer in
    the journal. `per_second` events are tried at most. Times are Unix seconds; `note` says why it stopped by itself.
    """

    number: int
    first: int
    end: int
    position: int
    per_second: float
    begun: float
    match: dict[str, Any] | None = None
    state: ReplayState = "running"
    ended: float | None = None
    note: str = ""
    delivered: int = 0
    parked: int = 0
    dead: int = 0
    filtered: int = 0
    waiting: int = 0
    gone: int = 0

    @property
    def left(self) -> int:
        """How many positions are still to be gone through."""
        return self.end - self.position

    @property
    def balance(self) -> int:
        """What is missing (or too much) among the parts; 0 when the books balance."""
        said = self.delivered + self.parked + self.dead + self.filtered + self.waiting + self.gone
        return self.position - self.first - said

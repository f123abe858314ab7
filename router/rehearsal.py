"""A rehearsal of a replay: what it would deliver, counted and sampled from the journal, and nothing is sent.

It goes by the config as the file has it now, so that a new match or new steps can be tried on recorded traffic before
the daemon is told of them. Reads beside a daemon that may be running.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from router.config.model import Config
from router.config.plan import subscriptions
from router.errors import Reject, RouterError
from router.event import Event
from router.hint import unknown_subscription
from router.intake import event_of
from router.journal import Held, Inspection
from router.journal.seek import seek_now
from router.match import ALWAYS, Condition, Routes
from router.plugin import Step
from router.steps import apply

Pulse = Callable[[int, int], object]
"""Told now and then how many positions were looked at, and of how many."""


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay of positions from `first` to before `end` would do.

    `events` would go out, `filtered` are not wanted, steps fail on `failing`, and `waiting` are parked already.
    `samples` are the first events as they would go out, flat JSON.
    """

    subscription: str
    first: int
    end: int
    tail: int
    events: int
    filtered: int
    failing: int
    waiting: int
    samples: tuple[msgspec.Raw, ...]


class _Count:
    """Counts what would become of events, and keeps the first of those that would go out."""

    def __init__(self, steps: Sequence[Step], samples: int) -> None:
        self.events = self.filtered = self.failing = self.waiting = 0
        self.samples: list[msgspec.Raw] = []
        self._steps = steps
        self._wanted = samples

    def add(self, event: Event, *, matched: bool, parked: bool) -> None:
        """Note an event, by whether it is wanted, and whether it waits for its next try anyway."""
        out = apply(self._steps, event) if matched else None
        if out is None:
            self.filtered += 1
        elif parked:
            self.waiting += 1
        elif isinstance(out, Reject):
            self.failing += 1
        else:
            self.events += 1
            if len(self.samples) < self._wanted:
                self.samples.append(msgspec.Raw(out.json()))


def rehearse(
    config: Config,
    name: str,
    *,
    since: float,
    until: float | None,
    match: Condition = ALWAYS,
    samples: int = 3,
    pulse: Pulse = lambda _done, _all: None,
) -> Rehearsal:
    """Go through a range (Unix seconds); raises `RouterError` without a journal or such a subscription. Blocks."""
    planned = {one.name: one for one in subscriptions(config)}
    if name not in planned:
        raise RouterError(unknown_subscription(name, planned))
    one = planned[name]
    wanted = Routes([one.route], config.decoder).wanted
    count = _Count(one.subscription.steps, samples)
    with config.journal.inspect(Path(config.state), partial(event_of, config.decoder)) as journal:
        tail, progress = journal.tail, journal.progress.get(name)
        past = progress.position if progress else journal.head
        first = seek_now(tail, past, since, journal.stored_at)
        end = max(first, past if until is None else seek_now(tail, past, until, journal.stored_at))
        parked = journal.held.get(name, Held({}, {})).parked
        for position, event in _between(journal, first, end, pulse):
            matched = bool(wanted(event)) and match.matches(event)
            count.add(event, matched=matched, parked=position in parked)
    return Rehearsal(
        subscription=name,
        first=first,
        end=end,
        tail=tail,
        events=count.events,
        filtered=count.filtered,
        failing=count.failing,
        waiting=count.waiting,
        samples=tuple(count.samples),
    )


def _between(journal: Inspection, first: int, end: int, pulse: Pulse) -> Iterator[tuple[int, Event]]:
    """Yield the events of a range with their positions."""
    for segment in journal.segments(first) if first < end else ():
        if segment.first >= end:
            return
        pulse(segment.first - first, end - first)
        for position, event in enumerate(segment.events, segment.first):
            if first <= position < end:
                yield position, event

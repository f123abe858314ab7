"""Two configs on the same recorded traffic: what each subscription would get by the one and by the other.

Reads the journal of the new config, beside a daemon that may be running; nothing is delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec

from router.config.model import Config
from router.config.plan import Planned, subscriptions
from router.errors import Reject
from router.event import Event
from router.intake import event_of
from router.journal.seek import seek_now
from router.match import Routes
from router.steps import apply

SAMPLES = 3
"""Events that are shown of each kind of difference."""

Pulse = Callable[[int, int], object]
"""Told now and then how many positions were looked at, and of how many."""


class Difference(msgspec.Struct):
    """What one subscription gets by both configs, `changed` ones of these in another form, and by one of them alone.

    `samples` are event ids of the journal, by the name of the count that they belong to.
    """

    subscription: str
    both: int = 0
    changed: int = 0
    only_old: int = 0
    only_new: int = 0
    samples: dict[str, list[str]] = msgspec.field(default_factory=dict[str, list[str]])

    def count(self, event: Event, old: Event | None, new: Event | None) -> None:
        """Count an event by its forms."""
        if old is not None and new is not None:
            self.both += 1
            if old is not new and old.json() != new.json():
                self.changed += 1
                self._sample("changed", event)
        elif old is not None:
            self.only_old += 1
            self._sample("only_old", event)
        elif new is not None:
            self.only_new += 1
            self._sample("only_new", event)

    def _sample(self, kind: str, event: Event) -> None:
        some = self.samples.setdefault(kind, [])
        if len(some) < SAMPLES:
            some.append(event.id)


class _Side:
    """One config: what it makes of an event for each subscription."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._planned = subscriptions(config)
        self._routes = Routes([one.route for one in self._planned], config.decoder)

    @property
    def names(self) -> list[str]:
        return [one.name for one in self._planned]

    def forms(self, event: Event) -> dict[str, Event]:
        wanted: Iterator[Planned] = (self._planned[index] for index in self._routes.wanted(event))
        forms = {one.name: apply(one.subscription.steps, event) for one in wanted}
        return {name: form for name, form in forms.items() if form is not None and not isinstance(form, Reject)}

    def decoded(self, event: Event) -> Event:
        return event_of(self._config.decoder, event.message, event.source, event.id)


def compare(
    old: Config, new: Config, *, since: float | None = None, pulse: Pulse = lambda _done, _all: None
) -> list[Difference]:
    """Go through the journal from a moment on (Unix seconds); raises `RouterError` without a journal. Blocks."""
    before, after = _Side(old), _Side(new)
    found = {name: Difference(name) for name in dict.fromkeys([*before.names, *after.names])}
    with new.journal.inspect(Path(new.state), partial(event_of, new.decoder)) as journal:
        tail, head = journal.tail, journal.head
        first = tail if since is None else seek_now(tail, head, since, journal.stored_at)
        for segment in journal.segments(first) if first < head else ():
            pulse(segment.first - first, head - first)
            for position, event in enumerate(segment.events, segment.first):
                if position >= first:
                    olds = before.forms(event if old.decoder == new.decoder else before.decoded(event))
                    news = after.forms(event)
                    for name in {**olds, **news}:
                        found[name].count(event, olds.get(name), news.get(name))
    return list(found.values())

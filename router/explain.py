"""What became of one mail (promise P5): its results in the journal, and the way of each through every subscription.

The journal has no index over what people ask for, so that intake pays nothing: its bytes are searched, newest
first, and only what holds the key in some form is decoded. When an event was delivered is known to within a second,
and to within a minute when it is an hour ago; exactly, with the number of tries, if it took more than one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from router.admin.explanation import Explanation, Found, Way
from router.config.model import Config
from router.config.plan import Planned, subscriptions
from router.errors import Reject, RouterError
from router.event import UNDECODABLE, Event
from router.intake import event_of
from router.journal import FIRST, DeadLetter, Ending, Inspection, Parked, Progress, Span, Trouble
from router.journal.search import folded
from router.match import text_of, why_not
from router.plugin import Step, is_id
from router.running import Live
from router.steps import apply, renamed

Pulse = Callable[[], object]
"""Called again and again during a search; what it raises ends it."""


def explain(
    config: Config, key: str, *, limit: int, live: Mapping[str, Live] | None = None, pulse: Pulse = lambda: None
) -> Explanation:
    """Explain the newest results, up to `limit`, that a key names.

    The key is an event id, or the exact text of any field (env_id, Message-ID with or without its angle brackets) or of
    a transport attribute; one with an `@`, as the recipient, in any case; last, the id that `mask` gave an event.
    Raises `RouterError` without a journal or a key. Blocks: it reads the whole journal, about two million events a
    second.
    """
    key = key.encode("utf-8", "replace").decode().strip().removeprefix("<").removesuffix(">").strip()
    if not key:
        raise RouterError("an empty key names nothing (an event id, env_id, Message-ID or recipient)")
    restore = partial(event_of, config.decoder)
    with config.journal.inspect(Path(config.state), restore) as journal:
        report = _Report(config, journal, live or {})
        told = _told(report, journal, key, limit, pulse)
        if not told.found and (own := _own_id(config, journal, key.lower(), pulse)):
            told = msgspec.structs.replace(_told(report, journal, own, limit, pulse), key=key)
        return told


def _told(report: _Report, journal: Inspection, key: str, limit: int, pulse: Pulse) -> Explanation:
    found: list[Found] = []
    for position, event, kept in _events(journal, key, pulse):
        if len(found) == limit:
            return report.explanation(key, found, more=True)
        found.append(report.found(position, event, kept=kept))
    return report.explanation(key, found, more=False)


def _own_id(config: Config, journal: Inspection, name: str, pulse: Pulse) -> str | None:
    """Return the journal's id of the event that a subscription's steps give this one; it takes a try for each event."""
    if not is_id(name):
        return None
    rows: list[list[Step]] = []
    for one in subscriptions(config):
        row = [step for step in one.subscription.steps if step.renames]
        rows += [row] if row and row not in rows else []
    return journal.named(lambda own: any(renamed(steps, own) == name for steps in rows), pulse) if rows else None


def _events(journal: Inspection, key: str, pulse: Pulse) -> Iterator[tuple[int, Event, bool]]:
    """Yield what the key names, with its position and whether the journal still has it."""
    for position, event in journal.find(key, pulse):
        if _names(key, event):
            yield position, event, True
    left: set[int] = set()
    for trouble in journal.troubles(key, journal.tail):
        if trouble.position not in left and _names(key, trouble.event):
            left.add(trouble.position)
            yield trouble.position, trouble.event, False


def _names(key: str, event: Event) -> bool:
    """Say whether the key is the event's id, or the text of one of its fields or attributes."""
    if key.lower() == event.id:
        return True
    if event.type == UNDECODABLE:
        return True  # its bytes hold the key, and nobody knows where a field begins
    plain: dict[str, Any] = msgspec.to_builtins(event.fields)
    values = {*map(str, plain.values()), *plain.get("extra", {}).values(), *event.message.attributes.values()}
    sought = folded(key)
    return any(folded(value).strip().removeprefix("<").removesuffix(">") == sought for value in values)


class _Report:
    """Tells the ways of events through the subscriptions of a config."""

    def __init__(self, config: Config, journal: Inspection, live: Mapping[str, Live]) -> None:
        self._planned = subscriptions(config)
        self._account = config.decoder.account
        self._journal = journal
        self._live = live

    def explanation(self, key: str, found: list[Found], *, more: bool) -> Explanation:
        tail, head = self._journal.tail, self._journal.head
        return Explanation(key=key, tail=tail, head=head, more=more, found=tuple(found))

    def found(self, position: int, event: Event, *, kept: bool) -> Found:
        return Found(
            position=position,
            received=event.received,
            source=event.source,
            kept=kept,
            event=msgspec.Raw(event.json()),
            ways=(*(self._way(planned, position, event) for planned in self._planned), *self._orphaned(position)),
        )

    def _orphaned(self, position: int) -> Iterator[Way]:
        """Tell of those that are not in the config and hold the event; what they want of it is not known."""
        for name in sorted(self._journal.progress.keys() - {planned.name for planned in self._planned}):
            progress = self._journal.progress[name]
            if trouble := self._journal.trouble(name, position):
                way = _of_trouble(name, trouble)
                yield msgspec.structs.replace(way, text=f"not in the config; {way.text}")
            elif progress.position <= position < progress.end(self._journal.head):
                text = "not in the config any more, and not settled before; it is kept until that is forgotten"
                yield Way(subscription=name, fate="pending", text=text)

    def _way(self, planned: Planned, position: int, event: Event) -> Way:
        trouble = self._journal.trouble(planned.name, position)
        if trouble is not None:
            return _of_trouble(planned.name, trouble)
        if unwanted := self._unwanted(planned, event):
            return unwanted
        say = partial(Way, subscription=planned.name)
        live = self._live.get(planned.name)
        progress = live.progress if live else self._journal.progress.get(planned.name)
        if progress is None:
            return say(fate="unknown", text="the daemon has not run with this subscription yet")
        if not progress.settled(position):
            return _pending(planned.name, live or Live(progress, progress.position), position)
        if position < progress.since:
            text = f"it came before position {progress.since}, where the present match took effect"
            return say(fate="earlier", text=text)
        return self._settled(planned, progress, position, event)

    def _unwanted(self, planned: Planned, event: Event) -> Way | None:
        """Say why an event does not go to a subscription, if it does not."""
        decoded = event.type != UNDECODABLE
        account = text_of(event, self._account) if decoded else ""
        if not planned.route.sees(account, decoded=decoded):
            whose = f"the account `{account}`" if account else "what has no account"
            return Way(subscription=planned.name, fate="invisible", text=f"its department may not see {whose}")
        if reason := why_not(planned.route.condition, event):
            return Way(subscription=planned.name, fate="filtered", text=f"its match does not hold: {reason}")
        return None

    def _settled(self, planned: Planned, progress: Progress, position: int, event: Event) -> Way:
        say = partial(Way, subscription=planned.name)
        left = event
        for step in planned.subscription.steps:
            result = apply([step], left)
            name = type(step).__name__.lower()
            if result is None:
                return say(fate="filtered", text=f"its step `{name}` left it out")
            if isinstance(result, Reject):
                return say(fate="dead", text=f"its step `{name}` failed on it, and it was discarded: {result.reason}")
            left = result
        way = self._delivered(planned.name, progress, position, event)
        return (
            way if left.id == event.id else msgspec.structs.replace(way, text=f"{way.text}; its id there is {left.id}")
        )

    def _delivered(self, name: str, progress: Progress, position: int, event: Event) -> Way:
        """Say when it was delivered, as far as that is known; or that it was discarded, which is recorded likewise."""
        record = self._journal.delivered(name, position)
        above = progress.settled(position)
        if isinstance(above, Span) and not isinstance(record, Ending):
            record = above  # what else there is tells of a delivery before it
        if isinstance(record, Ending):
            return _of_ending(name, record)
        known = self._journal.endings(name, progress.since)
        discarded = progress.dead - self._journal.dead_from(name, FIRST) - known.discarded
        doubt = f", unless it is one of {discarded} dead letters that were discarded" if discarded > 0 else ""
        say = partial(Way, subscription=name, fate="delivered")
        if record is None:
            return say(text=f"delivered{doubt} (when is not recorded)")
        begun = max(record.begun, min(event.received, record.ended))
        say = partial(say, earliest=begun, latest=record.ended)
        between = f"delivered between {_moment(begun)} and {_moment(math.ceil(record.ended))}{doubt}"
        if position < known.complete:
            return say(text=f"{between} (it may have taken more than one try)")
        return say(text=f"{between}, at the first try", attempts=1)


def _pending(name: str, live: Live, position: int) -> Way:
    progress = live.progress
    ahead = progress.pending(position)
    waits = {
        "paused": "; the subscription is paused",
        "gone": "; its destination is gone (410) until it is resumed",
        "held": "; the subscription is held, since its destination refuses everything",
    }
    where = f"at most {ahead} events are before it{waits.get(progress.state, '')}"
    if live.breaker != "closed":
        where += f"; its breaker is {live.breaker}: {live.last_error}"
    if position < live.taken:
        return Way(subscription=name, fate="under way", text=f"taken for delivery; {where}", ahead=ahead)
    return Way(subscription=name, fate="pending", text=f"waits in the journal; {where}", ahead=ahead)


def _of_ending(name: str, ending: Ending) -> Way:
    when, tries = _moment(ending.at), "1 try" if ending.tries == 1 else f"{ending.tries} tries"
    said = partial(Way, subscription=name, attempts=ending.tries)
    if ending.fate == "discarded":
        text = f"given up on after {tries}, and discarded {when}: {ending.reason}"
        return said(fate="dead", text=text)
    before = f"; before that: {ending.reason}" if ending.reason else ""
    text = f"delivered {when}, after {tries}{before}"
    return said(fate="delivered", text=text, earliest=ending.at, latest=ending.at)


def _of_trouble(name: str, trouble: Trouble) -> Way:
    said = partial(
        Way,
        subscription=name,
        attempts=trouble.attempts,
        status=trouble.status,
        first_try=trouble.first_try,
        last_try=trouble.last_try,
    )
    tries = f"after {trouble.attempts} tries"
    match trouble:
        case Parked(due=due):
            return said(fate="parked", text=f"next try {_moment(due)}, {tries}: {trouble.reason}", due=due)
        case DeadLetter(kind=kind):
            return said(fate="dead", text=f"{kind} {tries}, last {_moment(trouble.last_try)}: {trouble.reason}")
        case _:
            raise TypeError(type(trouble))


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}Z"

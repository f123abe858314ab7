"""Which events of the journal a command is about: a range of positions, of time, and a match in the config's syntax."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

import msgspec
import typer

from router.config.moment import moment as moment_of
from router.config.nodes import BadText, read
from router.config.problem import BadConfig, Problems
from router.config.specials import condition
from router.config.walk import Walk
from router.event import Event
from router.journal import Inspection
from router.match import ALWAYS, Condition, Vocabulary
from router.plugin import Decoder


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Events from position `first` to `last`, received from `since` until before `until` (Unix seconds), that match."""

    first: int
    last: int
    since: float
    until: float
    match: Condition = ALWAYS

    def pick(self, journal: Inspection) -> Iterator[tuple[int, Event]]:
        """Yield the events with their positions, in order."""
        for segment in journal.segments(self.first):
            if segment.first > self.last:
                return
            for position, event in enumerate(segment.events, segment.first):
                if self.first <= position <= self.last and self.includes(event):
                    yield position, event

    def includes(self, event: Event) -> bool:
        """Say whether an event is of that time and matches."""
        return self.since <= event.received < self.until and self.match.matches(event)


def moment(text: str, zone: tzinfo = UTC) -> float:
    """Return the Unix seconds of `2026-11-24T08:00Z` (of `zone` if it names none) or of `2h`, so long ago."""
    try:
        return moment_of(text, time.time(), zone)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def when(text: str) -> float | str:
    """Return what the daemon is told of a moment: Unix seconds, or the text itself where its zone is the daemon's."""
    seconds = moment(text)
    try:
        local = datetime.fromisoformat(text).tzinfo is None
    except ValueError:  # so long ago
        return seconds
    return text if local else seconds


def matching(text: str, decoder: Decoder) -> Condition:
    """Return the condition of a `match:` as a config has it, such as `{region: cn-hangzhou}`."""
    try:
        root = read(text)
        problems = Problems("--match", root)
        found = condition(Vocabulary(decoder))(Walk(problems, os.environ, {}), root, ())
        problems.raise_any()
    except (BadText, BadConfig) as error:
        raise typer.BadParameter("; ".join(str(error).splitlines()), param_hint="--match") from error
    assert isinstance(found, Condition)
    return found

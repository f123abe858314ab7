"""`router replay`: deliver again what is past."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import tzinfo
from typing import Annotated, Literal

import msgspec
import typer
from rich.progress import Progress

from router.admin.controls import ReplayChoice, ReplayOrder, ReplayReport
from router.cli import tables
from router.cli.ask import ask, ask_for, named, read
from router.cli.dead import mapping
from router.cli.options import taking
from router.cli.selection import matching, moment, when
from router.cli.whereabouts import Place, Reach, place_of
from router.errors import RouterError
from router.rehearsal import Rehearsal, rehearse

INTERRUPTED = 130
PER_SECOND = 100.0
ONE_AT_A_TIME = "one of --since, --stop and --resume at a time"
Many = list[ReplayReport]


class Span(msgspec.Struct, frozen=True):
    """Which events of the past: those stored since and before a moment, that match; empty where nothing is said."""

    since: str
    until: str
    match: str

    def times(self, zone: tzinfo) -> tuple[float, float | None]:
        """Return since and until in Unix seconds; `zone` is that of times which name none."""
        return moment(self.since, zone), moment(self.until, zone) if self.until else None


def span_of(
    since: Annotated[
        str, typer.Option(help="What was stored since: 2026-11-24T08:00Z, or 2h ago. Begins a replay.")
    ] = "",
    until: Annotated[str, typer.Option(help="What was stored before.")] = "",
    match: Annotated[str, typer.Option(help="Only what matches, too, as in a config: '{region: cn-hangzhou}'.")] = "",
) -> Span:
    """Say what is replayed."""
    return Span(since, until, match)


Running = Literal["", "stop", "resume"]
"""What is to be done with a replay that there is."""


def turn_of(
    stop: Annotated[bool, typer.Option("--stop", help="Stop the replays of SUB, or the one with --number.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the last replay of SUB that was stopped, or with --number.")
    ] = False,
) -> Running:
    """Say what is to be done with a replay that there is."""
    if stop and resume:
        raise typer.BadParameter(ONE_AT_A_TIME)
    return "stop" if stop else "resume" if resume else ""


@taking(place=place_of, span=span_of, turn=turn_of)
def replay(
    place: Place,
    subscription: Annotated[str, typer.Argument(help="department/name", metavar="[SUB]")] = "",
    *,
    span: Span,
    per_second: Annotated[
        float | None, typer.Option(min=0.001, help="Events that are tried in a second at most; 100 if not said.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count, and show some; by the config as the file has it now.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is over, and show progress.")] = False,
    turn: Running,
    number: Annotated[int | None, typer.Option(help="Which replay to stop, to resume or to wait for.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Deliver again what a subscription is past, through its match and steps of today, under the same ids.

    Without --since, --stop or --resume it lists replays. A replay goes on after a restart of the daemon, leaves the
    way to what is new, and waits while the subscription is paused or its destination is down. Parked events are left to
    their next try, dead letters of the range get another life. Files get the events appended again; a crash
    meanwhile may append the last of them twice, but nothing that is new.

    Example: router replay config/full.yaml sales/resend --since 2026-11-24T08:00Z --until 2h --per-second 50
    """
    _check(span, turn, subscription, dry_run=dry_run, wait=wait)
    if dry_run:
        _show_rehearsal(_rehearsed(place, subscription, span), per_second or PER_SECOND, as_json=as_json)
        return
    reach = place.reach()
    path = named(reach, "replays", subscription) if subscription else "/replays"
    reports = _told(reach, path, span, turn, number, per_second)
    _show(reports, as_json=as_json)
    if wait and not _wait_over(reach, path, reports[0].replay.number if span.since else number):
        raise typer.Exit(1)


def _check(span: Span, turn: Running, subscription: str, *, dry_run: bool, wait: bool) -> None:
    """Refuse options that do not go together."""
    if span.since and turn:
        raise typer.BadParameter(ONE_AT_A_TIME)
    if (span.since or turn or wait) and not subscription:
        raise typer.BadParameter("which subscription? (router replay CONFIG DEPT/NAME ...)")
    if not span.since and (span.until or span.match or dry_run):
        raise typer.BadParameter("--until, --match and --dry-run go with --since")


def _told(
    reach: Reach, path: str, span: Span, turn: Running, number: int | None, per_second: float | None
) -> Sequence[ReplayReport]:
    """Begin a replay, or turn one, or only look; return what the daemon says of it."""
    if span.since:
        since, until = when(span.since), when(span.until) if span.until else None
        match = mapping(span.match) if span.match else None
        order = ReplayOrder(since=since, until=until, match=match, per_second=per_second or PER_SECOND)
        return [read(ReplayReport, reach, ask(reach, "POST", path, order))]
    if turn:
        choice = ReplayChoice(number=number, per_second=per_second if turn == "resume" else None)
        return read(Many, reach, ask(reach, "POST", f"{path}/{turn}", choice))
    return ask_for(Many, reach, path)


def _show(reports: Sequence[ReplayReport], *, as_json: bool) -> None:
    if as_json:
        for report in reports:
            tables.say_json(msgspec.json.encode(report))
        return
    columns = ("subscription", "state", "done", "of", "delivered", "parked", "dead", "filtered", "waiting", "gone")
    table = tables.table("number", *columns, "a second", "note")
    for report in reports:
        one = report.replay
        counts = [str(getattr(one, column)) for column in columns[4:]]
        said = "; ".join(text for text in (report.waits, report.note or one.note) if text)
        passed, every = str(one.position - one.first), str(one.end - one.first)
        row = (str(one.number), report.subscription, one.state, passed, every, *counts)
        table.add_row(*row, f"{one.per_second:g}", said)
    tables.show(table)


def _wait_over(reach: Reach, path: str, number: int | None) -> bool:
    """Show progress until the replay (or all) is over; say whether none was stopped."""
    shown = Progress(disable=not sys.stderr.isatty(), console=tables.errors())
    try:
        with shown:
            bar = shown.add_task("replayed", total=None)
            while True:
                reports = ask_for(Many, reach, path)
                mine = [one.replay for one in reports if number in {None, one.replay.number}]
                done, every = sum(one.position - one.first for one in mine), sum(one.end - one.first for one in mine)
                shown.update(bar, completed=done, total=every)
                if shown.disable:
                    tables.tell(f"{done} of {every} positions")
                if all(one.state != "running" for one in mine):
                    return all(one.state == "done" for one in mine)
                time.sleep(1)
    except KeyboardInterrupt:
        tables.tell("it goes on without you: --stop stops it")
        raise typer.Exit(INTERRUPTED) from None


def _rehearsed(place: Place, subscription: str, span: Span) -> Rehearsal:
    loaded = place.load()
    condition = matching(span.match or "{}", loaded.decoder)
    since, until = span.times(loaded.decoder.zone())
    shown = Progress(disable=not sys.stderr.isatty(), console=tables.errors(), transient=True)
    with shown:
        bar = shown.add_task("reading", total=None)
        pulse: Callable[[int, int], object] = lambda done, every: shown.update(bar, completed=done, total=every)  # noqa: E731
        return rehearse(loaded, subscription, since=since, until=until, match=condition, pulse=pulse)


def _show_rehearsal(told: Rehearsal, per_second: float, *, as_json: bool) -> None:
    if as_json:
        tables.say_json(msgspec.json.encode(told))
        return
    if told.first >= told.end:
        raise RouterError(f"{told.subscription} is past nothing that was stored within that time")
    tables.say(
        f"{told.events} events would go out, {told.filtered} not; {told.waiting} are parked already, and the steps "
        f"fail on {told.failing} (positions {told.first} to {told.end - 1}; the journal begins at {told.tail}); "
        f"{told.events / per_second:.0f} s at {per_second:g} a second"
    )
    for sample in told.samples:
        tables.say_json(bytes(sample))

"""`router journal`: look into the journal, take out of it, check it and keep it small."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress

from router.admin.questions import LARGEST
from router.cli import tables
from router.cli.books import books
from router.cli.options import taking
from router.cli.selection import Selection, matching, moment
from router.cli.whereabouts import Asking, Place, place_of
from router.config import Config
from router.errors import RouterError
from router.event import Event, Message
from router.intake import event_of
from router.journal import FIRST, Inspection, private
from router.journal.inspection import is_damaged
from router.journal.report import CheckReport, Damage, Repair
from router.lines import line_of
from router.terminal import harmless, harmless_json

First = Annotated[int, typer.Option("--from", help="The first position.", min=FIRST, max=LARGEST)]
Last = Annotated[int | None, typer.Option("--to", help="The last position.", min=FIRST, max=LARGEST)]
Since = Annotated[str, typer.Option(help="Received since: 2026-11-24T08:00Z, or 2h for two hours ago.")]
Until = Annotated[str, typer.Option(help="Received before.")]
Match = Annotated[str, typer.Option(help="As in a config: '{type: Deliver:SendFailed, region: cn-hangzhou}'.")]

journal = typer.Typer(no_args_is_help=True, help="Look into the journal, check it, and keep it small.")


@journal.command(cls=Asking)
@taking(place=place_of)
def cat(
    place: Place,
    first: First = FIRST,
    last: Last = None,
    since: Since = "",
    until: Until = "",
    match: Match = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the messages as they came, as `export` writes them.")
    ] = False,
) -> None:
    """Print events as JSON lines, with their positions; also while the daemon runs.

    Example: router journal cat config/minimal.yaml --since 2h --match '{status: [2, 4]}'
    """
    loaded = books(place)
    selection = _selection(loaded, first, last, since, until, match)
    with _inspected(loaded) as found:
        damaged = _write(_printed, found, selection, raw=raw)
    _tell_damaged(damaged if raw else 0)


@journal.command(cls=Asking)
@taking(place=place_of)
def export(
    place: Place,
    file: Annotated[Path, typer.Argument(help="Where to write; must not exist yet.")],
    first: First = FIRST,
    last: Last = None,
    since: Since = "",
    until: Until = "",
    match: Match = "",
) -> None:
    """Write messages as they came, one a line, in a form that `router decode FILE` reads back.

    A message that is no line (it has line ends, or is empty) is `base64:` and its bytes in base64. The file appears
    when it is complete; its owner alone may read it.

    Example: router journal export config/minimal.yaml results.txt --since 2026-11-23 --until 2026-11-24
    """
    loaded = books(place)
    selection = _selection(loaded, first, last, since, until, match)
    if file.exists():
        raise RouterError(f"{file} is there already (name another file)")
    part = file.with_name(f"{file.name}.part")
    with _inspected(loaded) as found:
        try:
            with private.create(part) as out:
                damaged = _write(out.write, found, selection, raw=True)
                out.flush()
                os.fsync(out.fileno())
            part.rename(file)
        except FileExistsError as error:
            raise RouterError(f"{part} is there already (another export runs, or was broken off: remove it)") from error
        except OSError as error:
            part.unlink(missing_ok=True)
            raise RouterError(f"{file}: {error.strerror}") from error
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    _tell_damaged(damaged)


@journal.command(cls=Asking)
@taking(place=place_of)
def check(
    place: Place,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged rows aside; the daemon must be stopped.")
    ] = False,
    ids: Annotated[
        bool, typer.Option("--ids", help="Decode every event, too, and count those that would get another id today.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check every row: checksums, positions without gaps, and the books of the subscriptions.

    Exit code 1 if something is damaged, or was lost and a start had to go on without it (until a repair takes note of
    it), or if a repair had to leave something behind, which it names. It leaves
    positions as they are: damaged events are served as such, and their bytes are kept in `journal.aside.jsonl` in the
    state folder. A file that SQLite calls malformed, and a damaged WAL, are kept beside the new one.

    Example: router journal check config/minimal.yaml
    """
    loaded = books(place)
    state, identify = Path(loaded.state), partial(_identify, loaded) if ids else None
    report = loaded.journal.examine(state, identify)
    repaired = Repair(0)
    if repair and (report.lost or any(one.repairable for one in report.damage)):
        repaired = loaded.journal.repair(state)
        report = loaded.journal.examine(state, identify)
    if as_json:
        found = {
            "ok": not (report.damage or report.lost),
            "repaired": repaired.rows,
            "lost": repaired.lost,
            "report": report,
        }
        tables.say_json(msgspec.json.encode(found))
    else:
        _print(report, repaired)
    if report.damage or report.lost or repaired.lost:
        raise typer.Exit(1)


@journal.command(cls=Asking)
@taking(place=place_of)
def compact(place: Place) -> None:
    """Delete what is settled and older than the retention, and give the space back; the daemon must be stopped.

    Example: router journal compact config/minimal.yaml
    """
    loaded = place.load()  # whole: what is not named in it may lose what it has not delivered
    names = [f"{owner}/{name}" for owner, d in loaded.departments.items() for name in d.subscriptions]
    before, after = loaded.journal.compact(Path(loaded.state), names)
    tables.say(f"{before / 2**20:.1f} MiB before, {after / 2**20:.1f} MiB after")


def _selection(config: Config, first: int, last: int | None, since: str, until: str, match: str) -> Selection:
    return Selection(
        first=first,
        last=sys.maxsize if last is None else last,
        since=moment(since, config.decoder.zone()) if since else -math.inf,
        until=moment(until, config.decoder.zone()) if until else math.inf,
        match=matching(match or "{}", config.decoder),
    )


@contextmanager
def _inspected(config: Config) -> Generator[Inspection]:
    def restore(message: Message, source: str, name: str) -> Event:
        return event_of(config.decoder, message, source, name)

    with config.journal.inspect(Path(config.state), restore) as found:
        yield found


def _identify(config: Config, message: Message, source: str) -> str:
    return event_of(config.decoder, message, source).id


def _printed(line: bytes) -> object:
    """Print a line, harmless for a terminal if it goes to one."""
    if sys.stdout.isatty():
        line = harmless(line.decode(errors="surrogateescape").removesuffix("\n")).encode() + b"\n"
    return sys.stdout.buffer.write(line)


def _write(write: Callable[[bytes], object], found: Inspection, selection: Selection, *, raw: bool) -> int:
    """Write the events; returns how many of them are damaged. Raw, those are left out: nothing is there to write."""
    damaged = 0
    shown = Progress(
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty() or sys.stdout.isatty()
    )
    with shown:
        task = shown.add_task("reading", total=found.head - found.tail)
        for position, event in selection.pick(found):
            damaged += is_damaged(event)
            if not raw:
                write(b'{"position":%d,%b\n' % (position, harmless_json(event.json()).encode()[1:]))
            elif not is_damaged(event):
                write(line_of(bytes(event.raw)) + b"\n")
            shown.update(task, completed=position - found.tail)
    return damaged


def _tell_damaged(count: int) -> None:
    if count:
        raise RouterError(f"{count} damaged events were left out (see `router journal check`); all others were written")


def _print(report: CheckReport, repaired: Repair) -> None:
    lost = (*report.lost, *repaired.lost)
    if report.damage or lost:
        table = tables.table("positions", "problem", "repair")
        for one in report.damage:
            table.add_row(_positions(one), one.problem, "can be set aside" if one.repairable else "by hand")
        for one in lost:
            table.add_row(_positions(one), one.problem, "lost")
        tables.show(table)
    problems = len(report.damage) + len(report.lost)
    tables.say(f"{report.events} events: {f'{problems} problems' if problems else 'sound'}")
    for count, text in (
        (repaired.rows, "rows were set aside now"),
        (report.set_aside, "events were damaged or lost, and are set aside"),
        (report.renamed, "events would get another id from today's decoder; they keep theirs"),
    ):
        if count:
            tables.say(f"{count} {text}")


def _positions(damage: Damage) -> str:
    """Return the positions, if it has any."""
    return f"{damage.first}-{damage.last}" if damage.last else ""

"""`router demo`: the whole loop on this machine, reconciled."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
import typer

from router import RouterError
from router.cli import tables
from router_plugins.demo.run import Report, Settings, Snapshot, run

_BESIDE = Path(__file__).with_name("demo.yaml")
"""Where the wheel has config/demo.yaml."""
_IN_CLONE = Path(__file__).parents[3] / "config" / "demo.yaml"


def demo(
    results: Annotated[int, typer.Option(min=1, help="How many results the campaign has.")] = 20_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end, no more.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep output, state and logs in this empty folder.")] = None,
    kafka: Annotated[str, typer.Option(metavar="SERVERS", help="Add a Kafka subscription: HOST:PORT, ...")] = "",
    kills: Annotated[int, typer.Option(min=0, help="End the router with SIGKILL so often meanwhile.")] = 0,
) -> None:
    """Run emulator and router on this machine, send a campaign, and compare what was sent with what arrived.

    Exits 0 only if nothing is missing, nothing unexpected arrived, and `router verify` balances.

    Example: router demo --results 50000 --keep demo
    """
    folder = _folder(keep)
    settings = Settings(results=results, folder=folder, config=_config(), kafka=kafka, kills=kills)
    try:
        report = anyio.run(run, settings, _silent if as_json else _progress(results))
        if as_json:
            tables.say_json(msgspec.json.encode(report))
        else:
            _print(report)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if not report.ok:
        raise typer.Exit(1)


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="router-demo-"))
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise RouterError(f"--keep {keep}: the folder is not empty")
    except OSError as error:
        raise RouterError(f"--keep {keep}: {error.strerror}") from error
    return keep.absolute()


def _config() -> Path:
    return next(path for path in (_BESIDE, _IN_CLONE) if path.exists())


def _silent(_: Snapshot) -> None:
    pass


def _progress(results: int) -> Callable[[Snapshot], None]:
    """Show progress in one line on a terminal, and a line every two seconds elsewhere."""
    terminal = sys.stderr.isatty()
    started = last = time.monotonic()

    def show(now: Snapshot) -> None:
        nonlocal last
        moment = time.monotonic()
        if not terminal and moment - last < 2 and not now.finished:  # noqa: PLR2004 - seconds, see above
            return
        last = moment
        line = (
            f"{moment - started:6.1f} s  {results} results: {now.published} published, "
            f"{now.acknowledged} acknowledged, {now.pending} to deliver{', one webhook is down' if now.down else ''}"
        )
        sys.stderr.write(f"\r\x1b[K{line}" if terminal else f"{line}\n")
        sys.stderr.flush()

    return show


def _print(report: Report) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    columns = ("expected", "arrived", "missing", "duplicates", "unexpected")
    table = tables.table("subscription", *columns)
    for row in report.subscriptions:
        table.add_row(row.name, *(str(getattr(row, column)) for column in columns))
    tables.show(table)
    tables.say(
        f"{report.sent} results sent in {report.published} messages, {report.answered} answered, "
        f"{report.redelivered} pushes sent again, {report.kills} kills, {report.seconds} s; the journal "
        f"{'balances' if report.balanced else 'DOES NOT BALANCE'}: {'ok' if report.ok else 'FAILED'}"
    )

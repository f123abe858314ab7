"""Losses that are written down: `journal.lost.jsonl`, one a line, until a repair takes note of them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog
from msgspec.structs import replace

from router.journal.private import append_to
from router.journal.report import Damage

WRITTEN_DOWN = "journal.lost.jsonl"

log = structlog.get_logger("journal")


class Loss(msgspec.Struct, frozen=True):
    """What is lost: the positions from `first` to `last` (0: none that is known of), and what showed it.

    `at` is in Unix seconds; `kept` is what the damaged WAL was copied to.
    """

    at: float
    first: int
    last: int
    problem: str
    kept: str = ""

    @property
    def damage(self) -> Damage:
        """Say it as a check does."""
        when = datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        copied = f"; the damaged WAL is {self.kept}" if self.kept else ""
        what = "lost" if self.last else "the latest progress of subscriptions is lost"
        return Damage(self.first, self.last, f"{what}, as found at {when}: {self.problem}{copied}", repairable=False)


def write_down(state: Path, loss: Loss) -> None:
    """Write it down and say it; once, also where the start that found it was broken off."""
    said = "put the files back from a copy, if there is one" if loss.last else "events are delivered again"
    log.error(
        "the journal is damaged",
        problem=loss.problem,
        lost=f"positions {loss.first} to {loss.last}" if loss.last else "no events",
        kept=loss.kept,
        hint=f"{said}; `router journal check --repair` takes note",
    )
    before = losses(state)
    if before and replace(before[-1], at=0.0, kept="", problem="") == replace(loss, at=0.0, kept="", problem=""):
        return
    with append_to(state / WRITTEN_DOWN) as file:
        file.write(msgspec.json.encode(loss) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    sync(state)


def losses(state: Path) -> Sequence[Loss]:
    """Return what is written down, and nobody has taken note of yet."""
    try:
        lines = (state / WRITTEN_DOWN).read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    found: list[Loss] = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Loss))
        except msgspec.DecodeError:
            continue  # torn by a power cut: whoever wrote it looks, and writes, again
    return found


def take_note(state: Path) -> Sequence[Damage]:
    """Put away what is written down; returns it."""
    noted = losses(state)
    if noted:
        (state / WRITTEN_DOWN).rename(state / f"{WRITTEN_DOWN}.{time.time_ns()}")
        sync(state)
    return [one.damage for one in noted]


def lost_events(state: Path) -> int:
    """Return how many events are written down as lost."""
    return sum(one.last - one.first + 1 for one in losses(state) if one.last)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

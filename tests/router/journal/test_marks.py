"""A sink's own positions are kept as long as an event is that was delivered before they changed last."""

from __future__ import annotations

from pathlib import Path

from router.journal import Change, Progress
from router.journal.database import Database, Write
from router.journal.ledger import Ledger


def at(position: int) -> Progress:
    return Progress(position=position, since=1, pattern="", delivered=position - 1)


def write(database: Database, ledger: Ledger) -> None:
    database.write(Write(1, 0.0, b"", b"", ledger.take(), (), None))


def test_marks_go_with_the_events_that_were_delivered_before_they_changed_last(tmp_path: Path) -> None:
    """In memory and on disk; one that changed at the oldest event stays; a start in between makes no difference."""
    database = Database(tmp_path / "journal.db")
    ledger = Ledger(database.records)
    for position in (10, 20, 30):
        ledger.commit("a/x", at(position), Change(marks={f"day{position}": position, "all": position}), tail=1)
    write(database, ledger)
    ledger = Ledger(database.records)
    assert ledger.marks("a/x") == {"day10": 10, "day20": 20, "day30": 30, "all": 30}
    ledger.commit("a/x", at(31), Change(marks={"day30": 31}), tail=20)
    assert ledger.marks("a/x") == {"day20": 20, "day30": 31, "all": 30}
    write(database, ledger)
    assert Ledger(database.records).marks("a/x") == ledger.marks("a/x")
    ledger.commit("a/x", at(32), Change(marks={"all": 32}), tail=21)
    ledger.commit("a/x", at(33), Change(marks={"day20": 33}), tail=33)
    assert ledger.marks("a/x") == {"day20": 33}
    write(database, ledger)
    assert Ledger(database.records).marks("a/x") == {"day20": 33}
    database.close()


def test_marks_of_others_stay(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.db")
    ledger = Ledger(database.records)
    ledger.commit("a/x", at(10), Change(marks={"f": 1}), tail=1)
    ledger.commit("a/y", at(50), Change(marks={"g": 1}), tail=50)
    write(database, ledger)
    assert Ledger(database.records).marks("a/x") == {"f": 1}
    database.close()

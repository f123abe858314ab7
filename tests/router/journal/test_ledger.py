"""What the ledger lets go of: nothing that is not on disk yet decides what may be deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from router.journal import Change, Progress, Span
from router.journal.database import Database, Write
from router.journal.ledger import Ledger, Unwritten


def at(position: int, until: int = 0) -> Progress:
    return Progress(position=position, since=1, pattern="", delivered=position - 1, until=until)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(tmp_path / "journal.db")) as opened:
        yield opened


def write(database: Database, unwritten: Unwritten) -> None:
    database.write(Write(1, 0.0, b"", b"", unwritten, (), None))


def test_what_is_settled_counts_as_soon_as_it_is_written(database: Database) -> None:
    """What a subscription did with an event, parked it perhaps, is lost by a kill until then."""
    ledger = Ledger(database.records)
    ledger.commit("a/x", at(5), Change(), tail=1)
    ledger.commit("a/x", at(50), Change(), tail=1)
    assert ledger.settled == 5
    taken = ledger.take()
    assert ledger.settled == 50  # what is deleted with this commit is deleted with the progress
    ledger.put_back(taken)
    assert ledger.settled == 5
    write(database, ledger.take())
    assert (ledger.settled, Ledger(database.records).settled) == (50, 50)


def test_who_does_not_run_keeps_what_was_there_when_it_was_taken_out(database: Database) -> None:
    ledger = Ledger(database.records)
    ledger.commit("a/old", at(5, until=9), Change(), tail=1)
    ledger.commit("a/done", at(9, until=9), Change(), tail=1)
    ledger.commit("a/x", at(50), Change(), tail=1)
    ledger.activate(["a/x"])
    assert ledger.needed == {"a/old": 5, "a/x": 50}
    write(database, ledger.take())
    again = Ledger(database.records)
    assert again.settled == 5
    again.forget("a/old")
    assert again.settled == 50


def test_a_commit_that_failed_is_written_under_the_name_that_the_subscription_has_by_then(database: Database) -> None:
    ledger = Ledger(database.records)
    ledger.commit("a/x", at(5), Change(spans=[Span(1, 5, 1.0, 1.5)]), tail=1)
    ledger.commit("a/gone", at(7), Change(), tail=1)
    failed = ledger.take()
    ledger.rename("a/x", "a/y")
    ledger.forget("a/gone")
    ledger.put_back(failed)
    write(database, ledger.take())
    assert database.records.progress() == {"a/y": at(5)}
    assert database.deliveries.delivered("a/y", 3) == Span(1, 5, 1.0, 1.5)

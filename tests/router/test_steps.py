"""Steps: an event through all of them, in order."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from msgspec.structs import replace

from router import Event, Reject, Step
from router.steps import apply, renamed
from router.testing import make_event


class Hide(Step, frozen=True, kw_only=True):
    """Makes another event, as anybody would, and thinks of nothing that is remembered with it."""

    def apply(self, event: Event) -> Event:
        return replace(event, fields=replace(event.fields, account="hidden"))


def test_the_json_that_another_subscription_had_made_of_an_event_does_not_go_out_of_a_step_that_changed_it() -> None:
    event = make_event(account="me@example.com")
    assert b"me@example.com" in event.json()
    changed = apply([Hide()], event)
    assert isinstance(changed, Event)
    assert b"hidden" in changed.json()
    assert b"me@example.com" not in changed.json()
    assert b"me@example.com" in event.json()


class Rename(Step, frozen=True, kw_only=True):
    """Gives an event the id that it is told to, and says so."""

    renames: ClassVar[bool] = True

    to: Any

    def apply(self, event: Event) -> Event:
        return replace(event, id=self.renamed(event.id))

    def renamed(self, name: str) -> Any:
        return self.to


class RenameUntold(Rename, frozen=True, kw_only=True):
    """Does the same, and says nothing of it."""

    renames: ClassVar[bool] = False


def test_a_step_that_says_so_may_give_an_event_another_id_and_its_json_has_that() -> None:
    event = make_event()
    changed = apply([Hide(), Rename(to="a" * 32), Hide()], event)
    assert isinstance(changed, Event)
    assert changed.id == "a" * 32 == renamed([Hide(), Rename(to="a" * 32)], event.id)
    assert event.id.encode() not in changed.json()
    assert event.id.encode() in event.json()


@pytest.mark.parametrize("name", ["", "a" * 31, "A" * 32, "g" * 32, "a" * 33, " " * 32, None, 7, b"a" * 32])
def test_an_id_that_no_journal_could_keep_is_refused(name: Any) -> None:
    refused = apply([Rename(to=name)], make_event())
    assert isinstance(refused, Reject)
    assert refused.reason.startswith("step Rename: it returned an event with another id")


def test_a_step_that_does_not_say_so_may_not() -> None:
    assert isinstance(apply([RenameUntold(to="a" * 32)], make_event()), Reject)
    assert renamed([RenameUntold(to="a" * 32)], "b" * 32) == "b" * 32

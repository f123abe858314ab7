"""Steps: an event through all of them, in order."""

from __future__ import annotations

from msgspec.structs import replace

from router import Event, Step
from router.steps import apply
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

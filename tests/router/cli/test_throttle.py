"""One line a second and kind, with a count of what was left out; a traceback once."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import structlog

from router.cli.throttle import Throttle, Tracebacks


def passed(throttle: Throttle, **fields: Any) -> dict[str, Any] | None:
    with suppress(structlog.DropEvent):
        return dict(throttle(None, "warning", fields))
    return None


def test_one_line_a_second_of_a_kind_says_how_many_were_left_out() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    said = {"event": "delivery failed", "subscription": "a/x"}
    assert passed(throttle, **said, events=1) == {**said, "events": 1}, "the first goes out at once"
    for number in range(100):
        now[0] += 0.005
        assert passed(throttle, **said, events=number) is None
        other = passed(throttle, event="delivery failed", subscription=f"a/{number}")
        assert other, "another subscription's is another kind"
    assert passed(throttle, event="alarm: an event waits for too long", subscription="a/x"), "as is another event"
    assert throttle.due(now[0]) == ([], True)
    now[0] = 1.5
    assert passed(throttle, **said, events=7) == {**said, "events": 7, "suppressed": 100}


def test_the_last_of_a_kind_goes_out_a_second_later_though_no_other_comes() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for number in range(4):
        passed(throttle, event="dead letter", subscription="a/x", event_id=number)
    now[0] = 1.0
    assert throttle.due(1.0) == (
        [("warning", {"event": "dead letter", "subscription": "a/x", "event_id": 3, "suppressed": 2})],
        True,
    )
    assert throttle.due(2.5) == ([], False)


def test_lines_about_nothing_in_particular_are_told_apart_by_their_texts() -> None:
    """All mistakes of a config that was not reloaded are said at once."""
    throttle = Throttle(lambda: 0.0)
    assert all(passed(throttle, event="the config was not reloaded", error=f"line {n}: wrong") for n in range(9))
    assert passed(throttle, event="the config was not reloaded", error="line 1: wrong") is None


def test_more_kinds_than_can_be_remembered_are_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.cli.throttle.KINDS", 10)
    throttle = Throttle(lambda: 0.0)
    assert all(passed(throttle, event=f"event {n}") for n in range(1000))


def fault(message: str) -> Exception:
    try:
        dict[str, int]()[message]
    except KeyError as error:
        return error
    raise AssertionError


def test_a_traceback_is_logged_once() -> None:
    tracebacks = Tracebacks()
    first, second = fault("a"), fault("b")
    said = {"event": "a plugin failed", "subscription": "a/x"}
    assert tracebacks(None, "error", {**said, "exc_info": first})["exc_info"] is first
    assert tracebacks(None, "error", {**said, "exc_info": second}) == {**said, "error": "KeyError: 'b'"}
    assert "exc_info" in tracebacks(None, "error", {**said, "subscription": "a/y", "exc_info": second})

"""Times with the name of a zone, as EventBridge and Java write them, are read by that zone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.event import Event
from router_plugins.directmail.moments import moment, zone_of

Decode = Callable[..., Event]

CLOCK = "2026-03-01T09:00:01"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (".149Asia/Shanghai", ".149000+08:00"),
        ("Asia/Shanghai", "+08:00"),
        (".149PRC", ".149000+08:00"),
        (".149GMT", ".149000+00:00"),
        (".149UTC", ".149000+00:00"),
        (".149Z", ".149000+00:00"),
        ("z", "+00:00"),
        (".149+08:00[Asia/Shanghai]", ".149000+08:00"),
        (".149+0800[Asia/Shanghai]", ".149000+08:00"),
        (".149[Asia/Shanghai]", ".149000+08:00"),
        ("Z[UTC]", "+00:00"),
        (".149000000+01:00[Europe/Berlin]", ".149000+01:00"),
        (" +0100", "+01:00"),
        ("+0100", "+01:00"),
        ("+01", "+01:00"),
        (" Asia/Tokyo", "+09:00"),
        ("Turkey", "+03:00"),
        ("asia/tokyo", "+09:00"),
        ("Etc/GMT-9", "+09:00"),
        ("GMT+9", "+09:00"),
        ("UTC+09:00", "+09:00"),
        ("gmt-0330", "-03:30"),
        ("America/Argentina/Buenos_Aires", "-03:00"),
        (".149000000-03:00[America/Argentina/ComodRivadavia]", ".149000-03:00"),
        (".149Mars/Base", ".149000-05:00"),
        ("CST", "-05:00"),
        ("GMT+99", "-05:00"),
        ("", "-05:00"),
    ],
)
def test_a_zone_is_read_by_its_name(written: str, expected: str) -> None:
    """A name that no zone has says nothing: the time is in the configured zone, not that of another field."""
    for clock in (CLOCK, CLOCK.replace("T", " ")):
        when = moment(clock + written, zone_of("-05:00"))
        assert when is not None
        assert when.isoformat() == CLOCK + expected


def test_a_named_zone_knows_its_summer() -> None:
    for text, offset in (("2026-07-01T09:00Europe/Berlin", "+02:00"), ("2026-01-01T09:00Europe/Berlin", "+01:00")):
        when = moment(text, zone_of("Asia/Shanghai"))
        assert when is not None
        assert when.isoformat()[-6:] == offset


@pytest.mark.parametrize(
    "zone",
    ["../../etc/passwd", "/etc/passwd", "Asia", "Asia/", "a\0b", "A" * 48, "[", "[]", "]", "//", "Asia/../Asia/Tokyo"],
)
def test_hostile_names_are_harmless(zone: str) -> None:
    when = moment(CLOCK + zone, zone_of("+08:00"))
    assert when is None or when.isoformat() == f"{CLOCK}+08:00"


@given(st.text(max_size=50), st.sampled_from(["+08:00", "Asia/Shanghai"]))
def test_no_text_behind_a_time_raises(text: str, zone: str) -> None:
    when = moment(CLOCK + text, zone_of(zone))
    assert when is None or when.tzinfo is not None


def test_events_are_dated_by_their_own_time(decode: Decode, cloud: dict[str, Any]) -> None:
    opened = cloud | {"type": "dm:Trace:Open", "time": "2026-03-01T09:00:01.149Asia/Tokyo"}
    assert decode(json.dumps(opened)).time.isoformat() == "2026-03-01T09:00:01.149000+09:00"
    cloud["data"]["deliver_time"] = "2024-04-29T11:07:12.149PRC"
    assert decode(json.dumps(cloud)).time.isoformat() == "2024-04-29T11:07:12.149000+08:00"


def test_the_name_of_a_zone_makes_no_other_id(decode: Decode, cloud: dict[str, Any]) -> None:
    first = decode(json.dumps(cloud)).id
    for zone in (".149Asia/Shanghai", "PRC", ".149+08:00[Asia/Shanghai]", " Asia/Shanghai", "+08", "GMT+8"):
        cloud["data"]["deliver_time"] = f"2024-04-29T11:07:12{zone}"
        assert decode(json.dumps(cloud)).id == first

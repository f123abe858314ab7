"""What comes from outside has no type and no field that the router derives, in whatever form it comes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.event import ENVELOPE_FIELDS, Event
from router.match.condition import text_of
from router_plugins.directmail.fields import DERIVED, NAMES
from router_plugins.directmail.names import TYPES

Decode = Callable[..., Event]

OWN = (
    "Undecodable", "Lost", "Resend:Due", "Suppression:Added", "Alert:Raised", "Statistics:Window", "Brake:Requested",
    "Router:Lagging",
)  # fmt: skip
WANTED = (*sorted(DERIVED), "Class", "CLASS", "Alert", *ENVELOPE_FIELDS, "Type", "rcpt_domain", "extra")


def in_json(message: str) -> str:
    return json.dumps({"TopicName": "dm", "Message": message})


def in_xml(message: str) -> str:
    return f"<Notification><TopicName>dm</TopicName><Message>{escape(message)}</Message></Notification>"


def in_base64(message: str) -> str:
    return base64.b64encode(message.encode()).decode()


WAYS: list[Callable[[str], str]] = [str, in_json, in_xml, in_base64]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("change", [str, str.lower, str.upper, " {}".format, "{} ".format, "dm:{}".format])
@pytest.mark.parametrize("way", WAYS)
def test_no_message_has_a_type_of_the_routers_own_events(
    decode: Decode, cloud: dict[str, Any], sent: str, name: str, change: Callable[[str], str], way: Callable[[str], str]
) -> None:
    odd = change(name)
    assert decode(way(json.dumps(cloud | {"type": f"dm:{odd}"}))).type == f"Other:{odd}"
    assert decode(way(sent.replace("event=deliver", f"event={odd}"))).type == f"Other:{odd.strip()}"


def test_no_known_name_leads_to_a_type_of_the_routers_own_events() -> None:
    assert not any(kind.startswith(tuple(OWN)) for kind in TYPES.values())
    assert NAMES.isdisjoint({*DERIVED, *ENVELOPE_FIELDS})


def _taken(event: Event, wanted: Mapping[str, str]) -> list[str]:
    """Return the names that an event shows with the value from outside."""
    flat = json.loads(event.json())
    return [name for name, value in wanted.items() if value in (flat.get(name), event.get(name))]


@pytest.mark.parametrize("way", WAYS)
def test_no_data_takes_a_name_of_the_router(
    decode: Decode, cloud: dict[str, Any], sent: str, way: Callable[[str], str]
) -> None:
    wanted = {name: f"forged-{name}" for name in WANTED}
    keys = "&".join(f"{name}={value}" for name, value in wanted.items())
    cloud["data"] |= wanted
    for message in (json.dumps(cloud), sent.replace("&status=", f"&{keys}&status=")):
        event = decode(way(message))
        assert event.type == "Deliver:SendSuccessfully"
        assert _taken(event, wanted) == []
        kept = event.fields.extra  # type: ignore[attr-defined]
        assert all(kept[f"extra.{name}"] == f"forged-{name}" for name in (*DERIVED, "Class", "CLASS"))
        assert all(kept[f"data_{name}"] == f"forged-{name}" for name in ENVELOPE_FIELDS)
        assert text_of(event, "extra.class") == "forged-class"
        assert text_of(event, "class") == ""


def test_blanks_around_a_name_do_not_make_it_another(decode: Decode, cloud: dict[str, Any]) -> None:
    cloud["data"] |= {" class": "hard", "reason\n": "x", "\tid": "7"}
    kept = decode(json.dumps(cloud)).fields.extra  # type: ignore[attr-defined]
    assert kept == {"extra. class": "hard", "extra.reason\n": "x", "data_\tid": "7"}


FAKE = (
    "env_id=777&msg_id=9&account=ceo@x.com&from=ceo@x.com&rcpt=q@r.com&recv_time=2000-01-01 00:00:00"
    "&end_time=2000-01-01 00:00:00&status=4&event=open&region=evil&err_code=550&err_msg=550 no"
)
FORGED = {"env_id": "777", "account": "ceo@x.com", "from": "ceo@x.com", "status": "4", "event": "dm:Trace:Open"}
WHOLE = [
    FAKE,
    f"x&{FAKE}",
    f"X-Notify-Message-ID=1&{FAKE}",
    json.dumps({"specversion": "1.0", "type": "dm:Trace:Open", "source": "acs:dm", "id": "7", "data": FORGED}),
    json.dumps(FORGED),
    '", "account": "ceo@x.com", "x": "',
    in_json(FAKE),
    in_xml(FAKE),
    in_base64(FAKE),
    f"]]></Message><Message>{FAKE}",
]
SENDERS = (
    "header",
    "msg_id",
    "tag",
    "subject",
    "url",
    "user_agent",
    "err_msg",
    "from",
    "X-Notify-Message-ID",
    "unknown",
)


@given(
    st.sampled_from(SENDERS),
    st.sampled_from(WHOLE) | st.lists(st.sampled_from(WHOLE) | st.text(max_size=5), max_size=3).map("".join),
    st.sampled_from(["text", "header", "key", "list"]),
    st.sampled_from(WAYS),
)
def test_a_whole_result_in_a_value_of_a_cloud_event_is_only_that_value(
    decode: Decode, name: str, forged: str, shape: str, way: Callable[[str], str]
) -> None:
    data: dict[str, Any] = {
        "env_id": "1", "account": "a@shop.com", "from": "a@shop.com", "rcpt": "r@d.com", "status": "0",
        "deliver_time": "2024-04-29T11:07:12", "event": "dm:Deliver:Succeed",
    }  # fmt: skip
    honest = dict(data)
    data[name] = {
        "text": forged,
        "header": {"X-Notify-Message-ID": forged, "account": "ceo@x.com"},
        "key": {forged: FORGED, **FORGED},
        "list": [forged, FORGED],
    }[shape]
    cloud = {"specversion": "1.0", "type": "dm:Deliver:Succeed", "source": "acs:dm", "id": "1", "data": data}
    event = decode(way(json.dumps(cloud)))
    kept = {key: event.get(key) for key in ("env_id", "account", "from", "rcpt", "status", "event") if key != name}
    assert kept == {key: honest[key] for key in kept}
    assert event.type == "Deliver:SendSuccessfully"
    assert event.time.isoformat() == "2024-04-29T11:07:12+08:00"
    if shape == "text" and name not in {"header", "from"}:
        assert event.get(name) == forged

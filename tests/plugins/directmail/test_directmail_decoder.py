"""The directmail decoder: types, times and ids, and no way to make it fail otherwise than by Undecodable."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import ConfigError, Undecodable
from router.event import ENVELOPE_FIELDS, Event, Message
from router_plugins.directmail.decoder import DirectMail
from router_plugins.directmail.fields import NAMES, RESERVED, Result
from router_plugins.directmail.identity import id_of_delivery

Decode = Callable[..., Event]
RECEIVED = datetime.fromtimestamp(1_700_000_000, UTC)


def test_it_is_found_by_its_yaml_name() -> None:
    (entry,) = entry_points(group="router.decoders", name="directmail")
    assert entry.load() is DirectMail


def test_it_speaks_only_of_fields_that_exist() -> None:
    assert DirectMail.account in NAMES
    assert NAMES.issuperset(DirectMail.narrow)
    assert NAMES.isdisjoint(ENVELOPE_FIELDS)
    assert RESERVED.issuperset(ENVELOPE_FIELDS)
    assert Result.__struct_fields__[:12] == (
        "env_id", "msg_id", "account", "from_", "rcpt", "recv_time", "end_time", "status", "event", "region",
        "err_code", "err_msg",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("event", "status", "canonical"),
    [
        ("deliver", "0", "Deliver:SendSuccessfully"),
        ("deliver", "2", "Deliver:SendFailed"),
        ("deliver", "3", "Deliver:SendFailed"),
        ("deliver", "4", "Deliver:SendFailed"),
        ("Deliver", "4", "Deliver:SendFailed"),
        ("deliver", "1", "Deliver:Unknown"),
        ("deliver", "", "Deliver:Unknown"),
        ("", "0", "Deliver:SendSuccessfully"),
        ("open", "0", "Trace:Open"),
        ("Deliver:Open", "0", "Trace:Open"),
        ("dm:Trace:Open", "0", "Trace:Open"),
        ("CLICK", "", "Trace:Click"),
        ("unsubscribe", "", "Feedback:UnSubscribe"),
        ("subscribe", "", "Feedback:Subscribe"),
        ("Deliver:SendFailed", "", "Deliver:SendFailed"),
        ("foo", "0", "Other:foo"),
    ],
)
def test_event_and_status_tell_the_type(decode: Decode, sent: str, event: str, status: str, canonical: str) -> None:
    text = sent.replace("event=deliver", f"event={event}").replace("status=0", f"status={status}")
    assert decode(text).type == canonical
    assert decode(text).get("status") == status


def test_every_canonical_type_is_its_own_name() -> None:
    assert all(DirectMail.types[canonical] == canonical for canonical in DirectMail.types.values())


# Times


@pytest.mark.parametrize(
    ("timezone", "expected"),
    [
        ("+08:00", "2017-04-14T11:44:48+08:00"),
        ("-0330", "2017-04-14T11:44:48-03:30"),
        ("+00:00", "2017-04-14T11:44:48+00:00"),
        ("Asia/Shanghai", "2017-04-14T11:44:48+08:00"),
        ("Europe/Berlin", "2017-04-14T11:44:48+02:00"),
        ("UTC", "2017-04-14T11:44:48+00:00"),
    ],
)
def test_a_time_without_zone_is_in_the_configured_zone(decode: Decode, sent: str, timezone: str, expected: str) -> None:
    DirectMail(timezone=timezone).check()
    assert decode(sent, timezone).time.isoformat() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-04-29T11:07:12", "2024-04-29T11:07:12+08:00"),
        ("2024-04-29T11:07:12.5", "2024-04-29T11:07:12.500000+08:00"),
        ("2024-04-29T11:07:12+02:00", "2024-04-29T11:07:12+02:00"),
        ("2024-04-29T11:07:12Z", "2024-04-29T11:07:12+00:00"),
        ("2024-04-29", "2024-04-29T00:00:00+08:00"),
        ("1714360032", "2024-04-29T11:07:12+08:00"),
        ("1714360032000", "2024-04-29T11:07:12+08:00"),
        ("", "2024-04-29T11:07:11+08:00"),
        ("yesterday", "2024-04-29T11:07:11+08:00"),
        ("2024-13-45 99:99:99", "2024-04-29T11:07:11+08:00"),
        ("0001-01-01 00:00:00", "2024-04-29T11:07:11+08:00"),
        ("9" * 5000, "2024-04-29T11:07:11+08:00"),
    ],
)
def test_the_end_time_counts_or_else_the_time_of_receipt(
    decode: Decode, cloud: dict[str, Any], text: str, expected: str
) -> None:
    cloud["data"]["deliver_time"] = text
    assert decode(json.dumps(cloud)).time.isoformat() == expected


def test_what_is_no_delivery_happened_when_somebody_did_it(decode: Decode, cloud: dict[str, Any]) -> None:
    cloud["type"] = "dm:Trace:Open"
    assert decode(json.dumps(cloud)).time.isoformat() == cloud["time"]
    cloud["data"]["operate_time"] = "2024-05-01T00:00:00"
    assert decode(json.dumps(cloud)).time.isoformat() == "2024-05-01T00:00:00+08:00"


def test_without_any_time_it_is_the_time_of_arrival(decode: Decode) -> None:
    for timezone in ("+08:00", "Asia/Shanghai"):
        time = decode("env_id=1&event=open", timezone).time
        assert time == RECEIVED
        assert time.utcoffset() is not None


@pytest.mark.parametrize(
    "timezone", ["", "8", "+8:00", "+25:00", "+08:60", "Mars/Base", "../etc/passwd", "/etc", "Asia", "a\0b"]
)
def test_a_zone_that_does_not_exist_is_refused(timezone: str) -> None:
    with pytest.raises(ConfigError, match="timezone"):
        DirectMail(timezone=timezone).check()


# Ids


def test_an_id_is_32_hex_digits(decode: Decode, sent: str, cloud: dict[str, Any]) -> None:
    for body in (sent, json.dumps(cloud), "env_id=1&event=open", json.dumps(cloud | {"type": "dm:Trace:Open"})):
        assert len(bytes.fromhex(decode(body).id)) == 16


def test_text_and_cloud_event_of_one_result_have_one_id(decode: Decode, sent: str, cloud: dict[str, Any]) -> None:
    text = (
        "env_id=600000092345678901&msg_id=m&account=a@b.c&from=a@b.c&rcpt=reader@Example.NET"
        "&recv_time=2024-04-29 11:07:11&end_time=2024-04-29 11:07:12&status=0"
        "&event=deliver&region=cn-hangzhou&err_code=250&err_msg=250 OK"
    )
    assert decode(text).id == decode(json.dumps(cloud)).id
    cloud["data"]["deliver_time"] += "+08:00"
    assert decode(text).id == decode(json.dumps(cloud)).id
    assert decode(sent).id != decode(text).id


def test_a_second_rule_publishes_the_same_id(decode: Decode, sent: str, cloud: dict[str, Any]) -> None:
    """A second rule gives a message of its own MessageId and time; the CloudEvent's id stays."""
    for message in (sent, json.dumps(cloud), json.dumps(cloud | {"type": "dm:Trace:Click"}), "env_id=1&event=open"):
        first, second = (
            json.dumps({"TopicName": f"rule{i}", "MessageId": str(i), "PublishTime": str(i), "Message": message})
            for i in range(2)
        )
        assert decode(first).id == decode(second).id == decode(message).id


@pytest.mark.parametrize(
    "change",
    [
        ("env_id=457323378", "env_id=457323377"),
        ("rcpt=abc", "rcpt=abd"),
        ("status=0", "status=4"),
        ("11:44:48", "11:44:49"),
        ("event=deliver", "event=open"),
    ],
)
def test_other_results_have_other_ids(decode: Decode, sent: str, change: tuple[str, str]) -> None:
    assert decode(sent).id != decode(sent.replace(*change)).id


def test_an_event_of_another_kind_is_known_by_its_cloud_event(decode: Decode, cloud: dict[str, Any]) -> None:
    """One mail is opened many times: those are not duplicates of each other."""
    cloud["type"] = "dm:Trace:Open"
    assert decode(json.dumps(cloud)).id != decode(json.dumps(cloud | {"id": "other"})).id
    assert decode(json.dumps(cloud)).id != decode(json.dumps(cloud | {"source": "other"})).id
    no_id = cloud | {"id": ""}
    assert decode(json.dumps(no_id)).id != decode(json.dumps(cloud)).id
    assert decode(json.dumps(no_id)).id == decode(json.dumps(no_id | {"time": "2024-04-29T11:07:14+08:00"})).id


def test_without_recipient_or_env_id_the_whole_text_is_the_key(decode: Decode, sent: str) -> None:
    for text in (sent.replace("rcpt=abc@abc.com", "rcpt="), sent.replace("env_id=457323378", "env_id=")):
        assert decode(text).id != decode(text.replace("77041400535408", "8")).id


END = "2017-04-14 11:44:48"
part = st.text(st.sampled_from("01 a@.&"), max_size=8)
parts = st.tuples(part, part, part)


@given(parts, parts)
@example(("1 5 x", "y", "0"), ("1", "x 1 y", "0"))
@example(("1", "a 5 b", "c"), ("1", "a", "b 1 c"))
def test_no_choice_of_parts_gives_the_id_of_other_parts(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    env_id, rcpt, status = one
    same = id_of_delivery(env_id, rcpt, status, END) == id_of_delivery(*other, END)
    assert same == (one == other)


# Attack

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


def outcome(decode: Decode, body: bytes) -> Event | str:
    """Return the event, or the reason why there is none; anything else that is raised fails the test."""
    try:
        return decode(body)
    except Undecodable as error:
        return error.reason


names = st.sampled_from([
    "specversion", "type", "source", "id", "time", "data", "TopicName", "Message", "header", "status", "rcpt", "env_id",
])  # fmt: skip


@given(
    st.binary(max_size=200)
    | st.text().map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.dictionaries(names, json_values, max_size=5).map(lambda value: json.dumps(value).encode())
    | st.dictionaries(names, json_values, max_size=5).map(
        lambda data: json.dumps({"specversion": "1.0", "type": "dm:Trace:Open", "data": data}).encode()
    )
    | st.binary(max_size=60).map(lambda tail: b"<Notification><Message>" + tail + b"</Message></Notification>")
    | st.binary(max_size=60).map(lambda tail: b"env_id=1&rcpt=" + tail)
)
def test_any_bytes_are_an_event_or_undecodable(decode: Decode, body: bytes) -> None:
    event = outcome(decode, body)
    if isinstance(event, str):
        assert event.isprintable()
        return
    assert event.raw is body
    assert event.time.utcoffset() is not None
    assert event == outcome(decode, body)
    assert json.loads(event.json())["id"] == event.id


@given(st.data())
def test_a_damaged_message_is_an_event_or_undecodable(decode: Decode, sent: str, data: st.DataObject) -> None:
    whole = sent.encode()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    assert outcome(decode, whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:])


def test_a_journalled_message_keeps_the_id_that_it_has() -> None:
    """A better decoder may give other ids; what was journalled is known by its old one."""
    decoder, message = DirectMail(), Message(b"env_id=1&rcpt=a@b.c&status=0&event=deliver", 0.0)
    restored = decoder.restore(message, "push", "ab" * 16)
    assert restored.id == "ab" * 16
    assert restored.fields == decoder.decode(message, "push").fields

"""CloudEvents: the same vocabulary as the text, and nothing of other products."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from router.errors import Undecodable
from router.event import Event

Decode = Callable[..., Event]


def test_a_delivery_speaks_the_words_of_the_text_form(decode: Decode, cloud: dict[str, Any]) -> None:
    event = decode(json.dumps(cloud))
    assert event.type == "Deliver:SendSuccessfully"
    flat = json.loads(event.json())
    del flat["id"], flat["received"], flat["source"], flat["type"], flat["time"]
    expected = {k: v for k, v in cloud["data"].items() if k not in {"header", "send_time", "deliver_time"}} | {
        "X-Notify-Message-ID": "3121639760461824",
        "recv_time": "2024-04-29T11:07:11",
        "end_time": "2024-04-29T11:07:12",
        "is_dedicated_ip": "true",
        "rcpt_domain": "example.net",
    }
    assert flat == expected


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("dm:Deliver:Succeed", "Deliver:SendSuccessfully"),
        ("dm:Deliver:Fail", "Deliver:SendFailed"),
        ("dm:Feedback:FblReport", "Feedback:FblReport"),
        ("dm:Feedback:Subscribe", "Feedback:Subscribe"),
        ("dm:Feedback:UnSubscribe", "Feedback:UnSubscribe"),
        ("dm:Trace:Click", "Trace:Click"),
        ("dm:Trace:Open", "Trace:Open"),
        ("dm:Validator:GrayListResult", "Validator:GrayListResult"),
        ("dm:Brand:New", "Other:Brand:New"),
    ],
)
def test_every_type_of_directmail_is_decoded(decode: Decode, cloud: dict[str, Any], name: str, canonical: str) -> None:
    del cloud["data"]["event"]
    event = decode(json.dumps(cloud | {"type": name}))
    assert event.type == canonical
    assert event.get("event") == name
    assert event.get("rcpt") == "reader@Example.NET"


def test_a_complaint_is_the_senders_about_the_recipient(decode: Decode, cloud: dict[str, Any]) -> None:
    cloud["type"] = "dm:Feedback:FblReport"
    cloud["data"] = {
        "send_time": "1714360030",
        "block_time": "1714360031",
        "send_email": "news@shop.example.com",
        "block_email": "reader@example.net",
        "subject": "Spring & more",
        "message_id": "<m@x>",
        "fbl_isp": "isp",
        "fingerprint": "f",
    }
    event = decode(json.dumps(cloud))
    assert event.get("account") == event.get("from") == event.get("send_email") == "news@shop.example.com"
    assert event.get("rcpt") == event.get("block_email") == "reader@example.net"
    assert event.get("msg_id") == "<m@x>"
    assert event.get("region") == "cn-hangzhou"
    assert event.time.timestamp() == 1714360031


@pytest.mark.parametrize("kind", ["dm:Feedback:UnSubscribe", "dm:Trace:Open"])
def test_who_sent_it_owns_what_became_of_it(decode: Decode, cloud: dict[str, Any], kind: str) -> None:
    """Subscribe, UnSubscribe and Trace have no account; the sender stands in `from`."""
    cloud["type"] = kind
    cloud["data"] = {"operate_time": "2024-04-30T08:00:00", "envid": "6", "from": "news@shop.com", "rcpt": "r@d.com"}
    event = decode(json.dumps(cloud))
    assert event.get("account") == "news@shop.com"
    assert event.get("env_id") == "6"
    assert event.time.isoformat() == "2024-04-30T08:00:00+08:00"


def test_fields_that_are_new_are_kept_as_text(decode: Decode, cloud: dict[str, Any]) -> None:
    body = json.dumps(cloud)
    new = '"data": {"score": 1.10, "big": 12345678901234567890123, "null": null, "list": [1, 2.50], "id": "x", '
    event = decode(body.replace('"data": {', new))
    assert {name: event.get(name) for name in ("score", "big", "null", "list", "data_id")} == {
        "score": "1.10",
        "big": "12345678901234567890123",
        "null": "",
        "list": "[1,2.50]",
        "data_id": "x",
    }
    assert json.loads(event.json())["id"] == event.id


def test_a_senders_header_sets_no_other_field(decode: Decode, cloud: dict[str, Any]) -> None:
    del cloud["data"]["account"]
    cloud["data"]["header"]["account"] = "evil@evil.com"
    event = decode(json.dumps(cloud))
    assert event.get("account") == "news@shop.example.com"
    assert event.get("X-Notify-Message-ID") == "3121639760461824"
    assert event.get("header") == '{"account":"evil@evil.com"}'


def test_a_field_by_both_of_its_names_keeps_both(decode: Decode, cloud: dict[str, Any]) -> None:
    cloud["data"] |= {"end_time": "2024-04-29 11:07:12"}
    event = decode(json.dumps(cloud))
    assert event.get("end_time") == "2024-04-29 11:07:12"
    assert event.get("deliver_time") == "2024-04-29T11:07:12"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"type": "oss:ObjectCreated:PutObject"},
            "CloudEvent of type 'oss:ObjectCreated:PutObject' is not DirectMail's",
        ),
        ({"type": ""}, "CloudEvent of type '' is not DirectMail's"),
        ({"data": "text"}, "whose data is no object"),
        ({"data": [1]}, "whose data is no object"),
        ({"id": 7}, "JSON that cannot be read"),
        ({"specversion": ""}, "neither specversion"),
    ],
)
def test_what_is_not_directmails_is_refused(
    decode: Decode, cloud: dict[str, Any], change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(Undecodable, match=reason):
        decode(json.dumps(cloud | change))


def test_a_cloud_event_without_data_is_refused(decode: Decode, cloud: dict[str, Any]) -> None:
    del cloud["data"]
    with pytest.raises(Undecodable, match="whose data is no object"):
        decode(json.dumps(cloud))


def test_data_of_others_is_not_even_read(decode: Decode, cloud: dict[str, Any]) -> None:
    """A queue may carry the events of other products, however large; only their type is looked at."""
    cloud |= {"type": "oss:X", "data": "@"}
    deep = "[" * 500 + "]" * 500
    with pytest.raises(Undecodable, match="'oss:X'"):
        decode(json.dumps(cloud).replace('"@"', deep))


@pytest.mark.parametrize(
    "data", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000, "NaN", "{", '{"a":"\\ud8"}']
)
def test_hostile_json_is_refused(decode: Decode, data: str) -> None:
    body = '{"specversion":"1.0","type":"dm:Deliver:Fail","id":"1","source":"acs:dm","data":' + data + "}"
    for text in (body, data):
        with pytest.raises(Undecodable) as caught:
            decode(text)
        assert len(caught.value.reason) < 200

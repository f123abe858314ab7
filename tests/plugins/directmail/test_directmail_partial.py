"""CloudEvents in binary mode, data alone, and the messages of queues: the same events as whole CloudEvents."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import Undecodable
from router.event import Event, Message
from router_plugins.directmail.decoder import DirectMail

Decode = Callable[..., Event]
TEXT = (
    "env_id=1&msg_id=<m@x>&account=a@b.c&from=a@b.c&rcpt=bob@x.com&recv_time=2024-04-29 11:07:11"
    "&end_time=2024-04-29 11:07:12&status=4&event=deliver&region=cn-hangzhou&err_code=550&err_msg=550 No {<"
)
TYPES = ["Deliver:Succeed", "Deliver:Fail", "Feedback:FblReport", "Feedback:UnSubscribe", "Trace:Open", "Brand:New"]


def received(headers: Mapping[str, str], body: bytes) -> Event:
    """Decode what the listener makes of a push that it believes."""
    said = {name: value for name, value in headers.items() if name.startswith("ce-")}
    return DirectMail().decode(Message(body, 1_700_000_000.0, said | {"content_type": headers["content-type"]}), "push")


def sent_by_sdk(event: dict[str, Any], data: Any = None) -> CloudEvent:
    attributes = {name: value for name, value in event.items() if name not in {"data", "time"}}
    return CloudEvent(attributes, event["data"] if data is None else data)


def same(one: Event, other: Event) -> bool:
    return (one.id, one.type, one.fields) == (other.id, other.type, other.fields)


@pytest.mark.parametrize("kind", TYPES)
def test_both_modes_of_the_official_sdk_are_the_same_event(cloud: dict[str, Any], kind: str) -> None:
    del cloud["data"]["event"]
    event = sent_by_sdk(cloud | {"type": f"dm:{kind}"})
    binary, structured = to_binary_event(event), to_structured_event(event)
    assert "specversion" not in str(binary.body)
    assert same(received(binary.headers, binary.body), received(structured.headers, structured.body))
    assert received(binary.headers, binary.body).get("event") == f"dm:{kind}"


@pytest.mark.parametrize("name", ["ä 用户%\"'\\", "a b", "%41", "😀"])
def test_values_of_headers_are_decoded_once(decode: Decode, cloud: dict[str, Any], name: str) -> None:
    whole = cloud | {"type": "dm:Trace:Open", "id": name, "aliyunregionid": name}
    del whole["data"]["region"]
    binary = to_binary_event(sent_by_sdk(whole))
    event = received(binary.headers, binary.body)
    assert same(event, decode(json.dumps(whole)))
    assert event.get("region") == name
    lower = {key: quote(value, safe="") if key == "id" else value for key, value in binary.headers.items()}
    assert same(received(lower, binary.body), event)


def test_quoted_values_of_older_versions_are_taken(decode: Decode, cloud: dict[str, Any]) -> None:
    headers = to_binary_event(sent_by_sdk(cloud)).headers | {"ce-type": '"dm:Trace\\:Open"', "ce-id": '"a\\"b"'}
    assert (
        received(headers, json.dumps(cloud["data"]).encode()).id
        == decode(json.dumps(cloud | {"type": "dm:Trace:Open", "id": 'a"b'})).id
    )


@pytest.mark.parametrize("junk", ["%", "%zz", "%ff%fe", '"', '"\\', "\\xff", " "])
def test_odd_values_of_headers_break_nothing(cloud: dict[str, Any], junk: str) -> None:
    del cloud["data"]["region"]
    names = ("ce-id", "ce-source", "ce-time", "ce-aliyunregionid", "ce-more")
    headers = to_binary_event(sent_by_sdk(cloud)).headers | dict.fromkeys(names, junk)
    assert json.loads(received(headers, json.dumps(cloud["data"]).encode()).json())["env_id"] == cloud["data"]["env_id"]


def test_a_whole_cloud_event_counts_more_than_headers(decode: Decode, cloud: dict[str, Any]) -> None:
    structured = to_structured_event(sent_by_sdk(cloud))
    other = to_binary_event(sent_by_sdk(cloud | {"type": "dm:Trace:Open", "id": "other"})).headers
    assert same(received(other | structured.headers, structured.body), decode(structured.body))


@pytest.mark.parametrize("wrap", ["text", "json", "xml", "base64"])
def test_headers_change_nothing_of_a_text_that_says_what_it_is(
    decode: Decode, cloud: dict[str, Any], wrap: str
) -> None:
    body = {
        "text": TEXT,
        "json": json.dumps({"TopicName": "t", "Message": TEXT}),
        "xml": f"<Notification><Message><![CDATA[{TEXT}]]></Message></Notification>",
        "base64": base64.b64encode(TEXT.encode()).decode(),
    }[wrap]
    headers = to_binary_event(sent_by_sdk(cloud)).headers
    assert same(received(headers, body.encode()), decode(TEXT))


def test_headers_do_not_reach_into_envelopes(cloud: dict[str, Any]) -> None:
    headers = to_binary_event(sent_by_sdk(cloud | {"type": "dm:Trace:Open"})).headers
    body = json.dumps({"TopicName": "t", "Message": json.dumps({"a": 1})})
    with pytest.raises(Undecodable, match="neither specversion"):
        received(headers, body.encode())


def test_headers_of_other_products_are_refused_as_their_events_are(cloud: dict[str, Any]) -> None:
    binary = to_binary_event(sent_by_sdk(cloud | {"type": "oss:X"}))
    with pytest.raises(Undecodable, match="CloudEvent of type 'oss:X' is not DirectMail's"):
        received(binary.headers, binary.body)


@pytest.mark.parametrize(("body", "reason"), [(b"", "empty message"), (b"[]", "."), (b"{", "JSON"), (b"7", ".")])
def test_headers_without_data_are_refused(cloud: dict[str, Any], body: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        received(to_binary_event(sent_by_sdk(cloud)).headers, body)


def test_the_data_of_binary_mode_has_the_charset_of_its_content_type(decode: Decode, cloud: dict[str, Any]) -> None:
    cloud["data"]["err_msg"] = "550 用户不存在"
    headers = to_binary_event(sent_by_sdk(cloud)).headers | {"content-type": "application/json; charset=GBK"}
    body = json.dumps(cloud["data"], ensure_ascii=False)
    assert same(received(headers, body.encode("gbk")), decode(json.dumps(cloud)))


@pytest.mark.parametrize("ends", [b"", b"\0", b"\xff"])
def test_data_as_text_or_bytes_is_read(decode: Decode, cloud: dict[str, Any], ends: bytes) -> None:
    data = json.dumps(cloud["data"]).encode()[:-1] + (b', "x": "\xff"}' if ends == b"\xff" else b"}" + ends)
    honest = decode(json.dumps(cloud).encode()[:-2] + (b', "x": "\xff"}}' if ends == b"\xff" else b"}}"))
    for encode in (base64.b64encode, base64.encodebytes, base64.urlsafe_b64encode):
        whole = {name: value for name, value in cloud.items() if name != "data"} | {
            "data_base64": encode(data).decode()
        }
        assert same(decode(json.dumps(whole)), honest)
    if ends != b"\xff":
        assert same(decode(json.dumps(cloud | {"data": data.decode()})), honest)


@pytest.mark.parametrize("form", ["data", "data_base64"])
def test_data_that_is_a_text_says_itself_what_it_is(decode: Decode, cloud: dict[str, Any], form: str) -> None:
    del cloud["data"]
    said = TEXT if form == "data" else base64.b64encode(TEXT.encode()).decode()
    assert same(decode(json.dumps(cloud | {form: said})), decode(TEXT))


def test_the_official_sdk_writes_bytes_as_base64(decode: Decode, cloud: dict[str, Any]) -> None:
    message: HTTPMessage = to_structured_event(sent_by_sdk(cloud, json.dumps(cloud["data"]).encode()))
    assert same(received(message.headers, message.body), decode(json.dumps(cloud)))


@pytest.mark.parametrize("kind", ["dm:Deliver:Succeed", "dm:Deliver:Fail", "dm:Trace:Click", "dm:Feedback:UnSubscribe"])
def test_data_alone_is_the_event_that_it_names(decode: Decode, cloud: dict[str, Any], kind: str) -> None:
    cloud["data"]["event"] = kind
    event, whole = decode(json.dumps(cloud["data"])), decode(json.dumps(cloud | {"type": kind}))
    assert (event.type, event.fields) == (whole.type, whole.fields)
    if "Deliver" in kind:
        assert (event.id, event.time) == (whole.id, whole.time)
    for wrapped in (f"\ufeff {json.dumps(cloud['data'])}\0", base64.b64encode(json.dumps(cloud["data"]).encode())):
        assert same(decode(wrapped), event)


@pytest.mark.parametrize(("status", "kind"), [("0", "SendSuccessfully"), (4, "SendFailed"), ("2", "SendFailed")])
def test_data_of_a_delivery_without_its_name_is_known_by_its_status(
    decode: Decode, cloud: dict[str, Any], status: Any, kind: str
) -> None:
    del cloud["data"]["event"]
    assert decode(json.dumps(cloud["data"] | {"status": status})).type == f"Deliver:{kind}"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"block_email": "r@d.com", "send_email": "n@s.com", "block_time": "1714360031"}, "Feedback:FblReport"),
        ({"env_id": "1", "rcpt": "r@d.com", "url": "http://x/?a=1", "user_agent": "Mozilla"}, "Trace:Click"),
        ({"env_id": "1", "rcpt": "r@d.com", "user_agent": "Mozilla", "client_ip": "1.2.3.4"}, "Trace:Open"),
    ],
)
def test_data_of_other_events_is_known_by_what_only_they_have(decode: Decode, data: dict[str, Any], kind: str) -> None:
    event = decode(json.dumps(data))
    assert event.type == kind
    assert event.get("rcpt") == "r@d.com"
    assert event.id == decode(json.dumps(data)).id
    assert event.id != decode(json.dumps(data | {"more": "1"})).id


@pytest.mark.parametrize(
    "data",
    [
        {
            "operate_time": "2024-04-30T08:00:00",
            "envid": "6",
            "from": "n@s.com",
            "rcpt": "r@d.com",
            "client_ip": "1.2.3.4",
        },
        {"event": "dm:Deliver:Fail"},
        {"env_id": "1"},
        {"env_id": {}, "event": "dm:Deliver:Fail"},
        {"rcpt": "r@d.com", "event": 7},
    ],
)
def test_data_that_does_not_tell_what_happened_is_refused(decode: Decode, data: dict[str, Any]) -> None:
    """Somebody subscribed or unsubscribed: the data of the two are alike."""
    with pytest.raises(
        Undecodable, match="subscribed or unsubscribed" if "client_ip" in data else "neither specversion"
    ):
        decode(json.dumps(data))


def from_queue(body: Any, name: str = "messageBody", **change: Any) -> dict[str, Any]:
    """Return the sample of the page "create a custom event source of the SMQ type"."""
    return {
        "id": "bffb9722-9c48-407b-9895-b038f78f",
        "source": "acs:mns",
        "specversion": "1.0",
        "type": "mns:Queue:SendMessage",
        "datacontenttype": "application/json; charset=utf-8",
        "subject": "acs:mns:cn-hangzhou:123456789098****:queues/zeus",
        "time": "2021-04-08T06:28:17.093Z",
        "aliyunpublishtime": "2021-04-08T06:30:31.367Z",
        "aliyuneventbusname": "mybus",
        "data": {"requestId": "606EA3074344430D4C81", "messageId": "C6DB60D1574661357FA227277445", name: body},
    } | change


@pytest.mark.parametrize("name", ["messageBody", "body"])
@pytest.mark.parametrize("source", ["acs:mns", "MNS-Function-mnstest"])
def test_a_queues_message_in_a_cloud_event_is_what_it_is(
    decode: Decode, cloud: dict[str, Any], name: str, source: str
) -> None:
    envelope = json.dumps({"TopicName": "t", "Message": TEXT})
    for body in (
        TEXT,
        envelope,
        base64.b64encode(TEXT.encode()).decode(),
        json.dumps(cloud),
        json.dumps(cloud["data"]),
    ):
        whole = from_queue(body, name, source=source)
        for wrapped in (whole, whole["data"], from_queue(json.dumps(whole))):
            assert same(decode(json.dumps(wrapped)), decode(body))


def test_a_queues_message_that_eventbridge_read_as_json_is_what_it_is(decode: Decode, cloud: dict[str, Any]) -> None:
    assert same(decode(json.dumps(from_queue(cloud))), decode(json.dumps(cloud, separators=(",", ":"))))


def test_a_queues_message_in_binary_mode_is_what_it_is(decode: Decode) -> None:
    binary = to_binary_event(sent_by_sdk(from_queue(TEXT)))
    assert same(received(binary.headers, binary.body), decode(TEXT))


def test_bytes_that_are_no_utf8_come_through_a_queues_message(decode: Decode) -> None:
    body = json.dumps(from_queue(TEXT)).encode()
    one, other = (body.replace(b"bob@", name) for name in (b"\xff@", b"\xfe@"))
    assert decode(one).get("rcpt") == decode(other).get("rcpt") == "\ufffd@x.com"
    assert decode(one).id == decode(TEXT.encode().replace(b"bob@", b"\xff@")).id
    assert decode(one).id != decode(other).id


@pytest.mark.parametrize(
    "data", [{}, {"messageBody": 7}, {"messageBody": None}, {"body": "x"}, "x", [1], {"messageBody": []}]
)
def test_a_queues_message_without_a_body_is_refused(decode: Decode, data: Any) -> None:
    with pytest.raises(Undecodable):
        decode(json.dumps(from_queue("", data=data)))


@settings(max_examples=60)
@given(
    st.recursive(
        st.none() | st.text(max_size=8) | st.integers(), lambda inner: st.lists(inner, max_size=3), max_leaves=4
    )
)
def test_no_data_breaks_the_decoder(value: Any) -> None:
    for data in (
        {"env_id": value, "event": "dm:Deliver:Fail"},
        {"messageBody": value},
        {"rcpt": "a@b", "status": value},
    ):
        for whole in (data, from_queue("", data=data), {"specversion": "1.0", "type": "dm:X", "data": value}):
            with suppress(Undecodable):
                DirectMail().decode(Message(json.dumps(whole).encode(), 0.0), "s").json()

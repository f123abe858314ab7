"""JSON with what its strings cannot have is read, as XML is: a mail server's reply does not cost the result."""

from __future__ import annotations

import base64
import json
import time
import timeit
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import Undecodable
from router.event import Event
from router_plugins.mending import repaired_json
from router_plugins.mns.topics import topic_of

Decode = Callable[..., Event]

REPLIES = [
    (r"554 \ud83d x", "554 \ufffd x"),
    (r"554 \ud83d", "554 \ufffd"),
    (r"\udc00", "\ufffd"),
    (r"\uDC00\uD83D", "\ufffd\ufffd"),
    (r"\ud83d\ud83d\ude00\ude00", "\ufffd\U0001f600\ufffd"),
    (r"\ud83d\ude00 \ud83d", "\U0001f600 \ufffd"),
    (r"\ud83d\u0041\ud83d\n", "\ufffdA\ufffd\n"),
    (r"\\ud83d \ud83d \\\udc00", "\\ud83d \ufffd \\\ufffd"),
    ("550 \x07bell\x00 \x1b[1m", "550 \x07bell\x00 \x1b[1m"),
    ("550 a\tb\r\nc", "550 a\tb\r\nc"),
    ("550 \x01 \\ud83d 你", "550 \x01 \ufffd 你"),
]


def body_with(cloud: dict[str, Any], reply: str, name: str = "err_msg") -> str:
    return json.dumps(cloud | {"data": cloud["data"] | {name: "@@"}}).replace("@@", reply)


def in_json(body: str) -> str:
    return json.dumps({"TopicName": "dm", "Message": body})


def in_base64(body: str) -> str:
    return base64.b64encode(body.encode()).decode()


@pytest.mark.parametrize(("reply", "meant"), REPLIES)
@pytest.mark.parametrize("wrap", [str, in_json, in_base64, lambda body: in_json(in_base64(body))])
def test_what_json_cannot_have_costs_no_result(
    decode: Decode, cloud: dict[str, Any], reply: str, meant: str, wrap: Callable[[str], str]
) -> None:
    honest = decode(json.dumps(cloud))
    body = wrap(body_with(cloud, reply))
    event = decode(body)
    assert event.get("err_msg") == meant
    assert (event.id, event.type, event.time) == (honest.id, honest.type, honest.time)
    assert event.get("account") == honest.get("account")
    assert json.loads(event.json())["err_msg"] == meant
    assert decode(body).id == event.id


@pytest.mark.parametrize(("reply", "meant"), REPLIES)
def test_nor_in_the_text_inside_an_envelope_or_in_data_that_is_a_string(
    decode: Decode, sent: str, cloud: dict[str, Any], reply: str, meant: str
) -> None:
    body = json.dumps({"TopicName": "dm", "Message": sent.replace("250 Send Mail OK", "@@")}).replace("@@", reply)
    assert decode(body).get("err_msg") == meant
    assert decode(body).id == decode(sent).id
    data = json.dumps(cloud["data"] | {"err_msg": "@@"}).replace("@@", reply)
    assert decode(json.dumps(cloud | {"data": data})).get("err_msg") == meant


def test_nor_in_names_and_attributes(decode: Decode, cloud: dict[str, Any]) -> None:
    body = body_with(cloud, "x").replace('"err_code"', r'"a\ud83d": "1", "b' + "\x07" + '": "2", "err_code"')
    event = decode(body.replace('"default"', '"\x07\\udc00"'))
    assert (event.get("a\ufffd"), event.get("b\x07"), event.get("channel_name")) == ("1", "2", "\x07\ufffd")
    opened = json.dumps(cloud | {"type": "dm:Trace:Open", "id": "@@"})
    ids = {decode(opened.replace("@@", name)).id for name in (r"\ud83d", r"\udc00", r"\ufffd", "\x07")}
    assert len(ids) == 4


def test_recipients_that_differ_in_them_only_are_two(decode: Decode, cloud: dict[str, Any]) -> None:
    one, other = (decode(body_with(cloud, f"{local}@d.com", "rcpt")) for local in (r"\ud83d", r"\udc00"))
    assert one.get("rcpt") == other.get("rcpt") == "\ufffd@d.com"
    assert one.id != other.id


def test_a_push_is_known_by_its_topic_all_the_same() -> None:
    body = b'{"TopicOwner": "1", "TopicName": "dm", "Message": "550 \x07 \\ud83d"}'
    assert topic_of({b"content-type": b"application/json"}, body, 10_000).name == "dm"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("[]", "a JSON array"), ('[{"specversion": "1.0"}]', "a JSON array"), (' [1, "\\ud83d \x07"]', "a JSON array"),
        ('"x"', "a JSON string"), ('"\\udc00"', "a JSON string"), ('"env_id=1&event=open"', "a JSON string"),
        ("12", "a JSON number"), ("-1.5e3", "a JSON number"), ("0", "a JSON number"),
        ("null", "JSON null"), ("true", "a JSON boolean"), ("false\n", "a JSON boolean"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrap", [str, in_json])
def test_json_that_is_no_object_is_called_what_it_is(
    decode: Decode, body: str, kind: str, wrap: Callable[[str], str]
) -> None:
    with pytest.raises(Undecodable, match=f"^{kind}, not an object"):
        decode(wrap(body))


@given(st.text(st.characters(codec=None), max_size=40))
@example("\ud800\U000f0000")
@example("\U000fffff \udc00 \x07")
def test_any_text_comes_through(decode: Decode, text: str) -> None:
    """Every code unit, escaped by an encoder that knows nothing of pairs, or raw."""
    cloud = {"specversion": "1.0", "type": "dm:Trace:Open", "source": "s", "id": "1", "data": {"subject": text}}
    shown = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert decode(json.dumps(cloud)).get("subject") == shown


@pytest.mark.parametrize(
    "text", ['{"a": "\\ud83d\\ude00 \\n \\\\ud83d"}', '{"a":\n\t1}', "{", '{"a": "', '{"a": "\\', "\\ud83d \x07"]
)
def test_what_needs_no_repair_is_not_touched(text: str) -> None:
    assert repaired_json(text) is None


def test_repairing_a_hostile_text_costs_no_more_than_in_proportion_to_its_length() -> None:
    def seconds(text: str) -> float:
        return min(timeit.repeat(lambda: repaired_json(text), timer=time.process_time, number=1, repeat=3))

    for part in ('"', '\\"', "\\ud83d", '"\\ud83d', "\\", "\x07", '"\x07"', '"\\\\"', "\\u"):
        for start in ("", '"'):
            assert seconds(start + part * 64_000) < 640 * max(seconds(start + part * 1_000), 1e-5), part

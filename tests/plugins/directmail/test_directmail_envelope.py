"""Envelopes: whatever stands around a result, the event is the same."""

from __future__ import annotations

import base64
import json
import time
import timeit
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import pytest

from router.errors import Undecodable
from router.event import Event

Decode = Callable[..., Event]


def in_json(message: str) -> str:
    return json.dumps(
        {"TopicOwner": "1", "Message": message, "PublishTime": "1642865171548", "MessageId": "7", "TopicName": "dm"}
    )


def in_xml(message: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Notification xmlns="http://mns.aliyuncs.com/doc/v1/">\n'
        f"  <TopicOwner>1</TopicOwner>\n  <TopicName>dm</TopicName>\n  <Message>{escape(message)}</Message>\n"
        "  <PublishTime>1449556920975</PublishTime>\n</Notification>"
    )


def in_base64(message: str) -> str:
    return base64.b64encode(message.encode()).decode()


def bare(message: str) -> str:
    return message


WAYS = [
    (a, b, c) for a in (bare, in_base64) for b in (bare, in_json, in_xml) for c in (bare, in_base64, in_json, in_xml)
]
WAYS.remove((in_base64, bare, in_base64))  # base64 right inside base64 is taken off once only


@pytest.mark.parametrize("way", WAYS)
def test_the_way_here_makes_no_other_event(
    decode: Decode, sent: str, cloud: dict[str, Any], way: tuple[Callable[[str], str], ...]
) -> None:
    for message in (sent + " <&\"'>用户不存在", json.dumps(cloud)):
        honest = decode(message)
        body = message
        for wrap in reversed(way):
            body = wrap(body)
        event = decode(f"\ufeff\r\n {body}" + (" \n" if body != message else ""))
        assert (event.id, event.type, event.time) == (honest.id, honest.type, honest.time)
        assert event.fields == honest.fields


def test_base64_is_taken_off_once(decode: Decode, sent: str) -> None:
    with pytest.raises(Undecodable):
        decode(in_base64(in_base64(sent)))


@pytest.mark.parametrize(
    ("right", "typo"),
    [
        ("xmlns=", "xlmns="),
        ("doc/v1/", "doc/v1"),
        (' xmlns="http://mns.aliyuncs.com/doc/v1/"', ""),
        ("</PublishTime>", "</MessagePublishTime>"),
        ('<?xml version="1.0" encoding="UTF-8"?>\n', ""),
    ],
)
def test_the_typos_of_the_vendors_pages_are_tolerated(decode: Decode, sent: str, right: str, typo: str) -> None:
    body = in_xml(sent)
    assert right in body
    assert decode(body.replace(right, typo)).fields == decode(sent).fields


def test_a_message_may_stand_in_cdata(decode: Decode, sent: str) -> None:
    body = in_xml(sent).replace(escape(sent), f"<![CDATA[{sent}]]>")
    assert decode(body).fields == decode(sent).fields


def test_what_stands_between_the_parts_of_a_message_is_no_part_of_it(decode: Decode, sent: str) -> None:
    start, end = escape(sent)[:10], escape(sent)[10:]
    body = in_xml(sent).replace(escape(sent), f"{start}<!-- no --><?no part?><![CDATA[]]>{end}")
    assert decode(body).fields == decode(sent).fields


@pytest.mark.parametrize("wrap", [in_json, in_xml])
def test_bytes_that_are_no_utf8_in_an_envelope_are_replaced(
    decode: Decode, sent: str, wrap: Callable[[str], str]
) -> None:
    body = wrap(sent).encode().replace(b"250 Send Mail OK", "250 用户".encode("gbk"))
    assert decode(body).get("err_msg").startswith("250 \ufffd")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("550 \x07bell\x00 \x1b[1m", "550 \x07bell\x00 \x1b[1m"),
        ("550 &#7;bell&#x1B;", "550 \x07bell\x1b"),
        ("550 \ufffe\uffff &lt;\x01&gt; &amp;#1;", "550 \ufffe\uffff <\x01> &#1;"),
        ("550 \x01 &#xD800;&#x41;", "550 \x01 \ufffdA"),
    ],
)
@pytest.mark.parametrize("typo", ["</PublishTime>", "</MessagePublishTime>"])
@pytest.mark.parametrize("wrap", [bare, in_base64])
def test_characters_that_xml_cannot_have_come_through(
    decode: Decode, sent: str, written: str, meant: str, typo: str, wrap: Callable[[str], str]
) -> None:
    """A mail server's reply may hold any of them, and is passed on as it is."""
    body = in_xml(sent).replace("250 Send Mail OK", written).replace("</PublishTime>", typo)
    assert written in body
    event, honest = decode(wrap(body)), decode(sent.replace("250 Send Mail OK", meant))
    assert event.get("err_msg") == meant
    assert (event.id, event.fields) == (honest.id, honest.fields)
    assert json.loads(event.json())["err_msg"] == meant


def test_mending_a_hostile_document_costs_no_more_than_in_proportion_to_its_length(decode: Decode) -> None:
    """64 times the characters to mend may take 640 times as long, on a noisy machine, where squared it were 4,096."""

    def seconds(body: str) -> float:
        def refuse() -> None:
            with pytest.raises(Undecodable):
                decode(body)

        return min(timeit.repeat(refuse, timer=time.process_time, number=1, repeat=3))

    hostile = ["\x01", "&#1;", "&#", "&#x0000", "<a>\x01", "</MessagePublishTime>\x01", "<![CDATA[\x01", "<!--\x01"]
    for part in hostile:
        few, many = (f"<Notification>{part * count}" for count in (2_000, 128_000))
        assert seconds(many) < 640 * seconds(few), part


def test_a_body_that_is_a_view_is_not_copied(decode: Decode, sent: str) -> None:
    row = memoryview(b"before" + sent.encode() + b"after")
    body = row[6:-5]
    assert decode(body).raw is body


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<Notification><Message>&b;</Message></Notification>"
)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "JSON that cannot be read"),
        ('{"a": 1', "JSON that cannot be read"),
        ("{}", "neither specversion"),
        ('{"TopicName": "dm"}', "neither specversion.*Message"),
        ('{"TopicName": "dm", "Message": {"a": 1}}', "neither specversion"),
        ('{"TopicName": "dm", "Message": ""}', "empty message"),
        ("[]", "neither key=value text"),
        ("null", "neither key=value text"),
        ("<Notification><Message>", "XML that cannot be read"),
        ("<Notification/>", "without a Message"),
        ("<Notification><Message/></Notification>", "empty message"),
        ("<Notification><Message>env_id=1<b/>&amp;rcpt=a@b.c</Message></Notification>", "has elements in it"),
        ("<Notification><Message><b>env_id=1</b></Message></Notification>", "has elements in it"),
        ("<Notification><Message>\x01<b>env_id=1</b></Message></Notification>", "has elements in it"),
        ("<Notification><Message>a</Message><Message>b</Message></Notification>", "with 2 Messages"),
        ("<html><Message>x</Message></html>", "root 'html' instead of Notification"),
        (BOMB, "DTD or entities"),
        (BOMB.replace("&b;", "&b;\x01"), "DTD or entities"),
        ("\x01".join(BOMB.partition("]>")), "XML that cannot be read|DTD or entities"),
        (BOMB.replace("<!DOCTYPE", "<!DOC\x01TYPE"), "XML that cannot be read"),
        (BOMB.replace("<!DOCTYPE", "<!\x01DOCTYPE"), "XML that cannot be read"),
        ("<Notification><Message>&b;\x01</Message></Notification>", "XML that cannot be read"),
        ("<Notification><Message>\x01</Message>", "XML that cannot be read"),
        ("<Notification><Message>\U000f0041\x01</Message></Notification>", "XML that cannot be read"),
        ("<Notification><Mess\x01age>x</Mess\x01age></Notification>", "XML that cannot be read"),
        ('<!DOCTYPE x SYSTEM "http://127.0.0.1/x"><Notification/>', "DTD or entities"),
        ("<a>" * 60_000, "XML that cannot be read"),
        ("<a>" * 20_000 + "</a>" * 20_000, "root 'a'"),
        ("</MessagePublishTime>", "XML that cannot be read"),
        ("AAAA", "neither key=value text"),
        (in_base64("junk"), "neither key=value text"),
        ("\x00\x01\x02", "neither key=value text"),
    ],
)
def test_a_broken_envelope_is_refused_with_what_was_seen(decode: Decode, body: str, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason) as caught:
        decode(body)
    assert "\n" not in caught.value.reason
    assert len(caught.value.reason) < 300


def test_too_many_envelopes_are_refused(decode: Decode, sent: str) -> None:
    body = sent
    for _ in range(6):
        body = in_json(body)
    with pytest.raises(Undecodable, match="more than 5 envelopes"):
        decode(body)

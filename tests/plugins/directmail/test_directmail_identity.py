"""Ids: different results never meet in one, and one result has one, in whatever form and however often it comes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Undecodable
from router.event import Event
from router_plugins.charsets import trimmed

Decode = Callable[..., Event]
Wrap = Callable[[bytes], bytes]

GBK = "张三".encode("gbk")
LATIN = "josé".encode("latin-1")
LATER = "josè".encode("latin-1")


def text(rcpt: bytes, *, env_id: bytes = b"1", end: bytes = b"2024-04-29 11:07:12", status: bytes = b"4") -> bytes:
    return (
        b"env_id=%b&msg_id=m&account=a@b.c&from=a@b.c&rcpt=%b&recv_time=2024-04-29 11:07:11&end_time=%b"
        b"&status=%b&event=deliver&region=cn-hangzhou&err_code=550&err_msg=550 No"
    ) % (env_id, rcpt, end, status)


def escaped(part: bytes) -> bytes:
    return part.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def bare(body: bytes) -> bytes:
    return body


def in_base64(body: bytes) -> bytes:
    return base64.b64encode(body)


def in_json(body: bytes) -> bytes:
    return b'{"TopicName": "t", "MessageId": "1", "Message": "%b"}' % escaped(body)


def in_xml(body: bytes) -> bytes:
    plain = body.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    return b"<Notification><TopicName>t</TopicName><Message>%b</Message></Notification>" % plain


def cloud(rcpt: bytes, name: bytes = b"n", kind: bytes = b"dm:Deliver:Fail") -> bytes:
    return (
        b'{"specversion": "1.0", "type": "%b", "source": "acs:dm", "id": "%b", "data": {"env_id": "1", "rcpt": "%b", '
        b'"account": "a@b.c", "status": "4", "deliver_time": "2024-04-29T11:07:12"}}'
    ) % (kind, name, escaped(rcpt))


def json_in_base64(body: bytes) -> bytes:
    return in_base64(in_json(body))


def base64_in_xml(body: bytes) -> bytes:
    return in_xml(in_base64(body))


WRAPS: list[Wrap] = [bare, in_base64, in_json, in_xml, json_in_base64, base64_in_xml]
NAMES = ["bare", "base64", "json", "xml", "json in base64", "base64 in xml"]


@pytest.mark.parametrize("form", [text, cloud], ids=["text", "cloud event"])
@pytest.mark.parametrize("wrap", WRAPS, ids=NAMES)
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (LATIN + b"@e.cn", LATER + b"@e.cn"),
        (GBK + b"@e.cn", "李四".encode("gbk") + b"@e.cn"),
        (b"\x80@e.cn", b"\x80\x80@e.cn"),
        (b"\xff@e.cn", "\ufffd@e.cn".encode()),
        (b"\xed\xb2\x80@e.cn", b"\x80@e.cn"),
        (b"\xe4\xbd@e.cn", "你@e.cn".encode()),
        (b"a@" + LATIN, b"a@" + LATER),
    ],
    ids=["latin-1", "gbk", "one or two", "the replacement itself", "a surrogate", "half a character", "domain"],
)
def test_recipients_that_differ_in_bytes_that_are_no_utf8_are_two(
    decode: Decode, form: Callable[[bytes], bytes], wrap: Wrap, one: bytes, other: bytes
) -> None:
    first, second = decode(wrap(form(one))), decode(wrap(form(other)))
    assert first.id != second.id
    assert first.id == decode(wrap(form(one))).id
    assert "\udc80" not in first.get("rcpt")
    json.loads(first.json())


@pytest.mark.parametrize("rcpt", [LATIN, GBK, b"plain", "你".encode(), b"\xff\xfe", "\ufffd".encode()])
def test_every_way_and_form_of_one_result_gives_its_id(decode: Decode, rcpt: bytes) -> None:
    rcpt += b"@e.cn"
    found = {decode(wrap(form(rcpt))).id for wrap in WRAPS for form in (text, cloud)}
    assert len(found) == 1


@given(st.binary(min_size=1, max_size=8), st.binary(min_size=1, max_size=8), st.sampled_from(WRAPS))
def test_no_two_recipients_meet(decode: Decode, one: bytes, other: bytes, wrap: Wrap) -> None:
    def event(local: bytes) -> Event | None:
        hidden = local.translate(None, b"@&=\" \t\r\n\\\x00'")  # what ends or quotes something in one of the forms
        try:
            return decode(wrap(text(hidden + b"@e.cn")))
        except Undecodable:
            return None

    plain = [part.translate(None, b"@&=\" \t\r\n\\\x00'") for part in (one, other)]
    first, second = event(one), event(other)
    if first is None or second is None or not all(plain):
        return
    assert (first.id == second.id) == (plain[0] == plain[1])


@given(st.binary(max_size=12))
def test_what_is_shown_is_what_utf8_with_replacement_says(decode: Decode, tail: bytes) -> None:
    shown = decode(text(b"a@e.cn") + b" x" + tail).get("err_msg")
    assert shown.replace("\ufffd", "") == trimmed("550 No x" + tail.decode("utf-8", "replace")).replace("\ufffd", "")


def test_a_document_that_uses_the_stand_ins_itself_gives_nobody_elses_id(decode: Decode) -> None:
    """U+FDC80 stands in for the byte 80 while JSON or XML is read; so do escapes and references of it."""
    byte = decode(in_json(text(b"\x80@e.cn")))
    for twin in ("\U000fdc80@e.cn", "\\udbb7\\udc80@e.cn"):
        for more in (b"", b"\xff"):
            body = b'{"TopicName": "t", "X": "%b", "Message": "%b"}' % (more, text(twin.encode()))
            try:
                assert decode(body).id != byte.id
            except Undecodable:
                assert more
    for twin in ("\U000fdc80", "&#xFDC80;", "&#1039488;", "&#xDC80;", "&#56448;"):
        for more in (b"", b"\xff"):
            mail = in_xml(text(b"TWIN@e.cn")).replace(b"TWIN", twin.encode()) + b"<!--%b-->" % more
            try:
                assert decode(mail).id != byte.id
            except Undecodable:
                assert more
    assert (
        decode(in_xml(text(b"\xe4TWIN\xbd\xa0@e.cn")).replace(b"TWIN", b"<!-- -->")).id
        != decode(in_xml(text("你@e.cn".encode()))).id
    )


# Parts that are missing


@pytest.mark.parametrize("empty", ["env_id", "rcpt", "status", "end_time"])
def test_a_result_that_lacks_a_part_of_its_key_is_known_by_all_that_it_says(decode: Decode, empty: str) -> None:
    whole = text(b"a@e.cn").decode()
    lines = [part for part in whole.split("&") if not part.startswith(f"{empty}=")]
    for lacking in (
        "&".join(lines),
        whole.replace(next(p for p in whole.split("&") if p.startswith(empty)), empty + "="),
    ):
        one, other = decode(lacking), decode(lacking.replace("550 No", "550 Other"))
        assert one.id != other.id
        assert one.id == decode(lacking).id == decode(in_json(lacking.encode())).id


def test_cloud_events_that_lack_a_part_of_their_name_are_known_by_what_they_say(decode: Decode) -> None:
    def event(**change: Any) -> dict[str, Any]:
        data = {"env_id": "1", "rcpt": "a@e.cn", "url": "u"}
        return {"specversion": "1.0", "type": "dm:Trace:Open", "source": "s", "id": "i", "data": data} | change

    others = [
        event(id=""), event(id="", data={"url": "v"}), event(id="", type="dm:Trace:Click"), event(source=""),
        event(source="", data={"url": "v"}), event(source="", id=""), event(source="", id="j"),
        event(source="t", id=""),
        event(id="", data={}), event(id="", data={}, time="2024-04-29T11:07:12"), event(),
    ]  # fmt: skip
    found = [decode(json.dumps(one)).id for one in others]
    assert len(set(found)) == len(found)
    assert found == [decode(in_json(json.dumps(one).encode())).id for one in others]


def test_an_end_time_that_is_no_time_counts_to_its_end(decode: Decode) -> None:
    ends = [
        b"some time this afternoon, 1",
        b"some time this afternoon, 2",
        b"0123456789T12345678",
        b"0123456789 12345678",
    ]
    assert len({decode(text(b"a@e.cn", end=end)).id for end in ends}) == len(ends)


def test_the_same_end_time_in_other_spellings_is_one(decode: Decode) -> None:
    ends = [
        b"2024-04-29 11:07:12",
        b"2024-04-29T11:07:12",
        b"2024-04-29T11:07:12+08:00",
        b"2024-04-29T11:07:12.000+0800",
    ]
    assert len({decode(text(b"a@e.cn", end=end)).id for end in ends}) == 1


def test_parts_that_move_over_a_border_make_another_id(decode: Decode) -> None:
    one, other = text(b"ab@e.cn", env_id=b"1"), text(b"b@e.cn", env_id=b"1a")
    assert decode(one).id != decode(other).id

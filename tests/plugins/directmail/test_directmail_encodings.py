"""What other encoders, C programs, Windows and Chinese systems make of a message is the same event."""

from __future__ import annotations

import base64
import codecs
import json
import time
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import Undecodable
from router.event import Event, Message
from router_plugins.directmail.decoder import DirectMail
from router_plugins.directmail.fields import domain_of

Decode = Callable[..., Event]
TEXT = (
    "env_id=1&msg_id=<m@x>&account=a@b.c&from=a@b.c&rcpt=bob@x.com&recv_time=2024-04-29 11:07:11"
    "&end_time=2024-04-29 11:07:12&status=4&event=deliver&region=cn-hangzhou&err_code=550&err_msg=550 用户不存在?>~"
)


def lines(text: str, length: int, end: str, last: str) -> str:
    return end.join(text[at : at + length] for at in range(0, len(text), length)) + last


def in_json(text: str) -> str:
    return json.dumps({"TopicName": "t", "Message": text})


def in_xml(text: str, encoding: str = "UTF-8") -> str:
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><Notification><TopicName>t</TopicName>'
        f"<Message>{escape(text)}</Message></Notification>"
    )


def bare(text: str) -> str:
    return text


ENCODERS: dict[str, Callable[[bytes], str]] = {
    "plain": lambda body: base64.b64encode(body).decode(),
    "for URLs": lambda body: base64.urlsafe_b64encode(body).decode(),
}


@pytest.mark.parametrize("wrap", [bare, in_json, in_xml])
@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize(
    ("length", "end", "last"),
    [
        (10_000, "", ""),
        (10_000, "", "\n"),
        (60, "\n", ""),
        (60, "\n", "\n"),
        (64, "\n", "\n"),
        (76, "\r\n", "\r\n"),
        (76, "\r\n", ""),
        (76, "\n    ", "\n  "),
        (1, "\n", "\n"),
    ],
)
def test_base64_of_any_encoder_is_taken_off(
    decode: Decode, length: int, end: str, last: str, encoder: str, *, padding: bool, wrap: Callable[[str], str]
) -> None:
    for inner in (TEXT, in_json(TEXT), in_xml(TEXT)):
        for shift in range(3):  # so that each length of padding is there
            encoded = ENCODERS[encoder]((inner + " " * shift).encode())
            encoded = encoded if padding else encoded.rstrip("=")
            event = decode(wrap(f" {lines(encoded, length, end, last)}"))
            assert event.id == decode(TEXT).id
            assert event.get("err_msg").rstrip(" ") == "550 用户不存在?>~"


@given(st.binary(max_size=40), st.sampled_from([60, 64, 76]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_whatever_a_result_says_its_base64_is_taken_off(junk: bytes, length: int, end: str, padding: bool) -> None:  # noqa: FBT001
    body = f"{TEXT} ".encode() + junk + b"!"
    encoded = base64.urlsafe_b64encode(body).decode()
    encoded = lines(encoded if padding else encoded.rstrip("="), length, end, end)
    honest = DirectMail().decode(Message(body, 0.0), "s")
    event = DirectMail().decode(Message(encoded.encode(), 0.0), "s")
    assert (event.id, event.fields) == (honest.id, honest.fields)


@pytest.mark.parametrize(
    "text",
    [
        "hello world",
        "hello\nworld",
        "no such mail",
        "event",
        "AAAA\nAAAA",
        "a-b_c",
        "ZW52",
        "ZW52X2lkPTE mbXNn",
        "=",
        "====",
        "ZW52X2lkPTE=x",
        "ZW52X2lk\nPTEm=\nbXNn",
        "ZW5*X2lkPTE",
    ],
)
def test_ordinary_text_is_not_taken_for_base64(decode: Decode, text: str) -> None:
    with pytest.raises(Undecodable) as caught:
        decode(text)
    assert text[:4].strip() in caught.value.reason or text == "ZW52"


@pytest.mark.parametrize(
    "part", [" ", "\n", " \n", "QQ\n", "QQ=", "=", "\0", "\0 ", '{"messageBody":', '{"specversion":']
)
def test_hostile_text_takes_no_longer_than_in_proportion_to_its_length(decode: Decode, part: str) -> None:
    """A whole push of it takes milliseconds, where squared it were minutes."""
    begun = time.process_time()
    with pytest.raises(Undecodable):
        decode("a" * (part[0] != "{") + part * (256 * 1024 // len(part)) + "b")
    assert time.process_time() - begun < 5


def test_a_text_that_has_only_letters_of_base64_is_a_text(decode: Decode) -> None:
    assert decode("event=deliver&rcpt=a&status=4&env_id=1").get("rcpt") == "a"


@pytest.mark.parametrize("tail", ["\0", "\0\0\0", "\0" * 500, "\r\n\0", "\0\n", "\0 \0\r\n\0"])
@pytest.mark.parametrize("wrap", [bare, in_json, in_xml, lambda text: base64.b64encode(text.encode()).decode()])
def test_a_zero_at_the_end_is_no_part_of_a_message(decode: Decode, tail: str, wrap: Callable[[str], str]) -> None:
    event = decode(wrap(TEXT) + tail)
    assert (event.id, event.get("err_msg").rstrip()) == (decode(TEXT).id, "550 用户不存在?>~")
    assert event.raw == (wrap(TEXT) + tail).encode()
    inside = decode(in_json(TEXT + tail))
    assert (inside.id, inside.get("err_msg").rstrip()) == (event.id, "550 用户不存在?>~")


def test_a_zero_behind_the_last_field_does_not_hide_it(decode: Decode, cloud: dict[str, Any]) -> None:
    later = f"X-Notify-Message-ID=x&{TEXT}&failed_type=UnkSmtpError"
    assert decode(later + "\0").fields == decode(later).fields
    assert decode(json.dumps(cloud) + "\0").fields == decode(json.dumps(cloud)).fields


def test_a_zero_within_an_error_stays(decode: Decode) -> None:
    assert decode(TEXT.replace("550 用户", "550 \0 用户")).get("err_msg") == "550 \0 用户不存在?>~"


@pytest.mark.parametrize("codec", ["utf-16", "utf-32", "utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("wrap", [bare, in_json, in_xml])
@pytest.mark.parametrize("in_base64", [False, True])
def test_texts_of_windows_are_read(decode: Decode, codec: str, wrap: Callable[[str], str], *, in_base64: bool) -> None:
    body = wrap(TEXT).encode(codec)
    event = decode(base64.b64encode(body) if in_base64 else body)
    assert (event.id, event.fields) == (decode(TEXT).id, decode(TEXT).fields)


def test_utf16_of_big_endians_is_read(decode: Decode, cloud: dict[str, Any]) -> None:
    body = json.dumps(cloud, ensure_ascii=False)
    event = decode(codecs.BOM_UTF16_BE + body.encode("utf-16-be"))
    assert (event.id, event.fields) == (decode(body).id, decode(body).fields)


@pytest.mark.parametrize("broken", [b"\x00\xd8", b"\x00\xdc", b"\xd8", b"\x00\xd8a"])
def test_utf16_with_a_break_in_it_shows_it_and_is_read(decode: Decode, broken: bytes) -> None:
    event = decode(TEXT.encode("utf-16") + broken)
    assert event.get("err_msg").startswith("550 用户不存在?>~")
    assert json.loads(event.json())["id"] == decode(TEXT).id


@pytest.mark.parametrize("name", ["GBK", "gb2312", "GB18030"])
@pytest.mark.parametrize("in_base64", [False, True])
def test_xml_that_declares_gbk_is_read_as_that(decode: Decode, name: str, *, in_base64: bool) -> None:
    body = b"\r\n" + in_xml(TEXT, name).encode("gbk")
    event = decode(base64.encodebytes(body) if in_base64 else body)
    assert (event.id, event.fields) == (decode(TEXT).id, decode(TEXT).fields)


def test_names_in_gbk_are_those_in_utf8(decode: Decode) -> None:
    named = TEXT.replace("bob@", "张三@")
    assert decode(in_xml(named, "GBK").encode("gbk")).id == decode(named).id


def test_gbk_that_is_broken_shows_where(decode: Decode) -> None:
    body = in_xml(TEXT, "GBK").encode("gbk").replace(b"?&gt;", b"\xff\x01?&gt;")
    assert decode(body).get("err_msg") == "550 用户不存在\ufffd\x01?>~"


@pytest.mark.parametrize("name", ["rot13", "utf-7", "unicode_escape", "zip", "x" * 40])
def test_xml_that_declares_what_is_no_charset_is_read_as_utf8(decode: Decode, name: str) -> None:
    body = in_xml(TEXT, name).encode()
    assert decode(body).fields == decode(TEXT).fields
    assert decode(body.replace(b"?&gt;", b"\xff")).get("err_msg") == "550 用户不存在\ufffd~"


def test_entities_are_refused_in_every_encoding(decode: Decode) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "用户">]><Notification><Message>&a;</Message></Notification>'
    for body in (f'<?xml version="1.0" encoding="GBK"?>{bomb}'.encode("gbk"), bomb.encode("utf-16")):
        with pytest.raises(Undecodable, match="DTD or entities"):
            decode(body)


@pytest.mark.parametrize(
    ("rcpt", "domain"),
    [
        ("bob@x", "x"),
        ("<bob@x>", "x"),
        ("Bob <bob@X.Com>", "x.com"),
        ('"Bob, B." <bob@x.com>', "x.com"),
        ("Bob (at home@y) <bob@x.com> (or z)", "x.com"),
        ("<@relay.com:bob@x.com>", "x.com"),
        ("bob@x.com.", "x.com"),
        ("bob@x.com ", "x.com"),
        ("bob@x.com>", "x.com"),
        ("<bob@x.com", "x.com"),
        ("bob@x.com;", "x.com"),
        ("bob@x.com,", "x.com"),
        ("'bob@x.com'", "x.com"),
        ('"bob@x.com"', "x.com"),
        ('"a@b"@x.com', "x.com"),
        ('"<a@b>"@x.com', "x.com"),
        ("bob@x.com (bob@home)", "x.com"),
        ("bob @ x.com", "x.com"),
        ("bob@x.com\0", "x.com"),
        ("bob@例え.JP", "例え.jp"),
        ("bob@XN--R8JZ45G.JP", "xn--r8jz45g.jp"),
        ("bob@[192.0.2.1]", "[192.0.2.1]"),
        ("bob", ""),
        ("<bob>", ""),
        ("bob@", ""),
        ("@", ""),
        ("<>", ""),
        ("", ""),
    ],
)
def test_a_domain_is_that_of_the_address_however_it_is_written(decode: Decode, rcpt: str, domain: str) -> None:
    assert domain_of(rcpt) == domain
    event = decode(json.dumps({"env_id": "1", "event": "dm:Deliver:Fail", "status": "4", "rcpt": rcpt}))
    assert (event.get("rcpt"), event.get("rcpt_domain")) == (rcpt, domain)


def test_a_recipient_in_brackets_keeps_them(decode: Decode) -> None:
    event = decode(TEXT.replace("bob@x.com", "<bob@X.com>"))
    assert (event.get("rcpt"), event.get("rcpt_domain")) == ("<bob@X.com>", "x.com")


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_no_address_has_a_domain_with_blanks_or_brackets(text: str) -> None:
    domain = domain_of(f"{text}@x.com")
    assert domain == domain.strip(" <>()\"'.,;")
    assert domain == domain.lower()

"""The legacy text: what stands in one value never becomes another field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from router.errors import Undecodable
from router.event import Event
from router_plugins.directmail.text import lenient, parse, strict

Decode = Callable[..., Event]

FAKE = (
    "env_id=9&msg_id=9&account=evil@evil.com&from=evil@evil.com&rcpt=evil@evil.com&recv_time=2000-01-01 00:00:00"
    "&end_time=2000-01-01 00:00:00&status=0&event=open&region=evil&err_code=250&err_msg=250 OK&failed_type=SendOk"
)
"""A complete message, for use where it does not belong."""


def render(**changes: str) -> str:
    """Render a failed result in the documented form; `notify` and `failed_type` make it the later form."""
    values = {
        "notify": "", "env_id": "1", "msg_id": "m@x", "account": "a@shop.com", "from_": "a@shop.com", "rcpt": "r@d.com",
        "recv_time": "2017-04-14 11:44:47", "end_time": "2017-04-14 11:44:48", "status": "4", "event": "deliver",
        "region": "cn-hangzhou", "err_code": "550", "err_msg": "550 no", "failed_type": "",
    } | changes  # fmt: skip
    text = (
        "env_id={env_id}&msg_id={msg_id}&account={account}&from={from_}&rcpt={rcpt}&recv_time={recv_time}"
        "&end_time={end_time}&status={status}&event={event}&region={region}&err_code={err_code}&err_msg={err_msg}"
    ).format_map(values)
    later = values["notify"] or values["failed_type"]
    return f"X-Notify-Message-ID={values['notify']}&{text}&failed_type={values['failed_type']}" if later else text


@pytest.mark.parametrize("name", ["seed_success", "seed_failure", "current_doc_failure"])
def test_the_vendors_samples_have_the_vendors_values(
    decode: Decode, payloads: Mapping[str, Mapping[str, Any]], name: str
) -> None:
    event = decode(payloads[name]["raw"])
    expected = payloads[name]["expect"]
    assert {key: event.get(key) for key in expected} == expected


def test_nothing_is_percent_decoded(decode: Decode) -> None:
    event = decode(render(rcpt="a+b%40c;d@d.com", msg_id="a+b%41==@x", err_msg="550 100% + %41;&amp;"))
    assert event.get("rcpt") == "a+b%40c;d@d.com"
    assert event.get("msg_id") == "a+b%41==@x"
    assert event.get("err_msg") == "550 100% + %41;&amp;"


@pytest.mark.parametrize(
    "err_msg",
    [
        "550 http://service.mail.qq.com/cgi-bin/help?subtype=1&&id=20022&&no=1000726",
        "550 no&status=0&event=open&rcpt=x@y.z",
        f"550 no&{FAKE}",
        f"550 no\r\n\r\n{FAKE}\n{FAKE}\n",
        "550 no&failed_type=SendOk",
        "550 \x00\x01 \ufffd 用户不存在",
        " ",
        "",
    ],
)
def test_the_receiving_servers_reply_changes_no_other_field(decode: Decode, err_msg: str) -> None:
    honest = decode(render())
    event = decode(render(err_msg=err_msg))
    assert event.get("err_msg") == err_msg
    assert event.id == honest.id
    assert event.type == honest.type
    assert all(event.get(n) == honest.get(n) for n in honest.fields.__struct_fields__ if n != "err_msg")


def test_in_the_old_form_a_failed_type_is_the_receiving_servers_text(decode: Decode) -> None:
    event = decode(render(err_msg="550 no&failed_type=SendOk"))
    assert event.get("failed_type") == ""
    assert event.get("err_msg") == "550 no&failed_type=SendOk"


def test_in_the_later_form_the_last_failed_type_is_the_vendors(decode: Decode) -> None:
    event = decode(render(notify="7", err_msg="550 no&failed_type=SendOk", failed_type="SmtpNxBox"))
    assert event.get("failed_type") == "SmtpNxBox"
    assert event.get("err_msg") == "550 no&failed_type=SendOk"
    assert event.get("X-Notify-Message-ID") == "7"


def test_a_failed_type_that_is_no_token_stays_in_err_msg(decode: Decode) -> None:
    event = decode(render(notify="7", err_msg="550 no", failed_type="see http://x/?a=1"))
    assert event.get("failed_type") == ""
    assert event.get("err_msg") == "550 no&failed_type=see http://x/?a=1"


@pytest.mark.parametrize("field", ["account", "from", "rcpt"])
@pytest.mark.parametrize(
    "address",
    [
        "a&status=0@x.com",
        "x&from=b@c.com",
        "u&err_msg=foo@x.com",
        "&rcpt=b@c.com",
        "a=b&c=d&recv_time=2017@x.com",
        '"a b"@x.com',
        '"a\\"&rcpt=b@c.com"@x.com',
        '"&recv_time=2017-04-14 11:44:47&end_time=2017-04-14 11:44:48&status=0&event=open&region=&err_msg="@x.com',
        f'"{FAKE[:300]}"@evil.com',
        "收件人@例子.中国",
        "a@[IPv6:2001:db8::1]",
        "",
    ],
)
def test_an_address_changes_no_other_field(decode: Decode, field: str, address: str) -> None:
    argument = "from_" if field == "from" else field
    fields = decode(render(**{argument: address})).fields
    assert _texts(fields) == _texts(decode(render()).fields) | {field: address}


def _texts(fields: Any) -> dict[str, str]:
    flat: dict[str, str] = msgspec.to_builtins(fields)
    return {name: value for name, value in flat.items() if name not in {"rcpt_domain", "extra", "esp"}}


@pytest.mark.parametrize(
    "rcpt",
    [
        "a@b.com&status=0",
        "no address",
        "a@b@c.com",
        'a"b@c.com',
        "&status=0",
        "&recv_time=&err_msg=",
        "a@b.com&recv_time=&end_time=&err_msg=",
        '"open&recv_time=2017-04-14 11:44:47&status=0',
        "a b&event=open&err_msg=x",
        "x" * 400 + "@d.com",
    ],
)
def test_what_is_no_address_changes_no_other_field_either(decode: Decode, rcpt: str) -> None:
    """The vendor reports mistyped recipients with status 2, so whatever somebody typed arrives here."""
    assert _texts(decode(render(rcpt=rcpt)).fields) == _texts(decode(render()).fields) | {"rcpt": rcpt}


@pytest.mark.parametrize(
    "msg_id",
    [
        "a&b=c+d@x",
        "a&account=evil@evil.com&from=evil@evil.com",
        "a&account=evil@evil.com&from=evil@evil.com&rcpt=evil@evil.com&recv_time=2017",
        "a&account=",
        "a&account=evil",
        "&account=e@e.com&from=",
        "&account=e@e.com&from=f@f.com&rcpt=",
        "",
    ],
)
def test_a_message_id_changes_no_other_field(decode: Decode, msg_id: str) -> None:
    for text in (render(msg_id=msg_id), render(msg_id=msg_id, rcpt='"&account=x@y.z&from=x@y.z&rcpt=x@y.z"@d.com')):
        event = decode(text)
        assert event.get("msg_id") == msg_id
        assert event.get("account") == "a@shop.com"
        assert event.get("from") == "a@shop.com"


def test_blanks_around_keys_do_not_count(decode: Decode) -> None:
    text = render().replace("&", "&\n ")
    assert decode(text).fields == decode(render()).fields


def test_a_byte_order_mark_and_blanks_in_front_do_not_count(decode: Decode) -> None:
    assert decode("\ufeff \r\n" + render()).fields == decode(render()).fields


def test_unknown_keys_are_kept(decode: Decode) -> None:
    text = render().replace("&recv_time", "&shard=7&recv_time").replace("&status", "&type=x&esp=qq&status")
    event = decode(text)
    assert _texts(event.fields) == _texts(decode(render()).fields)
    assert event.get("shard") == "7"
    assert event.get("esp") == "qq"
    assert event.get("data_type") == "x"
    assert event.type == "Deliver:SendFailed"


def test_the_first_of_equal_keys_wins(decode: Decode) -> None:
    assert decode(render().replace("&event=", "&status=0&event=")).get("status") == "4"


def test_a_trace_in_the_text_form_needs_few_keys(decode: Decode) -> None:
    """Nobody documents the text of opens and clicks; what is needed is which mail, and what happened."""
    event = decode("env_id=1&from=a@shop.com&rcpt=r@d.com&event=click&ip=1.2.3.4&url=http://x/?a=1&b=2&user_agent=M")
    assert event.type == "Trace:Click"
    assert event.get("account") == "a@shop.com"
    assert event.get("url") == "http://x/?a=1&b=2"
    assert event.get("user_agent") == "M"
    assert event.get("ip") == "1.2.3.4"


def test_bytes_that_are_no_utf8_are_replaced_in_the_fields_and_kept_in_the_message(decode: Decode) -> None:
    body = render(err_msg="550 ").encode() + "用户不存在".encode("gbk")
    event = decode(body)
    assert event.get("err_msg").startswith("550 \ufffd")
    assert event.raw is body


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty message"),
        (" \r\n", "empty message"),
        ("hello", "neither key=value text"),
        ("hello=world", "without event="),
        ("event=open", "without env_id="),
        ("status=0&env_id=1", "without event="),
        ("&".join(f"k{i}=1" for i in range(200)), "more than 100 keys"),
    ],
)
def test_other_text_is_refused_with_what_is_missing(decode: Decode, text: str, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason) as caught:
        decode(text)
    assert "\n" not in caught.value.reason


def test_strict_and_lenient_agree_on_the_vendors_samples(sent: str) -> None:
    assert strict(sent) == lenient(sent) == parse(sent)

"""The mask step: pseudonyms are stable, and the value is nowhere in what leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router import UNDECODABLE, ConfigError, Event, Message, Secret
from router.testing import NOON, make_event
from router_plugins.mask import HEX_DIGITS, Mask

KEY = Secret("0123456789abcdef0123456789abcdef")
BOB = "Bob.Smith@Example.com"


class Mail(msgspec.Struct, frozen=True, rename={"from_": "from"}, omit_defaults=True):
    """Fields like a decoder's: a name that is a Python word, derived and nested ones, and an `extra` mapping."""

    rcpt: str
    from_: str = ""
    err_msg: str = ""
    region: str = ""
    rcpt_domain: str = ""
    tag: str | None = None
    tries: int = 0
    header: dict[str, Any] = {}
    extra: Mapping[str, str] = {}


def mail(rcpt: str = BOB, raw: bytes = b"raw", **fields: Any) -> Event:
    return Event(
        id="1" * 32, type="Deliver:SendFailed", time=NOON, source="s", fields=Mail(rcpt, **fields),
        message=Message(raw, 0.0, {"topic": "t", "note": f"for {rcpt}"}),
    )  # fmt: skip


def masked(event: Event, *fields: str, keep_domain: bool = False) -> Event:
    after = Mask(fields=list(fields or ("rcpt",)), key=KEY, keep_domain=keep_domain).apply(event)
    assert after is not None
    return after


def test_the_same_value_always_gives_the_same_pseudonym_and_another_one_another() -> None:
    one, same, other = masked(mail()), masked(mail(region="x")), masked(mail("rob@example.com"))
    assert one.get("rcpt") == same.get("rcpt") != other.get("rcpt")
    assert len(one.get("rcpt")) == HEX_DIGITS


def test_another_key_gives_another_pseudonym() -> None:
    other = Mask(fields=["rcpt"], key=Secret("f" * 32)).apply(mail())
    assert other is not None
    assert other.get("rcpt") != masked(mail()).get("rcpt")


def test_the_pseudonym_is_hmac_sha256() -> None:
    """Computed with: printf Bob.Smith@Example.com | openssl dgst -sha256 -hmac KEY."""
    assert masked(mail()).get("rcpt") == "1ac002d937a177394c4fc1b5f2a3f75d"


def test_the_domain_is_kept_when_asked_for() -> None:
    name, _, domain = masked(mail(), keep_domain=True).get("rcpt").partition("@")
    assert (len(name), domain) == (HEX_DIGITS, "Example.com")
    assert len(masked(mail("no address"), keep_domain=True).get("rcpt")) == HEX_DIGITS


def test_everything_else_of_the_event_stays() -> None:
    before = mail(region="cn-hangzhou", from_="news@shop.example", tries=3, tag=None)
    after = masked(before)
    assert (after.id, after.type, after.time, after.received, after.source) == (
        before.id, before.type, before.time, before.received, before.source,
    )  # fmt: skip
    assert after.fields == replace(before.fields, rcpt=after.get("rcpt"))
    assert before == mail(region="cn-hangzhou", from_="news@shop.example", tries=3, tag=None)


def test_a_field_is_named_by_its_outward_name_or_in_extra() -> None:
    after = masked(mail(from_="news@shop.example", extra={"X-User": "4711-0815"}), "from", "X-User")
    assert len(after.get("from")) == len(after.get("X-User")) == HEX_DIGITS
    assert after.get("rcpt") == BOB


@pytest.mark.parametrize(
    "text",
    [
        f"550 <{BOB}>: Recipient address rejected",
        f"550 {BOB.upper()} unknown",
        f"{BOB}",
        "550 User bob.smith unknown",
        "bounce to <x-bob.smith=example.com@lists.example>",
        "see https://x.example/u?a=bob.smith%40example.com",
        "BOB.SMITH: mailbox full",
    ],
)
def test_repetitions_in_other_texts_are_replaced(text: str) -> None:
    event = mail(err_msg=text, header={"X": [text, {text: 1}]}, extra={"later": text})
    shown = masked(event).json().decode().lower()
    assert "bob.smith" not in shown


def test_words_that_only_contain_the_name_are_kept() -> None:
    event = mail("no@x.example", err_msg="550 No such user, not known here; no!", region="no", rcpt_domain="x.example")
    after = masked(event)
    name = after.get("rcpt")
    assert after.get("err_msg") == f"550 {name} such user, not known here; {name}!"
    assert after.get("region") == "no", "structured values are not prose"


def test_raw_bytes_and_attributes_leak_nothing() -> None:
    after = masked(mail(raw=f"rcpt={BOB}&x".encode()))
    assert bytes(after.raw) == after.json()
    assert BOB.lower() not in f"{after!r}".lower()


def test_what_was_encoded_before_is_not_sent() -> None:
    event = mail()
    event.json()
    assert BOB.encode() not in masked(event).json()


@pytest.mark.parametrize("event", [mail(""), make_event(region="x")])
def test_an_empty_or_absent_field_stays_and_so_does_the_event(event: Event) -> None:
    assert Mask(fields=["rcpt"], key=KEY).apply(event) is event


def test_an_undecodable_event_is_left_out() -> None:
    assert Mask(fields=["rcpt"], key=KEY).apply(make_event(type=UNDECODABLE, body=f"rcpt={BOB}")) is None


def test_two_fields_of_one_value_get_one_pseudonym() -> None:
    after = masked(mail(from_=BOB), "rcpt", "from")
    assert after.get("rcpt") == after.get("from")


@given(
    st.from_regex(r"[A-Za-z0-9._+-]{1,12}@[a-z0-9]{1,8}\.[a-z]{2,4}", fullmatch=True),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from([str, str.upper, str.lower, str.title]),
)
def test_an_address_never_survives_in_any_text(rcpt: str, before: str, behind: str, case: Any) -> None:
    after = masked(mail(rcpt, raw=rcpt.encode(), err_msg=f"{before}{case(rcpt)}{behind}", extra={"x": before + rcpt}))
    assert rcpt.lower() not in after.get("err_msg").lower()
    assert rcpt.lower() not in after.get("x").lower()
    assert rcpt.encode() not in bytes(after.raw)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_value_can_be_masked(value: str, text: str) -> None:
    after = masked(mail(value, err_msg=text))
    assert len(after.get("rcpt")) == HEX_DIGITS
    assert msgspec.json.decode(after.json())["rcpt"] == after.get("rcpt")


@pytest.mark.parametrize(
    ("fields", "key", "place"), [(["rcpt"], "short", "key"), ([], KEY, "fields"), (["id"], KEY, "fields")]
)
def test_a_weak_key_or_no_maskable_field_is_a_config_error(fields: list[str], key: str, place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Mask(fields=fields, key=Secret(key)).check()
    assert caught.value.place == place

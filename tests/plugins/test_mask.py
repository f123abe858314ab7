"""The mask step: pseudonyms are stable, and the value is nowhere in what leaves."""

from __future__ import annotations

import hmac
import re
import timeit
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from router import UNDECODABLE, ConfigError, Event, Message, Secret
from router.plugin import is_id
from router.steps import apply, renamed
from router.testing import NOON, make_event
from router_plugins.directmail.decoder import DirectMail
from router_plugins.directmail.fields import Result
from router_plugins.directmail.identity import id_of_delivery
from router_plugins.kafka.records import Recorder
from router_plugins.mask import HEX_DIGITS, Mask

KEY = Secret("0123456789abcdef0123456789abcdef")
BOB = "Bob.Smith@Example.com"

REQUIRED = tuple(field.name for field in msgspec.structs.fields(Result) if field.required)


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


def decoded(rcpt: str, received: float = 0.0) -> Event:
    text = (
        f"env_id=1&msg_id=<m@x.example>&account=a@shop.example&from=a@shop.example&rcpt={rcpt}"
        "&recv_time=2026-11-23 10:00:00&end_time=2026-11-23 10:00:01&status=2&event=deliver&region=cn-hangzhou"
        "&err_code=550&err_msg=550 no"
    )
    return DirectMail().decode(Message(text.encode(), received, {"message_id": "M1"}), "s")


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


def test_everything_else_of_the_event_but_its_id_stays() -> None:
    before = mail(region="cn-hangzhou", from_="news@shop.example", tries=3, tag=None)
    after = masked(before)
    assert (after.type, after.time, after.received, after.source) == (
        before.type, before.time, before.received, before.source,
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


def test_the_id_cannot_be_found_by_trying_addresses_and_is_the_same_for_the_same_result() -> None:
    """It was a digest without a key of env_id, rcpt, status and end_time, three of which stand beside it."""
    event = decoded("mike@qq.com")
    one = masked(event)
    known = [str(one.get(name)) for name in ("env_id", "rcpt", "status", "end_time")]
    guessed = {
        id_of_delivery(known[0], rcpt, known[2], known[3]) for rcpt in ("mike@qq.com", known[1], one.get("rcpt"))
    }
    assert one.id not in guessed | {event.id}
    assert event.id not in one.json().decode() + repr(one)
    assert is_id(one.id)
    assert one.id == masked(decoded("mike@qq.com", received=9.0)).id != masked(decoded("nike@qq.com")).id
    other = Mask(fields=["rcpt"], key=Secret("f" * 32)).apply(event)
    assert other is not None
    assert other.id != one.id


def test_the_id_is_hmac_sha256_of_another_kind_than_pseudonyms() -> None:
    """So that nobody who may choose an address learns an event's id, or the other way round."""
    event = decoded("mike@qq.com")
    expected = hmac.digest(KEY.encode(), b"\xff" + event.id.encode(), "sha256").hex()[:32]
    assert masked(event).id == expected != masked(mail(event.id)).get("rcpt")


def test_an_event_goes_through_two_masks_and_has_one_id_for_the_same_result() -> None:
    steps = [Mask(fields=["rcpt"], key=KEY), Mask(fields=["env_id"], key=Secret("g" * 32))]
    event = decoded("mike@qq.com")
    one, again = apply(steps, event), apply(steps, event)
    assert isinstance(one, Event)
    assert isinstance(again, Event)
    assert one.id == again.id == renamed(steps, event.id) != event.id
    assert one.json() == again.json()


@pytest.mark.parametrize("name", ["msg_id", "env_id", "X-Notify-Message-ID"])
@pytest.mark.parametrize("value", ["<2026.abc-1@mail.example>", "2026.abc-1@mail.example", "<600101>", "777"])
def test_names_of_a_mail_are_masked_with_and_without_brackets(name: str, value: str) -> None:
    attribute = {"X-Notify-Message-ID": "notify_message_id"}.get(name, name)
    bare = value.strip("<>")
    said: dict[str, Any] = {"err_msg": f"550 mail {bare} refused, see <{bare}>", "extra": {"note": f"it is {value}"}}
    texts: dict[str, Any] = {**dict.fromkeys(REQUIRED, ""), "rcpt": BOB, **said, attribute: value}
    event = replace(mail(), fields=Result(**texts))
    after = masked(event, name)
    pseudonym = after.get(name)
    assert bare not in after.json().decode() + repr(after)
    assert after.get("err_msg") == f"550 mail {pseudonym} refused, see <{pseudonym}>"
    twin = masked(replace(event, fields=replace(event.fields, **{attribute: bare})), name)
    assert twin.get(name) == pseudonym, "one form writes the brackets, another one does not"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("550 <carol@y.example> unknown", "550 <{carol@y.example}> unknown"),
        ("550 carol@y.example.", "550 {carol@y.example}."),
        ("carol@y.example", "{carol@y.example}"),
        ("550 'carol@y.example': no such user", "550 '{carol@y.example}': no such user"),
        ("550 <carol@y> and <dave@[192.0.2.1]>", "550 <{carol@y}> and <{dave@[192.0.2.1]}>"),
        ("550 dave@[IPv6:2001:db8::1] x", "550 {dave@[IPv6:2001:db8::1]} x"),
        ('550 "carol ann"@y.example', '550 {"carol ann"@y.example}'),
        ("forwarded to=carol@y.example;", "forwarded to={carol@y.example};"),
        ("smtp.mailfrom=carol@y.example fails", "smtp.mailfrom={carol@y.example} fails"),
        ("https://y.example/u?id=1&to=carol%40y.example&x", "https://y.example/u?id=1&to={carol@y.example}&x"),
        ("https://y.example/no/carol@y.example", "https://y.example/no/{carol@y.example}"),
        ("%3Ccarol%2Bann%40y.example%3E", "{carol+ann@y.example}%3E"),
        ("<b-carol=y.example@lists.example>", "<{b-carol=y.example@lists.example}>"),
        ("<SRS0=x=y=y.example=carol@f.example>", "<{SRS0=x=y=y.example=carol@f.example}>"),
        ("用户carol@y.example不存在", "用户{carol@y.example}不存在"),
        ("用户\uff1a用户@例子.中国 不存在", "用户\uff1a{用户@例子.中国} 不存在"),
        ("josé.garcía@y.example", "{josé.garcía@y.example}"),
        ("<@relay.example:carol@y.example>", "<@relay.example:{carol@y.example}>"),
        ("carol@y.example,dave@z.example", "{carol@y.example},{dave@z.example}"),
        ("carol\uff20y.example carol&#64;y.example", "{carol@y.example} {carol@y.example}"),
        ("mailbox carol@ is full", "mailbox {carol@} is full"),
        ("550 5.1.1 no @ here", "550 5.1.1 no @ here"),
        ("user=bob.smith", "user={bob}"),
        ("user=Bob.Smith@example.com", "user={BOB}"),
        ("notbob.smith@example.com", "{notbob.smith@example.com}"),
        ("bob.smith@example.com.evil", "{bob.smith@example.com.evil}"),
        ("x@y@z", "{x@y@z}"),
        ("@[carol@y.example]", "@[{carol@y.example}]"),
    ],
)
@pytest.mark.parametrize("keep_domain", [False, True])
def test_every_address_in_a_reply_is_replaced_by_its_pseudonym(text: str, expected: str, keep_domain: bool) -> None:  # noqa: FBT001 - a parameter
    pseudonym_of = partial(_pseudonym, keep_domain=keep_domain)
    bob = pseudonym_of(BOB)
    wanted = re.sub(r"\{(.*?)\}", lambda m: pseudonym_of(m[1]), expected.replace("{BOB}", "\0"))
    wanted = wanted.replace("\0", bob).replace(pseudonym_of("bob"), bob.partition("@")[0])
    assert masked(mail(err_msg=text), keep_domain=keep_domain).get("err_msg") == wanted


def _pseudonym(value: str, *, keep_domain: bool) -> str:
    return str(masked(mail(value), keep_domain=keep_domain).get("rcpt"))


def test_addresses_in_a_reply_are_replaced_whatever_is_masked_and_where_there_is_no_recipient() -> None:
    said = "550 <Carol@Y.example> unknown"
    for event, field in ((mail(err_msg=said), "region"), (mail("", err_msg=said), "rcpt"), (mail(err_msg=said), "tag")):
        after = masked(event, field)
        assert "arol" not in after.json().decode() + repr(after)
        assert after.id != event.id


@pytest.mark.parametrize("piece", ["@", "a@", '"@', '\\"', "a.-=", "%40", "[@", "?a=", "//", "&#64;", "x@y "])
def test_a_hostile_reply_takes_no_longer_than_its_length_asks_for(piece: str) -> None:
    short, long = (mail(err_msg=piece * (size // len(piece)) + "@x") for size in (10_000, 80_000))
    took = [min(timeit.repeat(partial(masked, event), number=1, repeat=3)) for event in (short, long)]
    assert took[1] < 40 * took[0] + 0.05


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


@settings(max_examples=100)
@given(
    st.from_regex(r"[A-Za-z0-9._+=-]{0,6}[A-Za-z]{3}@[a-z0-9]{1,8}(\.[a-z]{2,4})?", fullmatch=True),
    st.text(st.sampled_from("ab@[]<>\"\\'%40=&;:., ()@/?例\u200b#64")),
    st.text(st.sampled_from("ab@[]<>\"\\'%40=&;:., ()@/?例\u200b#64")),
)
def test_nobodys_address_survives_in_a_reply(address: str, before: str, behind: str) -> None:
    after = masked(mail(err_msg=f"{before}{address}{behind}"))
    assert address not in after.get("err_msg")
    assert f"{address.partition('@')[0]}@" not in after.get("err_msg")


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


def test_what_sinks_write_has_the_keyed_id_alone() -> None:
    """Such as the header of a Kafka record, which also says its partition where it has no key."""
    event = decoded("mike@qq.com")
    after = masked(event)
    (record,) = Recorder("t", "", raw=True, max_record=10_000).records([after], {})["t"]
    assert (record.id, record.key) == (after.id, None)
    assert event.id.encode() not in record.value
    assert after.id.encode() in record.value

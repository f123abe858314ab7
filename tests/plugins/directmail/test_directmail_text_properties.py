"""The legacy text, for any values: what was rendered is what is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.event import Event
from router_plugins.charsets import trimmed
from router_plugins.directmail.text import lenient, strict

Decode = Callable[..., Event]

KEYS = (
    "env_id", "msg_id", "account", "from", "rcpt", "recv_time", "end_time", "status", "event", "region", "err_code",
    "err_msg",
)  # fmt: skip
SAMPLE: dict[str, str] = {
    "env_id": "457323378", "msg_id": "77041400535408", "account": "test@test.com", "from": "test@test.com",
    "rcpt": "abc@abc.com", "recv_time": "2017-04-14 11:44:47", "end_time": "2017-04-14 11:44:48", "status": "0",
    "event": "deliver", "region": "cn-hangzhou", "err_code": "250", "err_msg": "250 Send Mail OK",
}  # fmt: skip


def render(values: Mapping[str, str]) -> str:
    text = "&".join(f"{key}={values[key]}" for key in KEYS)
    if "failed_type" not in values:
        return text
    return f"X-Notify-Message-ID={values['X-Notify-Message-ID']}&{text}&failed_type={values['failed_type']}"


FAKE = render(SAMPLE | {"status": "4"})
PIECES = [*(f"&{key}=" for key in KEYS), "&failed_type=", "=", "&", "a", "b@c.com", "0", ".", "+", "%41", f"&{FAKE}"]

characters = st.characters(exclude_categories=["Cs"])
anything = st.text(characters, max_size=60) | st.lists(
    st.sampled_from([*PIECES, " ", "\n", "\0", '"', "\\", "2017-04-14 11:44:47"]) | st.text(characters, max_size=5),
    max_size=12,
).map("".join)
token = st.from_regex(r"[A-Za-z0-9_.:-]{0,20}", fullmatch=True)
when = st.datetimes().map(lambda t: t.isoformat(" ", "seconds")).filter(lambda text: len(text) == 19)

domain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='&=@" \t\r\n'), min_size=1, max_size=20)
blankless = st.lists(
    st.sampled_from([p for p in PIECES if " " not in p and "@" not in p])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters='@" \t\r\n'), max_size=5),
    max_size=8,
).map("".join)
unquoted = blankless.filter(bool)
quoted = anything.map(lambda text: '"' + text[:300].replace("\\", "\\\\").replace('"', '\\"')[:320] + '"').filter(
    lambda local: (len(local) - len(local[:-1].rstrip("\\")) - 1) % 2 == 0
)
address = st.builds("{}@{}".format, unquoted | quoted, domain)
sender = address.filter(lambda text: "account" not in text)
message_id = st.lists(
    blankless | st.sampled_from(["&account=x@y.z", "&account=x@y.z&from=", "&account=x@y.z&from=x@y.z&rcpt="]),
    max_size=3,
).map("".join)

results = st.fixed_dictionaries(
    {
        "env_id": token,
        "msg_id": message_id,
        "account": sender,
        "from": sender,
        "rcpt": address,
        "recv_time": when,
        "end_time": when,
        "status": token,
        "event": st.sampled_from(["deliver", "open", "foo"]),
        "region": token,
        "err_code": token,
        "err_msg": anything.map(lambda text: trimmed(f"={text}")[1:]),  # a zero at the end is no part of a message
    }
)
later_results = st.builds(
    lambda values, notify, failed_type: {**values, "X-Notify-Message-ID": notify, "failed_type": failed_type},
    results.filter(lambda values: not any("&env_id=" in value for value in values.values())),  # two results in one text
    token,
    token,
)


@given(results | later_results)
@example({**SAMPLE, "account": f'"{FAKE}"@x.com', "msg_id": "a&b"})
@example({**SAMPLE, "msg_id": "a&account=", "rcpt": f'"{FAKE}"@x.com', "err_msg": FAKE})
def test_any_values_are_read_back_as_they_were_written(decode: Decode, values: dict[str, str]) -> None:
    event = decode(render(values))
    assert {key: event.get(key) for key in values} == values


@given(results | later_results)
def test_where_the_strict_reading_succeeds_the_lenient_one_gives_the_same(values: dict[str, str]) -> None:
    text = render(values)
    exact = strict(text)
    assert exact is None or exact == lenient(text)


@given(st.lists(st.sampled_from([*PIECES, render(SAMPLE), "X-Notify-Message-ID=1&", " ", "\n", '"']), max_size=30))
def test_the_readings_agree_on_anything_that_both_accept(pieces: list[str]) -> None:
    for text in (
        "".join(pieces),
        render(SAMPLE | {"rcpt": "".join(pieces)}),
        render(SAMPLE | {"msg_id": "".join(pieces)}),
    ):
        exact = strict(text)
        assert exact is None or exact == lenient(text)


@given(
    st.lists(st.sampled_from([*PIECES, " ", '"', "@", "2017-04-14 11:44:47"]), max_size=12)
    .map("".join)
    .filter(lambda text: "&account=" not in text and "&recv_time=2" not in text)  # what has two readings
)
def test_a_recipient_of_any_kind_changes_nothing_before_it(decode: Decode, rcpt: str) -> None:
    event = decode(render(SAMPLE | {"rcpt": rcpt}))
    assert [event.get(key) for key in ("env_id", "msg_id", "account", "from")] == [
        SAMPLE[key] for key in ("env_id", "msg_id", "account", "from")
    ]


@pytest.mark.parametrize("key", KEYS)
def test_a_message_without_one_of_its_keys_still_has_the_others(decode: Decode, key: str) -> None:
    values: dict[str, Any] = dict(SAMPLE)
    del values[key]
    event = decode("&".join(f"{name}={value}" for name, value in values.items()))
    assert {name: event.get(name) for name in values if name != key} == values

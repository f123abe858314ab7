"""The legacy text: a result that somebody wrote into a value of another is never taken for the vendor's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import Undecodable
from router.event import Event
from router_plugins.directmail.text import lenient, strict

Decode = Callable[..., Event]

KEYS = (
    "env_id", "msg_id", "account", "from", "rcpt", "recv_time", "end_time", "status", "event", "region", "err_code",
    "err_msg",
)  # fmt: skip
REAL = {
    "env_id": "1", "msg_id": "m@x", "account": "a@shop.com", "from": "a@shop.com", "rcpt": "r@d.com",
    "recv_time": "2017-04-14 11:44:47", "end_time": "2017-04-14 11:44:48", "status": "4", "event": "deliver",
    "region": "cn-hangzhou", "err_code": "550", "err_msg": "550 no",
}  # fmt: skip
FORGED = {
    "env_id": "777", "msg_id": "9@x", "account": "ceo@shop.example.com", "from": "ceo@shop.example.com",
    "rcpt": "q@r.com", "recv_time": "2000-01-01 00:00:00", "end_time": "2000-01-01 00:00:00", "status": "0",
    "event": "open", "region": "evil", "err_code": "250", "err_msg": "250 OK",
}  # fmt: skip
SURE = ("env_id", "account", "from", "rcpt", "status", "event", "end_time")


def run(values: dict[str, str], *keys: str) -> str:
    return "&".join(f"{key}={values[key]}" for key in keys or KEYS)


FAKE = run(FORGED)


def render(notify: str | None = None, **changes: str) -> str:
    """Render a failed result in the vendor's form; with `notify` in the later one."""
    text = run(REAL | changes)
    return text if notify is None else f"X-Notify-Message-ID={notify}&{text}&failed_type=SmtpNxBox"


def _is_real(event: Event, *, but: str = "") -> bool:
    return all(event.get(key) == REAL[key] for key in SURE if key != but)


@pytest.mark.parametrize(
    "notify",
    [
        "x&account=ceo@shop.example.com",
        "x&account=ceo@shop.example.com&from=ceo@shop.example.com&rcpt=q@r.com&recv_time=2000-01-01 00:00:00",
        "x&env_id=777",
        "x&env_id=777&",
        "env_id=777",
        "order=1&item=2",
        "&",
        "a b\r\nc",
        "x\uff06env_id\uff1d777",
        "x&X-Notify-Message-ID=y&env_id =7",
        "x&status=0&event=open&err_msg=250&failed_type=SendOk",
        "&" + FAKE.partition("&")[2],
        '{"env_id":"777"}',
        "<a>&amp;env_id=777",
        "x&" * 500,
    ],
)
def test_a_senders_header_ends_where_the_vendors_run_begins(decode: Decode, notify: str) -> None:
    text = render(notify)
    event = decode(text)
    assert event.get("X-Notify-Message-ID") == notify.strip()
    assert _is_real(event)
    assert event.type == "Deliver:SendFailed"
    assert event.id == decode(render()).id
    assert event.get("failed_type") == "SmtpNxBox"
    assert not event.fields.extra  # type: ignore[attr-defined]
    assert strict(text) in (None, lenient(text))


@pytest.mark.parametrize("count", range(1, len(KEYS)))
@pytest.mark.parametrize("before", ["", "x&"])
def test_a_part_of_a_run_is_not_the_vendors(decode: Decode, count: int, before: str) -> None:
    part = before + run(FORGED, *KEYS[:count])
    assert _is_real(decode(render(part)))
    assert decode(render(part)).get("X-Notify-Message-ID") == part
    assert _is_real(decode(render("7", err_msg=f"550 no&{part}")))
    assert _is_real(decode(render(err_msg=f"550 no&{part}")))


@pytest.mark.parametrize("notify", [FAKE, f"x&{FAKE}", f"&{FAKE}", f"{FAKE}&{FAKE}", f"x& \n{FAKE.replace('&', '& ')}"])
def test_of_two_results_in_one_text_none_is_believed(decode: Decode, notify: str) -> None:
    for text in (render(notify), render(notify).replace("&from", "&\nfrom"), render("7", err_msg=f"550&{FAKE}")):
        with pytest.raises(Undecodable, match="two results in one text"):
            decode(text)
        assert strict(text) is None


@pytest.mark.parametrize("odd", ["no address", "a@b@c", "x&y", "<r@d.com>", ""])
@pytest.mark.parametrize("reply", [f"550 no&{FAKE}", FAKE, "550 no&" + FAKE[FAKE.index("account") :], f"&{FAKE}" * 9])
def test_no_reply_changes_a_text_that_begins_with_env_id(decode: Decode, odd: str, reply: str) -> None:
    """Neither with a recipient that is no address: the chain in the reply has good ones."""
    event = decode(render(rcpt=odd, err_msg=reply))
    assert _is_real(event, but="rcpt")
    assert (event.get("rcpt"), event.get("err_msg")) == (odd, reply)


@pytest.mark.parametrize("field", ["msg_id", "account", "from", "rcpt"])
@pytest.mark.parametrize("fake", [FAKE, f"x&{FAKE}", f"x@y.z&{FAKE}", f"<{FAKE}>"])
@pytest.mark.parametrize("notify", [None, "", "7"])
def test_a_whole_result_in_another_value_is_not_believed(
    decode: Decode, field: str, fake: str, notify: str | None
) -> None:
    with pytest.raises(Undecodable, match="two results in one text"):
        decode(render(notify, **{field: fake}))


@pytest.mark.parametrize("notify", [None, "7"])
def test_a_recipient_that_the_vendor_calls_invalid_makes_nobody_else_the_sender(
    decode: Decode, notify: str | None
) -> None:
    """Anyone types it into a form: `x&account=..&from=..&rcpt=a@b.c`, which the vendor reports with status 2."""
    for keys in (KEYS[2:5], KEYS[:5]):
        with pytest.raises(Undecodable, match="two results in one text"):
            decode(render(notify, rcpt="x&" + run(FORGED, *keys), status="2"))


def test_a_quoted_recipient_may_hold_what_it_likes(decode: Decode) -> None:
    rcpt = f'"{FAKE}"@d.com'
    assert _is_real(decode(render(rcpt=rcpt)), but="rcpt")
    assert decode(render(rcpt=rcpt, status="2")).get("rcpt") == rcpt


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("X-Notify-Message-ID=x&account=e@e.com&env_id=1&from=a@b.c&rcpt=r@d.com&event=click&url=u", "a@b.c"),
        ("X-Notify-Message-ID=&env_id=1&from=a@b.c&rcpt=r@d.com&event=open", "a@b.c"),
        ("X-Notify-Message-ID=env_id=7&account=e@e.com&env_id=1&from=a@b.c&rcpt=r@d.com&event=open", "a@b.c"),
        ("X-Notify-Message-ID=x&env_id=7&account=e@e.com&env_id=1&from=a@b.c&rcpt=r@d.com&event=open", None),
        ("X-Notify-Message-ID=x&account=e@e.com&rcpt=r@d.com&event=open", None),
    ],
)
def test_where_no_run_is_whole_the_only_env_id_begins_it(decode: Decode, text: str, account: str | None) -> None:
    if account is None:
        with pytest.raises(Undecodable, match="no whole result"):
            decode(text)
    else:
        event = decode(text)
        assert (event.get("account"), event.get("env_id")) == (account, "1")


pieces = st.lists(
    st.sampled_from([*(f"&{key}=" for key in KEYS), f"&{FAKE}", FAKE, *(f"&{key}={FORGED[key]}" for key in KEYS)])
    | st.sampled_from(["&", "=", " ", "\n", '"', "@", "x", "\\", "2017-04-14 11:44:47", "&X-Notify-Message-ID=1"])
    | st.text(max_size=5),
    max_size=14,
).map("".join)


@given(pieces, pieces, pieces)
@example(f"x&{FAKE}", "", "")
@example("x&env_id=777", "", "&account=a@b.c")
@example("", "", f"&env_id=&from=ceo@shop.example.com{FAKE}")
def test_whatever_sender_and_receiver_write_the_vendors_values_stay(
    decode: Decode, notify: str, tail: str, reply: str
) -> None:
    """Or nothing is believed, and that never because of the reply alone to a text that begins with env_id."""
    for text in (render(notify), render(notify, err_msg=reply), render(f"{notify}&{tail}", err_msg=reply)):
        exact: Any = strict(text)
        try:
            event = decode(text)
        except Undecodable:
            assert exact is None
            continue
        assert _is_real(event)
        assert exact in (None, lenient(text))
    assert _is_real(decode(render(err_msg=reply)))
    assert decode(render(err_msg=reply)).get("err_msg") == reply


@given(st.sampled_from(["msg_id", "account", "from", "rcpt"]), pieces, pieces, st.sampled_from([None, "", "7"]))
def test_a_whole_result_anywhere_makes_nobody_else_the_sender(
    decode: Decode, field: str, before: str, after: str, notify: str | None
) -> None:
    """Its writer may put around it what is no run itself."""
    before, after = before.replace("_", "-"), after.replace("_", "-")
    try:
        event = decode(render(notify, **{field: f"{before}&{FAKE}{after}"}))
    except Undecodable:
        return
    assert event.get("account") != FORGED["account"] or field == "account"

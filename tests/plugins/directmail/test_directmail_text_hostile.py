"""The legacy text against those who want it to take long: reading stays linear."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import pytest

from router.errors import Undecodable
from router.event import Event

Decode = Callable[..., Event]

LEAD = "env_id=1&msg_id={msg_id}&account={account}&from=a@shop.com&rcpt={rcpt}&recv_time=2017-04-14 11:44:47"
TAIL = "&end_time=2017-04-14 11:44:48&status={status}&event=deliver&region=x&err_code=550&err_msg={err_msg}"


def render(notify: str = "", failed_type: str = "", **changes: str) -> str:
    values = {"msg_id": "m@x", "account": "a@shop.com", "rcpt": "r@d.com", "status": "4", "err_msg": "550 no"}
    text = (LEAD + TAIL).format_map(values | changes)
    return f"X-Notify-Message-ID={notify}&{text}&failed_type={failed_type}" if notify else text


FAKE = render()
SIZE = 256 * 1024


def _filled(piece: str) -> str:
    return piece * (SIZE // len(piece))


@pytest.mark.parametrize(
    "text",
    [
        render(err_msg=_filled("&failed_type=")),
        render(notify="1", err_msg=_filled("&failed_type= x"), failed_type="a b"),
        render(rcpt=_filled("&")),
        render(rcpt='"' + _filled('\\"&recv_time=')),
        render(rcpt=_filled('"a@b.c&')),
        render(msg_id=_filled("&account=a@b&from=c@d&rcpt=e@f")),
        render(msg_id=_filled("&account=")),
        render(msg_id=_filled('&account="')),
        render(account=_filled("& ")),
        _filled("&"),
        "env_id=1&" + "rcpt=&" * 90 + _filled("&&"),
        "env_id=1&" + "rcpt=a@b.c&x=&" * 45 + _filled(f"&{FAKE[:40]}"),
        "env_id=1&" + "msg_id=&" * 90 + _filled("&a "),
        "env_id=1&" + "account=a@b&" * 90 + "x=" + _filled("a"),
        "a" + _filled(" "),
        "env_id=" + _filled("&\t"),
        "a=1&" * 3 + _filled("&" + "a" * 63 + " "),
        _filled("A"),
        _filled(f"{FAKE}&"),
        render(status=_filled("&recv_time=" + "0" * 40)),
        render(notify=_filled("&env_id=7")),
        render(notify=_filled("&  ")),
        render(notify=_filled(f"x&{FAKE}")),
        render(notify=_filled("&recv_time=2017-04-14 11:44:47&end_time=2017-04-14 11:44:48" + "&x=y" * 9)),
        render(notify="1", err_msg=_filled("&env_id=7&msg_id=8&account=a@b&from=a@b&rcpt=c@d")),
        render(msg_id=_filled("&recv_time=2017-04-14 11:44:47&end_time=2017-04-14 11:44:48&status=&x=")),
    ],
)
def test_a_hostile_body_takes_milliseconds(decode: Decode, text: str) -> None:
    took: list[float] = []
    for _ in range(3):  # collecting the garbage of all other tests may fall into one
        start = time.thread_time()
        with contextlib.suppress(Undecodable):
            decode(text)
        took.append(time.thread_time() - start)
    assert min(took) < 0.1

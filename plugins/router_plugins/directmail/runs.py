"""Runs: where in a text of the legacy form the vendor's own result stands, and whether a second one stands there.

A run is what the vendor writes: env_id, msg_id, account, from, rcpt in this order, and then its tail of recv_time,
end_time, status, event, region, err_code up to `err_msg=`, whose values have no `&`. A sender can write a run into the
header that is echoed in front of it (X-Notify-Message-ID) or into a Message-ID, whoever fills in a form into rcpt, and
a receiving server into its reply. Who wrote which of two cannot be told from the text, so then none is believed; but
for one rule, without which anybody's reply could make its own result unreadable: in a text that begins with env_id,
what comes behind a run without anything odd in front is the reply.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from router import Undecodable

_HEADS = ("env_id", "msg_id", "account", "from", "rcpt")
_PLAIN = ("status", "event", "region", "err_code")
_TAIL = "tail"
_PARTS = (*_HEADS, _TAIL)
_INVALID_ADDRESS = "2"
_CODE = re.compile("[2-5][0-9]{2}")
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
TWO = "two results in one text"

_KEYS = "|".join((*_HEADS, "recv_time", "end_time", *_PLAIN, "err_msg"))
_OTHERS = rf"(?:&(?!\s*+(?:{_KEYS})\s*=)[^&]*+){{0,8}}"
"""Keys between those of a run that only a later version of the form has. Python before 3.11.5 is wrong about possessive
repetitions of such a group; what follows this one begins with a key of a run, so that there is little to go back to."""


def _tail(time: str) -> str:
    values = (("recv_time", time), ("end_time", time), *((name, r"[^&]*+") for name in _PLAIN))
    return "".join(rf"&\s*+{name}\s*+={value}\s*+{_OTHERS}" for name, value in values) + r"&\s*+err_msg\s*+="


_TAIL_OF_A_DELIVERY = re.compile(_tail(TIME))
_PART = re.compile(rf"&\s*+({'|'.join(_HEADS)})\s*+=|{_tail('[^&]{0,64}+')}")


def start_of_tail(text: str, start: int, end: int) -> int:
    """Return where between two places the first tail begins that stands there whole; `end` where there is none."""
    tail = _TAIL_OF_A_DELIVERY.search(text, start, end)
    return tail.start() if tail else end


def start_of_run(text: str, start: int) -> int:
    """Return where, behind the sender's value that begins at `start`, the run begins: the last that is whole.

    Where none is whole (nobody has documented the text of opens and clicks), it is where the only env_id stands.
    Raises `Undecodable` where there is none, or one cannot be told from another: it may stand in the reply, behind the
    vendor's.
    """
    parts = [(found[1] or _TAIL, found.start()) for found in _PART.finditer(text, start)]
    wanted = len(_PARTS) - 1
    for name, at in reversed(parts):
        if name == _PARTS[wanted]:
            if wanted == 0:
                if _count((one for one, where in parts if where < at), 0) == len(_PARTS):
                    raise Undecodable(TWO)
                return at
            wanted -= 1
    begins = [at for name, at in parts if name == _HEADS[0]]
    if len(begins) == 1:
        return begins[0]
    raise Undecodable(
        f"X-Notify-Message-ID with {'several' if begins else 'no'} env_id= behind it, and no whole result"
    )


def refuse_two(front: str, values: Mapping[str, str], *, echoed: bool) -> None:
    """Raise `Undecodable` if what stands before the account that was read may belong to another result than the rest.

    `front` is everything before that account. `echoed`: it begins with a sender's value.
    What begins in front may be a whole run, or be one whose rest comes in the reply: then a run stands inside one of
    its values. A mistyped rcpt with keys in it is what status 2 tells of.
    """
    names = _names(front)
    begun = names[names.index(_HEADS[0]) :] if _HEADS[0] in names else []
    count = _count(begun, 0)
    if count == len(begun) <= _HEADS.index("account"):
        return
    behind = _names(values.get("err_msg", ""))
    if not echoed and _HEADS[0] in behind:
        del behind[behind.index(_HEADS[0]) :]
    whole = _count(behind, count) == len(_PARTS)
    if whole or (count == len(_HEADS) and _is_invalid_address(values)):
        raise Undecodable(TWO)


def _is_invalid_address(values: Mapping[str, str]) -> bool:
    """Say whether the vendor reports that the recipient is none; its code is one of SMTP."""
    return values.get("status") == _INVALID_ADDRESS and _CODE.fullmatch(values.get("err_code", "")) is not None


def _names(text: str) -> list[str]:
    return [found[1] or _TAIL for found in _PART.finditer(f"&{text}")]


def _count(names: Iterable[str], count: int) -> int:
    """Return how many parts of a run there are if `count` were already there and the names follow."""
    for name in names:
        if count < len(_PARTS) and name == _PARTS[count]:
            count += 1
    return count

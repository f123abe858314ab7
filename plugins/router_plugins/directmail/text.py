"""The legacy text: `env_id=..&msg_id=..&...&err_msg=..`, read so that no value can pose as another field.

Values are not percent-encoded (PROTOCOL 3.1), so `+`, `%41` and `;` stay as they are, and `&`, `=`, quotes and
newlines occur inside values. Who writes them decides how they are read:

* err_msg is the reply of the receiving server, that is, of anyone. It is last: it takes everything behind the
  first `&err_msg=` that follows the vendor's own fields. In the later form, which `X-Notify-Message-ID=` in front
  tells, `failed_type` comes behind it: what follows the last `&failed_type=`, if it is a plain token.
* X-Notify-Message-ID is the sender's own header. It ends where the vendor's own run begins, env_id to err_msg; of two
  such runs none is believed (`runs`).
* rcpt is whatever somebody typed into a form. Addresses are read by their grammar: an unquoted local part has no
  `@`, blank or quote but may have `&` and `=`; a quoted one ends at its closing quote; a domain has no `&`.
* msg_id and the sender addresses are the sender's. A msg_id with `&` ends where `&account=` begins a whole chain
  of three addresses and a time, which is never one in the reply.
* The rest is the vendor's and has no `&`.

Where a text still has two readings (a mistyped rcpt that holds a whole chain), the one with valid addresses counts;
none does if a whole result stands in one of these values, or if the vendor itself calls the rcpt invalid (status 2).

`strict` reads the documented form with one anchored expression in which nothing is searched for. `parse` reads
the rest key by key: blanks around keys, missing and unknown keys, odd addresses. Where both can read, they agree.
All expressions are bounded, so that reading stays linear in the length of hostile text.
"""

from __future__ import annotations

import re

from router import Undecodable
from router_plugins.directmail.fields import NAMES, Result, domain_of, result_of
from router_plugins.directmail.runs import TIME, refuse_two, start_of_run, start_of_tail

_ORDER = (
    "X-Notify-Message-ID", "env_id", "msg_id", "account", "from", "rcpt",
    "recv_time", "end_time", "status", "event", "region", "err_code", "err_msg",
)  # fmt: skip
_NOTIFY, _ENV_ID = _ORDER[:2]
_MESSAGE_ID_LENGTH = 998
"""The longest line of a mail, RFC 5322 section 2.1.1."""
_CHAIN_LENGTH = 2048
"""Three addresses at their longest, with their keys."""
_REACH = 4096
"""How far from the start of a value its end is looked for, where a nearer end may be taken in the end."""
_MAX_KEYS = 100
_SHOWN = 60
_SPACE = " \t\r\n"

_LOCAL = r'(?:[^@" \t\r\n]{1,320}+|"(?:[^"\\]|\\.){0,320}+")'
_ADDRESS = rf'(?:{_LOCAL}@[^&=@" \t\r\n]{{1,255}}+)'
_PLAIN = r"[^& \t\r\n]{0,998}+"

_STRICT = re.compile(
    rf"(?:X-Notify-Message-ID=({_PLAIN})&)?env_id=({_PLAIN})&msg_id=({_PLAIN})"
    rf'&account=((?:[^@"& \t\r\n]{{1,320}}+@[^&=@" \t\r\n]{{1,255}}+)?+)&from=({_ADDRESS}?)&rcpt=({_ADDRESS}?)'
    rf"&recv_time=({TIME})&end_time=({TIME})&status=({_PLAIN})&event=({_PLAIN})&region=({_PLAIN})"
    rf"&err_code=({_PLAIN})&err_msg=(.*)",
    re.DOTALL,
)
_FAILED_TYPE = re.compile(r"([A-Za-z0-9_.:-]*)\s*")

_KEY = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.-]{0,63})\s*=")
_NEXT_KEY = re.compile(r"&\s*[A-Za-z][A-Za-z0-9_.-]{0,63}\s*=")
_FREE_TEXT = frozenset(("url", "user_agent", "subject"))
"""Values of newer events that contain `&name=` by their nature: only a known key ends them."""


def _before(*names: str) -> re.Pattern[str]:
    """Match the start of one of the keys, behind the value before it."""
    return re.compile(rf"&\s*(?:{'|'.join(names)})\s*=")


_UNKNOWN = rf"&\s*(?!(?:{'|'.join(sorted(NAMES))})\s*=)[A-Za-z][A-Za-z0-9_.-]{{0,63}}\s*=[^&]*+"
_FOLLOWER = {
    "account": re.compile(rf"(?:{_UNKNOWN}){{0,8}}&\s*from\s*="),
    "from": re.compile(rf"(?:{_UNKNOWN}){{0,8}}&\s*rcpt\s*="),
    "rcpt": re.compile(rf"(?:{_UNKNOWN}){{0,8}}&\s*recv_time\s*=\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d:\d\d"),
}
"""What follows an address in the documented order, perhaps behind keys that only a later version of the form has."""
_LATER_KEY = {name: _before(*_ORDER[i + 1 :]) for i, name in enumerate(_ORDER[:-1])}
_KNOWN_KEY = _before(*sorted(NAMES))
_ACCOUNT_KEY = _before("account")
_SENDERS_AND_RCPT = rf"&\s*account\s*=({_ADDRESS}?)&\s*from\s*=({_ADDRESS}?)&\s*rcpt\s*="
_CHAIN = re.compile(rf"{_SENDERS_AND_RCPT}{_ADDRESS}?&\s*recv_time\s*={TIME}", re.DOTALL)
_CHAIN_OF_ODD_RCPT = re.compile(_SENDERS_AND_RCPT, re.DOTALL)
_WHOLE_ADDRESS = re.compile(_ADDRESS, re.DOTALL)
_DELIVERY = re.compile(r"&\s*recv_time\s*=[\d:T .+Z-]{0,40}&\s*end_time\s*=[\d:T .+Z-]{0,40}&\s*status\s*=")


def strict(text: str) -> Result | None:
    """Return the result in a text of exactly the documented form, in about 2 us; None for any other."""
    match = _STRICT.fullmatch(text)
    if match is None:
        return None
    notify, env_id, msg_id, account, from_, rcpt, recv, end, status, event, region, code, msg = match.groups()
    failed_type = ""
    if notify is not None:
        msg, failed_type = _split_failed_type(msg)
        if ("&" in msg or "&" in rcpt or "&" in from_) and text.count(_ENV_ID) > 1:
            return None  # there may be a second result
    return Result(
        env_id, msg_id, account, from_, rcpt, recv, end, status, event, region, code, msg,
        notify or "", failed_type, domain_of(rcpt),
    )  # fmt: skip


def parse(text: str) -> Result:
    """Return the result in a text of the documented form or near it; raises `Undecodable` with what is missing."""
    return strict(text) or lenient(text)


def lenient(text: str) -> Result:
    """Read a text key by key from the left; the first of equal keys wins. Raises `Undecodable`."""
    values: dict[str, str] = {}
    at = front = 0
    for _ in range(_MAX_KEYS):
        key = _KEY.match(text, at)
        if key is None:
            break
        name, start = key[1], key.end()
        if name == "account" and name not in values:
            front = at
        end = _end_of(name, text, start) if at or name != _NOTIFY else start_of_run(text, start)
        value = text[start:end]
        values.setdefault(name, value if name == "err_msg" else value.strip(_SPACE))
        at = end + 1
    if at < len(text):
        raise Undecodable(_reason(text, values))
    _settle_later_form(values, text[:front])
    _require(values, text)
    values.setdefault("account", values.get("from", ""))
    return result_of(values)


def _settle_later_form(values: dict[str, str], front: str) -> None:
    """Part failed_type from err_msg where the form has one; raises `Undecodable` where two results may be told of."""
    echoed = next(iter(values), "") == _NOTIFY
    if echoed:
        front = front.partition("=")[2]
    refuse_two(front, values, echoed=echoed)
    if echoed and "err_msg" in values and "failed_type" not in values:
        values["err_msg"], values["failed_type"] = _split_failed_type(values["err_msg"])


def _reason(text: str, values: dict[str, str]) -> str:
    if values:
        return f"text with more than {_MAX_KEYS} keys"
    return f"neither key=value text nor JSON, XML or base64 of them: {text[:_SHOWN]!r}" if text else "empty message"


def _require(values: dict[str, str], text: str) -> None:
    """Refuse a text that is not about the fate of a mail."""
    missing = ""
    if "event" not in values and not ("status" in values and "rcpt" in values):
        missing = "event= (or status= and rcpt=)"
    elif values.keys().isdisjoint(("env_id", "msg_id", "rcpt")):
        missing = "env_id=, msg_id= and rcpt="
    if missing:
        raise Undecodable(f"text without {missing}: {text[:_SHOWN]!r}" if text else "empty message")


def _split_failed_type(err_msg: str) -> tuple[str, str]:
    """Part what the vendor put behind err_msg from it; what is no plain token is the receiving server's text."""
    reply, key, tail = err_msg.rpartition("&failed_type=")
    token = _FAILED_TYPE.fullmatch(tail) if key else None
    return (reply, token[1]) if token else (err_msg, "")


def _end_of(name: str, text: str, start: int) -> int:
    """Return where the value of a key ends: before the `&` of the next key, or at the end of the text."""
    if name == "err_msg":
        return len(text)
    if name == "msg_id":
        return _end_of_message_id(text, start)
    if name in {"account", "from", "rcpt"}:
        return _end_of_address(name, text, start)
    return _find(_KNOWN_KEY if name in _FREE_TEXT else _NEXT_KEY, text, start)


def _end_of_message_id(text: str, start: int) -> int:
    """Find the `&account=` that begins the chain of addresses: the first one that fits.

    Behind a Message-ID that ends in `&account=x` that would make `x&account=` a part of the account, which decides
    who may see the result; so of chains that begin inside the first one's unquoted account the last one counts.
    """
    longest = start + _MESSAGE_ID_LENGTH
    furthest = min(longest, start_of_tail(text, start, longest + _CHAIN_LENGTH))
    for chain in (_CHAIN, _CHAIN_OF_ODD_RCPT):
        limit, end = furthest, -1
        match = chain.search(text, start, limit + _CHAIN_LENGTH)
        while match and match.start() <= limit:
            if end < 0:
                limit = match.start() if match[1].startswith('"') else match.end(1)
            end = match.start()
            match = chain.search(text, end + 1, limit + _CHAIN_LENGTH)
        if end >= 0:
            return end
    account = _ACCOUNT_KEY.search(text, start, start + _REACH)
    return account.start() if account else _find(_LATER_KEY["msg_id"], text, start)


def _end_of_address(name: str, text: str, start: int) -> int:
    """Find the end of an address by its grammar; of what is none, by what the vendor writes behind it.

    A recipient like `a@b.c&status=0` is no address, and yet the vendor reports it (status 2): everything up to the
    vendor's run of times and status belongs to it.
    """
    address, reach = _WHOLE_ADDRESS.match(text, start), start + _REACH
    if address and _FOLLOWER[name].match(text, address.end(), reach):
        return address.end()
    if _FOLLOWER[name].match(text, start, reach):
        return start
    delivery = _DELIVERY.search(text, start, reach) if name == "rcpt" else None
    if delivery:
        return delivery.start()
    if _LATER_KEY[name].match(text, start):
        return start
    if address and (address.end() == len(text) or _NEXT_KEY.match(text, address.end())):
        return address.end()
    return _find(_LATER_KEY[name], text, start)


def _find(pattern: re.Pattern[str], text: str, start: int) -> int:
    match = pattern.search(text, start)
    return match.start() if match else len(text)

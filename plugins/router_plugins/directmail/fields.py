"""Result: the fields of a DirectMail result, in one vocabulary for all of its wire forms.

The first twelve are those of the vendor's page, in its order, and always present in the JSON; the others
belong to newer forms and are left out when empty. Every value is text, exactly as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from router_plugins.mending import shown


class Result(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What became of one mail to one recipient; PROTOCOL 3.1 (text) and 3.2 (CloudEvents)."""

    env_id: str
    """The system's id of the sending."""
    msg_id: str
    """The mail's Message-ID header."""
    account: str
    """The sender account: whose result it is."""
    from_: str = msgspec.field(name="from")
    rcpt: str
    recv_time: str
    """When the mail was queued, as text without a zone; `send_time` of CloudEvents."""
    end_time: str
    """When its delivery ended; `deliver_time` of CloudEvents."""
    status: str
    """`0` delivered, `2` invalid address, `3` judged spam by the receiver, `4` failed."""
    event: str
    region: str
    err_code: str
    """The SMTP code of the receiving server."""
    err_msg: str
    """The reply of the receiving server, that is, text of anyone."""

    notify_message_id: str = msgspec.field(name="X-Notify-Message-ID", default="")
    """Echo of a header that the sender set."""
    failed_type: str = ""
    rcpt_domain: str = ""
    """Derived: what follows the last `@` of `rcpt`, in lower case."""
    tag: str = ""
    esp: str = ""
    outbound_ip: str = ""
    channel_name: str = ""
    ip_pool_id: str = ""
    is_dedicated_ip: str = ""
    """`true` or `false`."""
    operate_time: str = ""
    client_ip: str = ""
    url: str = ""
    user_agent: str = ""
    send_email: str = ""
    block_email: str = ""
    block_time: str = ""
    """When the recipient complained, in Unix seconds."""
    subject: str = ""
    fbl_isp: str = ""
    fingerprint: str = ""
    extra: dict[str, str] = {}
    """Fields that this version does not know; what is no scalar, as JSON text."""


_DERIVED = ("rcpt_domain", "extra")
RESERVED = frozenset(("id", "type", "time", "received", "source", *_DERIVED))
"""Names that the engine gives to every event, and derived ones: no message may set them."""
DERIVED = frozenset(("class", "reason", "rule", "table", "attempt", "alert"))
"""Names of what the router itself says of a result, or will say: no message may set them either."""
_ATTRIBUTES: Mapping[str, str] = {
    field.encode_name: field.name for field in msgspec.structs.fields(Result) if field.name not in _DERIVED
}
NAMES = frozenset(_ATTRIBUTES)
"""The outward names of everything that a message may say."""
_DOMAIN = re.compile(r"(?:[^\s<>()\"',;.\0\u3002]++(?:\.(?=[^.]))?)*+")
_COMMENT = re.compile(r"\([^()]{0,320}\)")
_AROUND = " \t\r\n<>()\"',;.\0\u3000\u3002\ufeff"
_REQUIRED = {field.name: "" for field in msgspec.structs.fields(Result) if field.required}


def domain_of(address: str) -> str:
    """Return the domain of an address in lower case; empty where there is none.

    Of what people write for an address (`<bob@x>`, `Bob <bob@x.> (home)`) it is that of the address in it.
    """
    _, at, domain = address.rpartition("@")
    return (_plain(domain) or _domain_in(address)) if at else ""


@lru_cache(maxsize=4096)  # there are few, and looking one up takes no longer than writing it in lower case
def _plain(domain: str) -> str:
    """Return a domain in lower case; nothing for what is none as it stands."""
    return domain.lower() if _DOMAIN.fullmatch(domain) else ""


def _domain_in(address: str) -> str:
    """Find the domain where blanks, brackets, quotes, comments or a last dot are around."""
    bare = _COMMENT.sub("", address)
    if "@" not in bare:
        bare = address
    start = bare.rfind("<")
    if start >= 0 and "@" in (inside := bare[start + 1 :].partition(">")[0]):
        bare = inside
    words = bare.rpartition("@")[2].strip(_AROUND).split(maxsplit=1)
    return words[0].strip(_AROUND).lower() if words else ""


def result_of(values: Mapping[str, str]) -> Result:
    """Build a result from values by their outward names (`from`); names it does not know go to `extra`.

    An unknown name that the engine uses for every event (`id`, `type` ...) is kept as `data_id`, `data_type`, and one
    that the router derives (`class`, `reason` ...) as `extra.class`, `extra.reason`.
    """
    known, extra = dict(_REQUIRED), dict[str, str]()
    for name, value in values.items():
        attribute = _ATTRIBUTES.get(name)
        if attribute is None:
            extra[_kept_as(name)] = value
        else:
            known[attribute] = value
    return Result(**known, rcpt_domain=domain_of(known["rcpt"]), extra=extra)


def _kept_as(name: str) -> str:
    """Return the name of an unknown field, such that it is none of the router's, nor one to people."""
    plain = name.strip().lower()
    if plain in RESERVED:
        return f"data_{name}"
    return f"extra.{name}" if plain in DERIVED else name


def shown_of(result: Result) -> Result:
    """Return a result as it is shown: with replacement characters for bytes that are no UTF-8."""
    texts = {name: shown(getattr(result, name)) for name in result.__struct_fields__ if name != "extra"}
    return Result(**texts, extra={shown(name): shown(value) for name, value in result.extra.items()})

"""Names of event types: what every wire form calls them, and the one name that the router uses."""

from __future__ import annotations

from collections.abc import Mapping

SENT = "Deliver:SendSuccessfully"
FAILED = "Deliver:SendFailed"
UNKNOWN = "Deliver:Unknown"
"""A delivery result with a status that the vendor does not document."""
DELIVERIES = frozenset((SENT, FAILED, UNKNOWN))
"""The types that are the result of one delivery, and so have a business key."""

TYPES: Mapping[str, str] = {
    # event rules, and the newer ones of PROTOCOL 3.1
    SENT: SENT,
    FAILED: FAILED,
    UNKNOWN: UNKNOWN,
    "Deliver:Open": "Trace:Open",
    "Deliver:Click": "Trace:Click",
    # CloudEvents, PROTOCOL 3.2
    "dm:Deliver:Succeed": SENT,
    "dm:Deliver:Fail": FAILED,
    "dm:Feedback:FblReport": "Feedback:FblReport",
    "dm:Feedback:Subscribe": "Feedback:Subscribe",
    "dm:Feedback:UnSubscribe": "Feedback:UnSubscribe",
    "dm:Trace:Click": "Trace:Click",
    "dm:Trace:Open": "Trace:Open",
    "dm:Validator:GrayListResult": "Validator:GrayListResult",
    # the same without a prefix: the canonical names
    "Deliver:Succeed": SENT,
    "Deliver:Fail": FAILED,
    "Feedback:FblReport": "Feedback:FblReport",
    "Feedback:Subscribe": "Feedback:Subscribe",
    "Feedback:UnSubscribe": "Feedback:UnSubscribe",
    "Trace:Click": "Trace:Click",
    "Trace:Open": "Trace:Open",
    "Validator:GrayListResult": "Validator:GrayListResult",
    # values of `event=` in the text form
    "open": "Trace:Open",
    "click": "Trace:Click",
    "subscribe": "Feedback:Subscribe",
    "unsubscribe": "Feedback:UnSubscribe",
}
"""Every known name to the canonical one; `event=deliver` is missing because only the status tells which it is."""

_BY_STATUS = {"0": SENT, "2": FAILED, "3": FAILED, "4": FAILED}
_ANY_CASE = {name.lower(): canonical for name, canonical in TYPES.items()}


def type_of_text(event: str, status: str) -> str:
    """Return the type of a message in the text form from its `event=` and `status=`; PROTOCOL 3.1.

    A message without an event is a delivery: that is what `status` speaks of. `foo` becomes `Other:foo`.
    """
    name = event.lower()
    if name in {"deliver", ""}:
        return _BY_STATUS.get(status, UNKNOWN)
    return _ANY_CASE.get(name) or f"Other:{event}"


def type_of_cloud_event(name: str) -> str:
    """Return the type of a CloudEvent of DirectMail; an unknown `dm:Brand:New` becomes `Other:Brand:New`.

    So no message from outside has a type that the router gives to its own events (`Undecodable`, `Resend:Due` ...).
    """
    return TYPES.get(name) or _ANY_CASE.get(name.lower()) or f"Other:{name.removeprefix('dm:')}"

"""Identity: ids that are the same on redelivery, on replay and when a second rule publishes the result again.

A result has no id of its own in the text form, and two rules publish it under different MessageIds (PROTOCOL
3.1 and 4); so its id is a digest of what makes it that result. Every part is written with its length before
it, so that no choice of parts (an address is anyone's text) gives the digest of other parts. Bytes that are no
UTF-8 are lone surrogates in all texts here, and count as what they are. What lacks a part of its key is known
by all of its text: nothing is the same because neither says what it is.
"""

from __future__ import annotations

import re
from hashlib import blake2b

_END_TIME_LENGTH = len("YYYY-MM-DD HH:MM:SS")
_BLANKS = " \t\r\n"
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,][0-9]*)?"
    r" ?(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)? ?(?:\[?[A-Za-z][A-Za-z0-9_+/:-]{1,47}\]?)?"
)


def id_of_delivery(env_id: str, rcpt: str, status: str, end_time: str) -> str:
    """Return the id of a delivery's result, the same from its text and from its CloudEvent.

    The end time counts as `YYYY-MM-DD HH:MM:SS` without zone, because the forms write it differently.
    """
    end = end_time
    if len(end) != _END_TIME_LENGTH or end[10] != " ":  # nearly all are as they should be
        when = _MOMENT.fullmatch(end)
        end = f"{when[1]} {when[2]}" if when else end
    return _digest(f"Deliver {len(env_id)} {env_id} {len(rcpt)} {rcpt} {len(status)} {status} {end}")


def id_of_cloud_event(source: str, event_id: str) -> str:
    """Return the id of a CloudEvent, which its source and id identify (CloudEvents 1.0, section 3.1)."""
    return _digest(f"CloudEvent {len(source)} {source} {event_id}")


def id_of_data(kind: str, source: str, event_id: str, data: str) -> str:
    """Return the id of a CloudEvent without source or id, which then what it says identifies."""
    return _digest(f"Data {len(kind)} {kind} {len(source)} {source} {len(event_id)} {event_id} {data}")


def id_of_text(text: str) -> str:
    """Return the id of a message that nothing but its text identifies; blanks around it do not count."""
    return _digest(f"Text {text.strip(_BLANKS)}")


def _digest(key: str) -> str:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

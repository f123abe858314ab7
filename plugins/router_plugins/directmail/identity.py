"""Identity: ids that are the same on redelivery, on replay and when a second rule publishes the result again.

A result has no id of its own in the text form, and two rules publish it under different MessageIds (PROTOCOL
3.1 and 4); so its id is a digest of what makes it that result. Every part is written with its length before
it, so that no choice of parts (an address is anyone's text) gives the digest of other parts.
"""

from __future__ import annotations

from hashlib import blake2b

_END_TIME_LENGTH = len("YYYY-MM-DD HH:MM:SS")


def id_of_delivery(env_id: str, rcpt: str, status: str, end_time: str) -> str:
    """Return the id of a delivery's result, the same from its text and from its CloudEvent.

    The end time counts as `YYYY-MM-DD HH:MM:SS` without zone, because the forms write it differently.
    """
    end = end_time[:_END_TIME_LENGTH].replace("T", " ")
    return _digest(f"Deliver {len(env_id)} {env_id} {len(rcpt)} {rcpt} {len(status)} {status} {end}")


def id_of_cloud_event(source: str, event_id: str) -> str:
    """Return the id of a CloudEvent, which its source and id identify (CloudEvents 1.0, section 3.1)."""
    return _digest(f"CloudEvent {len(source)} {source} {event_id}")


def id_of_text(text: str) -> str:
    """Return the id of a message that nothing but its text identifies; blanks around it do not count."""
    return _digest(f"Text {text.strip()}")


def _digest(key: str) -> str:
    return blake2b(key.encode(), digest_size=16).hexdigest()

"""What to look for in the bytes of a journal to find a text without decoding: the forms that messages hold it in.

A needle that is found makes an event a candidate, no more: whoever searches compares its decoded fields. An address is
looked for in any case, for receivers' domains and all their users are; in base64, only as it was typed, in small and
capital letters, and with capital initials.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

_ID_DIGITS = 32
_SHORTEST = 6
"""Bytes of a text from which on its base64 says enough to be searched for."""


def needles(text: str) -> tuple[bytes, ...]:
    """Return the forms of a text: as it is, escaped for JSON and XML, and inside of base64.

    In base64 a text looks different by where it begins, in one of three ways; shorter texts than six bytes are not
    looked for in it, nor is what base64 with line breaks tears apart.
    """
    raw = text.encode()
    forms = [raw, json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode()]
    forms.append(escape(text).encode())
    if len(raw) >= _SHORTEST:
        forms += [_inside_base64(raw, shift) for shift in range(3)]
    return tuple(dict.fromkeys(forms))


def _inside_base64(raw: bytes, shift: int) -> bytes:
    """Return the part of the base64 that `shift` (0..2) bytes before the text, and what follows it, leave alone."""
    encoded = b64encode(bytes(shift) + raw)
    return encoded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]


def id_of(text: str) -> bytes | None:
    """Return the 16 bytes of an event id in hex digits; None if the text is none."""
    if len(text) != _ID_DIGITS:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def places(key: bytes, ids: bytes) -> list[int]:
    """Return the indices at which an id stands in a row of ids."""
    found: list[int] = []
    start = ids.find(key)
    while start >= 0:
        if start % len(key) == 0:
            found.append(start // len(key))
        start = ids.find(key, start + 1)
    return found


def folded(text: str) -> str:
    """Return what two texts that mean the same have in common: the small letters of an address, else the text."""
    return text.lower() if "@" in text else text


class Key:
    """What is searched for: an event id, or a text in one of its forms."""

    def __init__(self, text: str) -> None:
        self._id = id_of(text)
        address = "@" in text
        written = (text, text.lower(), text.upper(), text.title()) if address else (text,)
        self._needles = tuple({needle: None for each in written for needle in needles(each)})
        self._small = tuple({needle.lower(): None for needle in self._needles}) if address else ()

    def within(self, ids: bytes, body: bytes) -> bool:
        """Say whether a batch, or one event, may hold it."""
        return (self._id is not None and self._id in ids) or self._in(body)

    def _in(self, body: bytes) -> bool:
        if any(needle in body for needle in self._needles):
            return True
        small = body.lower() if self._small else b""
        return any(needle in small for needle in self._small)

    def indices(self, ids: bytes, messages: Sequence[tuple[bytes, Mapping[str, str]]]) -> list[int]:
        """Return which of a batch's messages (body, attributes) hold it, the last first."""
        found = set(places(self._id, ids)) if self._id else set[int]()
        found.update(i for i, message in enumerate(messages) if self._in_message(*message))
        return sorted(found, reverse=True)

    def _in_message(self, body: bytes, attributes: Mapping[str, str]) -> bool:
        return any(map(self._in, [body, *(text.encode() for text in attributes.values())]))

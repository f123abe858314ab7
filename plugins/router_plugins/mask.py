"""Replaces fields by pseudonyms, so that a department can count recipients without learning who they are.

A pseudonym is a keyed hash (HMAC-SHA256): the same value always gives the same one, and nobody without the key can
find the value by trying addresses. It replaces the field, and the value wherever else the event repeats it, as mail
servers do in their replies. The message's bytes are replaced by the masked event's JSON, so `form: raw` leaks nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, cast

import msgspec
from msgspec.structs import replace

from router import UNDECODABLE, ConfigError, Event, FieldName, Secret, Step

HEX_DIGITS = 32
"""Length of a pseudonym: 128 bits, so that the pseudonyms of a billion addresses do not collide."""
MIN_KEY = 16
"""Characters that a key has at least; a shorter one can be guessed, and then so can every address."""
UNMISTAKABLE = 8
"""Characters from which a value is replaced inside any text; a shorter one (`cn`) only as a word of a sentence."""
_ENVELOPE = ("id", "type", "time", "received", "source")


class _Needle(msgspec.Struct, frozen=True):
    """A text to look for, already folded, and what to put in its place."""

    text: str
    pseudonym: str
    anywhere: bool
    """Whether it is replaced wherever it stands; otherwise only as a whole word of a text with spaces."""


_Found: TypeAlias = Mapping[str, str]
"""Original values of the masked fields, to their pseudonyms."""


class Mask(Step, frozen=True, kw_only=True):
    """Replace the values of fields by pseudonyms.

    Empty and absent fields stay so. Fields with other names keep their values, also those derived from a masked one
    (`rcpt_domain`), apart from its repetitions: list them too if they say too much. An event of type `Undecodable`
    is left out, since nobody knows where in it the value stands.
    """

    fields: list[Annotated[FieldName, msgspec.Meta(min_length=1)]]
    key: Secret
    keep_domain: bool = False
    """Whether an address keeps what follows its last `@`."""

    def check(self) -> None:
        """Refuse a key that can be guessed, and fields that cannot be masked."""
        if len(self.key) < MIN_KEY:
            raise ConfigError("key", f"is shorter than {MIN_KEY} characters", "make one with: openssl rand -hex 32")
        if not self.fields:
            raise ConfigError("fields", "names no field", "such as [rcpt]")
        for name in self.fields:
            if name in _ENVELOPE:
                raise ConfigError("fields", f"{name} belongs to every event and cannot be masked")

    def apply(self, event: Event) -> Event | None:
        """Return the masked event, the event itself where there is nothing to mask, None for `Undecodable`."""
        if event.type == UNDECODABLE:
            return None
        values = {str(value) for name in self.fields if (value := event.get(name)) is not None} - {""}
        if not values:
            return event
        found = {value: self._pseudonym(value) for value in values}
        needles = sorted(_needles(found), key=lambda needle: -len(needle.text))
        masked = replace(event, fields=self._masked(event.fields, found, needles), encoded=None)
        attributes = {name: _scrub(text, needles) for name, text in event.message.attributes.items()}
        message = replace(event.message, body=masked.json(), attributes=attributes)
        return replace(masked, message=message)

    def added(self) -> Collection[str]:
        """Return that it adds no field."""
        return ()

    def _pseudonym(self, value: str) -> str:
        digest = hmac.digest(self.key.encode(), value.encode(errors="surrogatepass"), "sha256").hex()[:HEX_DIGITS]
        _, at, domain = value.rpartition("@")
        return digest + at + domain if self.keep_domain and at else digest

    def _masked(self, fields: msgspec.Struct, found: _Found, needles: Sequence[_Needle]) -> msgspec.Struct:
        """Return the fields with the named ones replaced and all others scrubbed."""
        changed: dict[str, Any] = {}
        for attribute, name in zip(fields.__struct_fields__, fields.__struct_encode_fields__, strict=True):
            value = getattr(fields, attribute)
            if name in self.fields and value is not None:
                changed[attribute] = found.get(str(value), value)
            elif name == "extra":
                extra = cast("Mapping[str, str]", value)
                changed[attribute] = {
                    key: found.get(text, text)
                    if key in self.fields or f"extra.{key}" in self.fields
                    else _scrub(text, needles)
                    for key, text in extra.items()
                }
            else:
                changed[attribute] = _scrub(value, needles)
        return replace(fields, **changed)


def _needles(found: _Found) -> Iterator[_Needle]:
    """List the forms in which replies repeat a value: as it is, and an address also as `a=b`, `a%40b` and `a` alone."""
    for value, pseudonym in found.items():
        text = _fold(value)
        local, at, domain = text.rpartition("@")
        yield _Needle(text, pseudonym, anywhere=bool(at) or len(text) >= UNMISTAKABLE)
        if at and local and domain:
            yield _Needle(f"{local}={domain}", pseudonym, anywhere=True)  # VERP return paths
            yield _Needle(f"{local}%40{domain}", pseudonym, anywhere=True)  # links for unsubscribing
            yield _Needle(local, pseudonym.partition("@")[0], anywhere=False)  # "mailbox bob is full"


def _scrub(value: Any, needles: Sequence[_Needle]) -> Any:
    """Replace the needles in a text, and in the texts of a list, a mapping or a struct; other values stay."""
    match value:
        case str():
            return _scrub_text(value, needles)
        case msgspec.Raw():
            return msgspec.Raw(_scrub_text(bytes(value).decode(), needles).encode())
        case msgspec.Struct():
            return replace(value, **{name: _scrub(getattr(value, name), needles) for name in value.__struct_fields__})
        case dict():
            mapping = cast("dict[Any, Any]", value)  # type: ignore[redundant-cast]  # pyright needs it
            return {_scrub(key, needles): _scrub(item, needles) for key, item in mapping.items()}
        case list() | tuple():
            items = cast("Sequence[Any]", value)
            return [_scrub(item, needles) for item in items]
        case _:
            return value


def _scrub_text(text: str, needles: Sequence[_Needle]) -> str:
    folded = _fold(text)
    prose = " " in text
    for needle in needles:
        if needle.text in folded and (needle.anywhere or prose):
            text = _replace(text, folded, needle)
            folded = _fold(text)
    return text


def _replace(text: str, folded: str, needle: _Needle) -> str:
    """Replace every occurrence, in any case."""
    pieces: list[str] = []
    end = start = 0
    while (start := folded.find(needle.text, start)) >= 0:
        stop = start + len(needle.text)
        if needle.anywhere or _is_word(folded, start, stop):
            pieces += text[end:start], needle.pseudonym
            end = stop
        start = stop
    return "".join([*pieces, text[end:]]) if pieces else text


def _is_word(text: str, start: int, stop: int) -> bool:
    """Whether nothing that belongs to a word stands at either side."""
    return not text[max(start - 1, 0) : start].isalnum() and not text[stop : stop + 1].isalnum()


def _fold(text: str) -> str:
    """Return the text in lower case, character for character, so that places in it are places in the text."""
    folded = text.lower()
    if len(folded) == len(text):
        return folded
    return "".join([low if len(low := char.lower()) == 1 else char for char in text])

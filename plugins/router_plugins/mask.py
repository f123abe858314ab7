"""Replaces fields by pseudonyms, so that a department can count recipients without learning who they are.

A pseudonym is a keyed hash (HMAC-SHA256): the same value always gives the same one, and nobody without the key can
find the value by trying addresses. It replaces the field, and the value wherever else the event repeats it, as mail
servers do in their replies; in `err_msg` it replaces every address, whoever's it is. The event's id is replaced by a
keyed hash of it, since who knows the rest of what it is made of could try addresses for that, too. The message's bytes
are replaced by the masked event's JSON, and its attributes, which name it, are left out: so `form: raw` leaks nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeAlias, cast

import msgspec
from msgspec.structs import replace

from router import UNDECODABLE, ConfigError, Event, FieldName, Message, Secret, Step
from router_plugins.addresses import Address, addresses

HEX_DIGITS = 32
"""Length of a pseudonym: 128 bits, so that the pseudonyms of a billion addresses do not collide."""
MIN_KEY = 16
"""Characters that a key has at least; a shorter one can be guessed, and then so can every address."""
UNMISTAKABLE = 8
"""Characters from which a value is replaced inside any text; a shorter one (`cn`) only as a word of a sentence."""
_ENVELOPE = ("id", "type", "time", "received", "source")
_REPLY = "err_msg"
"""The field that a receiving server wrote, and with it anybody's address."""
_OF_IDS = b"\xff"
"""Stands before an id that is hashed: no text begins with it in UTF-8, so no value's pseudonym is an id's."""
_ENDS_PREFIX = "=/?&'|"
"""What may stand before a known address as no part of it, although a local part may have it: `user=bob@example.com`."""


class _Needle(msgspec.Struct, frozen=True):
    """A text to look for, already folded, and what to put in its place."""

    text: str
    pseudonym: str
    anywhere: bool
    """Whether it is replaced wherever it stands; otherwise only as a whole word of a text with spaces."""


_Found: TypeAlias = Mapping[str, str]
"""Original values of the masked fields, to their pseudonyms."""


class Mask(Step, frozen=True, kw_only=True):
    """Replace the values of fields by pseudonyms, and the event's id by another one.

    Empty and absent fields stay so. Fields with other names keep their values, also those derived from a masked one
    (`rcpt_domain`), apart from its repetitions: list them too if they say too much. In `err_msg` all addresses are
    replaced; in other free text (`subject`) only repetitions are. An event of type `Undecodable` is left out, since
    nobody knows where in it the value stands.
    """

    renames: ClassVar[bool] = True

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
        found = {value: self._pseudonym(value) for value in values}
        needles = sorted(self._needles(found), key=lambda needle: -len(needle.text))
        fields = self._masked(event.fields, found, needles)
        if not values and fields == event.fields:
            return event
        bare = Message(b"", event.received)
        masked = replace(event, id=self.renamed(event.id), fields=fields, message=bare, encoded=None)
        return replace(masked, message=replace(bare, body=masked.json()))

    def renamed(self, name: str) -> str:
        """Return the id that leaves for one in the journal: always the same, and never a pseudonym of a value."""
        return hmac.digest(self.key.encode(), _OF_IDS + name.encode(), "sha256").hex()[:HEX_DIGITS]

    def added(self) -> Collection[str]:
        """Return that it adds no field."""
        return ()

    def _pseudonym(self, value: str) -> str:
        """Return the pseudonym of a value, the same with and without angle brackets around it."""
        value = _bare(value)
        digest = hmac.digest(self.key.encode(), value.encode(errors="surrogatepass"), "sha256").hex()[:HEX_DIGITS]
        _, at, domain = value.rpartition("@")
        return digest + at + domain if self.keep_domain and at else digest

    def _masked(self, fields: msgspec.Struct, found: _Found, needles: Sequence[_Needle]) -> msgspec.Struct:
        """Return the fields with the named ones replaced and all others scrubbed, replies of all addresses."""
        changed: dict[str, Any] = {}
        for attribute, name in zip(fields.__struct_fields__, fields.__struct_encode_fields__, strict=True):
            value = getattr(fields, attribute)
            if not value and value.__class__ is str:
                continue
            if name in self.fields and value is not None:
                changed[attribute] = found.get(str(value), value)
            elif name == "extra":
                extra = cast("Mapping[str, str]", value)
                changed[attribute] = {key: self._other(key, text, found, needles) for key, text in extra.items()}
            elif (other := self._other(name, value, {}, needles)) is not value:
                changed[attribute] = other
        return replace(fields, **changed)

    def _other(self, name: str, value: Any, found: _Found, needles: Sequence[_Needle]) -> Any:
        if found and (name in self.fields or f"extra.{name}" in self.fields):
            return found.get(value, value)
        return self._scrub_reply(value, needles) if name == _REPLY and type(value) is str else _scrub(value, needles)

    def _scrub_reply(self, text: str, needles: Sequence[_Needle]) -> str:
        """Replace the needles in a reply, which is prose even without a space, and all addresses."""
        folded = _fold(text)
        near = [needle for needle in needles if needle.text in folded]
        hits = [_Hit(*place, one.pseudonym) for one in near for place in _occurrences(folded, one, prose=True)]
        known = {needle.text: needle.pseudonym for needle in needles if needle.anywhere}
        ends = {hit.stop: hit.start for hit in reversed(hits)}  # the longest hit of an end
        for one in addresses(text):
            if not _is_prefixed(folded, one, ends.get(one.stop)):
                pseudonym = known.get(_fold(one.text)) or self._pseudonym(one.text)
                hits.append(_Hit(one.start, one.stop, pseudonym))
        return _exchange(text, hits)

    def _needles(self, found: _Found) -> Iterator[_Needle]:
        """List the forms in which other texts repeat a value.

        As it is, without angle brackets (`<id@host>`), an address behind a name (`Bob <bob@host>`), an address also as
        `a=b`, `a%40b` and `a` alone.
        """
        for value, pseudonym in found.items():
            text = _bare(value)
            yield _Needle(_fold(text), pseudonym, anywhere="@" in text or len(text) >= UNMISTAKABLE)
            if text.endswith(">") and "<" in text:
                address = _bare(text[text.rindex("<") :])
                yield _Needle(_fold(address), self._pseudonym(address), anywhere="@" in address)
                yield from _forms(_fold(address), self._pseudonym(address))
            else:
                yield from _forms(_fold(text), pseudonym)


def _forms(text: str, pseudonym: str) -> Iterator[_Needle]:
    """List the forms of an address other than itself, if the text is one."""
    local, _, domain = text.rpartition("@")
    if local and domain:
        yield _Needle(f"{local}={domain}", pseudonym, anywhere=True)  # VERP return paths
        yield _Needle(f"{local}%40{domain}", pseudonym, anywhere=True)  # links for unsubscribing
        for name in {local, local.partition("+")[0]} - {""}:
            yield _Needle(name, pseudonym.partition("@")[0], anywhere=False)  # "mailbox bob is full"


class _Hit(msgspec.Struct, frozen=True):
    """What stands from `start` to before `stop` is to be replaced."""

    start: int
    stop: int
    pseudonym: str


def _bare(value: str) -> str:
    """Return what stands in angle brackets, if all does: a Message-ID is written with them or without."""
    inner = value[1:-1]
    return inner if value[:1] == "<" and value[-1:] == ">" and inner.strip("<>") else value


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
    near = [needle for needle in needles if needle.text in folded and (needle.anywhere or prose)]
    if not near:
        return text
    return _exchange(text, [_Hit(*at, one.pseudonym) for one in near for at in _occurrences(folded, one, prose=prose)])


def _occurrences(folded: str, needle: _Needle, *, prose: bool) -> Iterator[tuple[int, int]]:
    """Yield where a needle is to be replaced."""
    if not (needle.anywhere or prose):
        return
    start = 0
    while (start := folded.find(needle.text, start)) >= 0:
        stop = start + len(needle.text)
        if needle.anywhere or _is_word(folded, start, stop):
            yield start, stop
        start = stop


def _is_prefixed(folded: str, address: Address, start: int | None) -> bool:
    """Say whether a known value, from `start` on, ends an address that has before it what is no part of it."""
    return start is not None and address.start < start and folded[start - 1] in _ENDS_PREFIX


def _exchange(text: str, hits: Sequence[_Hit]) -> str:
    """Replace all hits; those that overlap are one, which the longest of them names."""
    pieces: list[str] = []
    end, width = 0, 0
    for hit in sorted(hits, key=lambda hit: (hit.start, -hit.stop)):
        if hit.start >= end:
            pieces += text[end : hit.start], hit.pseudonym
            width = 0
        if hit.stop - hit.start > width:
            pieces[-1], width = hit.pseudonym, hit.stop - hit.start
        end = max(end, hit.stop)
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

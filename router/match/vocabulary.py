"""What can be said of a decoder's events: the names of their fields, and the texts that these can have.

Everything in a config that names a field or compares one goes by this, so that a name is right or wrong everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from string import Formatter

import msgspec

from router.event import ENVELOPE_FIELDS, EXTRA, UNDECODABLE, UndecodableFields
from router.hint import nearest
from router.match.literals import Fault, equal_fault
from router.match.operators import Operator, Suffix
from router.plugin import Decoder
from router.values import ENVELOPE, Values, of_type


class Vocabulary:
    """The names and the values of a decoder's events. `sources` are the config's; None where they are not known."""

    def __init__(self, decoder: Decoder, sources: Collection[str] | None = None) -> None:
        fields = {f.encode_name: f for f in msgspec.structs.fields(decoder.fields)}
        self._open = fields.pop("extra", None) is not None
        undecodable = (f.encode_name for f in msgspec.structs.fields(UndecodableFields))
        self.names = frozenset({*fields, *ENVELOPE_FIELDS, *undecodable})
        self._synonyms: Mapping[str, str] = decoder.synonyms
        typed = {name: values for name, field in fields.items() if (values := of_type(field.type))}
        self.values: Mapping[str, Values] = {**typed, **decoder.values, **ENVELOPE}
        self.types: Mapping[str, str] = {name: name for name in decoder.types.values()} | dict(decoder.types)
        if self.types:
            self.types = {**self.types, UNDECODABLE: UNDECODABLE}
        self.sources = sources

    def knows(self, name: str) -> bool:
        """Say whether an event can have a field of this name."""
        return name in self.names or (self._open and name.startswith(EXTRA) and len(name) > len(EXTRA))

    def likely(self, name: str, others: Iterable[str] = ()) -> str:
        """Return the hint for a name that is not known; `others` are words that could stand there, too."""
        if meant := self._synonyms.get(name.lower()):
            return f"did you mean `{meant}`?"
        if (braced := name.strip("{}$ ")) != name and self.knows(braced):
            return f"did you mean `{braced}`?"
        hint = nearest(name, self.names.union(others))
        free = self._open and hint.startswith("known: ")
        return f"{hint}; what the decoder has no name for is `{EXTRA}NAME`" if free else hint

    def judged(self, field: str, text: str) -> tuple[str, Fault | None]:
        """Return a text that a field is compared with as events have it, and why none has it if that is so."""
        if field == "type":
            values = self.values.get(field)
            known = not self.types or not text or text in self.types or (values is not None and values.include(text))
            fault = None if known else (f"unknown event type `{text}`", nearest(text, self.types))
            return self.types.get(text, text), fault
        if field == "source" and self.sources is not None and text and text not in self.sources:
            return text, (f"there is no source `{text}`", nearest(text, self.sources))
        return text, equal_fault(field, text, self.values.get(field))

    def type_fault(self, operator: Operator, text: str) -> Fault | None:
        """Say why no type is as a prefix, a suffix or a glob wants it; None if one can be."""
        if not self.types or any(operator.holds(name) for name in self.types.values()):
            return None
        begin = "" if isinstance(operator, Suffix) else re.split(r"[*?\[]", text)[0]
        others = self.values["type"].words if "type" in self.values else ()
        if any(begin.startswith(other) or other.startswith(begin) for other in others):
            return None
        return f"no type is like `{text}`", nearest(text, set(self.types.values()))


def names_in(template: str) -> Iterable[str]:
    """Return the names in the braces of a template; none for what is no template, which its owner says."""
    try:
        return tuple(name for _, name, _, _ in Formatter().parse(template) if name)
    except ValueError:
        return ()

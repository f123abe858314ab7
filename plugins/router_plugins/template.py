"""A text with places for an event's fields, such as `archive/{time:%Y-%m-%d}/{region}.jsonl`.

A place is `{name}`, the outward name of a field (`{extra.name}` of one that the decoder does not know), or
`{time:FORMAT}`, the event's own time, in its zone, in the words of strftime. `{{` and `}}` stand for braces. Field
values come from anyone, so the user of a template gives a `clean` function that makes them harmless where they are
going; the text around them and the times are the operator's.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from string import Formatter
from typing import TypeAlias

import msgspec

from router import ConfigError, Event

Clean: TypeAlias = Callable[[str], str]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*|extra\.[^{}\[\]!:]+")
_DIRECTIVES = "aAbBdfGHIjmMpSuUVwWyYzZ%"
"""What strftime knows on every platform and in every locale alike; `%c`, `%x` and `%X` depend on the locale."""
_FORMAT = re.compile(rf"(?:[^%]|%[{_DIRECTIVES}])*", re.DOTALL)


class Part(msgspec.Struct, frozen=True):
    """One piece of a template: literal text, a field (`name`), or the time (`format`)."""

    text: str = ""
    name: str = ""
    format: str = ""

    def render(self, event: Event, clean: Clean) -> str:
        """Return the piece for this event."""
        if self.format:
            return event.time.strftime(self.format)
        if self.name:
            value = event.get(self.name)
            return clean("" if value is None else str(value))
        return self.text


class Template(msgspec.Struct, frozen=True):
    """A parsed template; make it with `parse`."""

    parts: tuple[Part, ...]

    def render(self, event: Event, clean: Clean) -> str:
        """Fill the places in; an absent field is given to `clean` as an empty text."""
        return "".join([part.render(event, clean) for part in self.parts])

    @property
    def constant(self) -> str | None:
        """The text, if no event can change it."""
        return None if any(part.name or part.format for part in self.parts) else "".join(p.text for p in self.parts)

    def sample(self, value: str) -> str:
        """Fill every field in with `value`, and a late time, to see what the template can become."""
        moment = datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC)
        return "".join([moment.strftime(p.format) if p.format else p.text or value for p in self.parts])


def parse(text: str, place: str) -> Template:
    """Parse a template; raise `ConfigError` at `place` for what is no template."""
    if not text:
        raise ConfigError(place, "is empty")
    try:
        pieces = list(Formatter().parse(text))
    except ValueError as error:
        raise ConfigError(place, f"is no template: {error}", "write {{ and }} for braces as such") from error
    parts: list[Part] = []
    for literal, name, spec, conversion in pieces:
        if literal:
            parts.append(Part(text=literal))
        if name is not None:
            parts.append(_place(name, spec or "", conversion, place))
    return Template(tuple(parts))


def _place(name: str, spec: str, conversion: str | None, place: str) -> Part:
    """Read what stands between two braces."""
    if not _NAME.fullmatch(name):
        raise ConfigError(place, f"{{{name}}} is not the name of a field", "such as {region} or {time:%Y-%m-%d}")
    if conversion:
        raise ConfigError(place, f"{{{name}!{conversion}}}: a conversion has no meaning here", f"write {{{name}}}")
    if name != "time":
        if spec:
            raise ConfigError(place, f"{{{name}:{spec}}}: only time takes a format", f"write {{{name}}}")
        return Part(name=name)
    if not spec:
        raise ConfigError(place, "{time} needs a format", "such as {time:%Y-%m-%d}")
    if not _FORMAT.fullmatch(spec):
        raise ConfigError(place, f"{{time:{spec}}} has a directive that is not known", f"one of %{_DIRECTIVES}")
    return Part(format=spec)

"""What may be asked of one field's text.

Every operator sees text: the number 2 and the text "2" are the same, true is "true", and a field that is
absent is the empty text. Of the empty text nothing holds but being equal to it.
"""

# ruff: noqa: D102 - `Operator` says what they do

from __future__ import annotations

import fnmatch
import ipaddress
import re
from functools import lru_cache
from typing import TypeAlias

import msgspec

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?", re.ASCII)


class Operator(msgspec.Struct, frozen=True):
    """A question about one text."""

    def holds(self, text: str) -> bool:
        """Say whether it holds of the text."""
        raise NotImplementedError


class OneOf(Operator, frozen=True):
    """Equal to one of the texts; the empty one stands for an absent field."""

    texts: frozenset[str]

    def holds(self, text: str) -> bool:
        return text in self.texts

    def __repr__(self) -> str:
        """Show the texts in order: a digest of a pattern must be the same in every process."""
        return f"OneOf({sorted(self.texts)!r})"


class Prefix(Operator, frozen=True):
    """Begins with the text."""

    prefix: str

    def holds(self, text: str) -> bool:
        return text != "" and text.startswith(self.prefix)


class Suffix(Operator, frozen=True):
    """Ends with the text."""

    suffix: str

    def holds(self, text: str) -> bool:
        return text != "" and text.endswith(self.suffix)


class Glob(Operator, frozen=True):
    """Matches as a whole, in the case it is written in: `*` any text, `?` one character, `[a-z]` and `[!a-z]` sets."""

    glob: str

    def holds(self, text: str) -> bool:
        return text != "" and _compiled(self.glob).match(text) is not None


class Exists(Operator, frozen=True):
    """Present, and not empty."""

    def holds(self, text: str) -> bool:
        return text != ""


class NumberRange(Operator, frozen=True):
    """A decimal number between the two, both included; None leaves that end open. Other text is outside."""

    low: float | None
    high: float | None

    def holds(self, text: str) -> bool:
        number = number_of(text)
        return (
            number is not None
            and (self.low is None or self.low <= number)
            and (self.high is None or number <= self.high)
        )


class TextRange(Operator, frozen=True):
    """Between the two in the order of Unicode code points, both included; None leaves that end open."""

    low: str | None
    high: str | None

    def holds(self, text: str) -> bool:
        return text != "" and (self.low is None or self.low <= text) and (self.high is None or text <= self.high)


class Cidr(Operator, frozen=True):
    """An address in one of the networks; an IPv4 address mapped into IPv6 counts as the IPv4 address."""

    networks: tuple[Network, ...]

    def holds(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self.networks)


def number_of(text: str) -> float | None:
    """Return the decimal number that the whole text is; whole numbers exactly, None for anything else."""
    if _NUMBER.fullmatch(text) is None:
        return None
    return float(text) if "." in text else int(text)


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4096)
def _compiled(glob: str) -> re.Pattern[str]:
    """Translate the glob; a memo of a pure function."""
    return re.compile(fnmatch.translate(glob))

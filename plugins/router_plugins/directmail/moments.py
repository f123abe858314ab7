"""Moments: the vendor's times are text, mostly without a zone; then the zone comes from the config.

EventBridge also writes them as Java prints them (PROTOCOL 8.3): with the name of the zone glued on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

import msgspec

_OFFSET = re.compile(r"([+-])([01]\d|2[0-3]):?([0-5]\d)")
_YEARS = range(1970, 9999)
"""Times outside cannot be converted between zones safely, and no mail was sent then."""
_UNIX_DIGITS = 11
"""More digits than these are milliseconds."""
_DATE_LENGTH = len("YYYY-MM-DD")
_LONGEST = 96
"""No time has more characters."""
_NAMED = re.compile(
    r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)"
    r"\s*([Zz]|[+-]\d\d(?::?\d\d)?)?\s*(?:\[?([A-Za-z][A-Za-z0-9_+/:-]{1,47})\]?)?",
    re.ASCII,
)
_FROM_UTC = re.compile(r"(?:GMT|UTC|UT)([+-])(\d{1,2})(?::?([0-5]\d))?", re.ASCII | re.IGNORECASE)


class Zone(msgspec.Struct, frozen=True):
    """A configured zone: for a fixed offset also the suffix that makes a text carry it, the faster way."""

    tz: tzinfo
    suffix: str = ""


@lru_cache(maxsize=64)
def zone_of(name: str) -> Zone:
    """Return the zone named by an offset (`+08:00`) or by IANA (`Asia/Shanghai`, `UTC`); raises ValueError."""
    offset = _OFFSET.fullmatch(name)
    if offset:
        sign, hours, minutes = offset.groups()
        delta = timedelta(hours=int(hours), minutes=int(minutes))
        return Zone(timezone(-delta if sign == "-" else delta), f"{sign}{hours}:{minutes}")
    try:
        return Zone(ZoneInfo(name))
    except (LookupError, OSError, ValueError) as error:  # unknown, a directory of the zone tree, or no name at all
        raise ValueError(f"no offset and no IANA zone: {name!r}") from error


@lru_cache(maxsize=256)  # what is unknown is remembered, too
def _zone_called(name: str) -> tzinfo | None:
    """Return the zone that a time names, in any case; also `GMT+8` as Java has it. None for an unknown name."""
    hours = _FROM_UTC.fullmatch(name)
    for known in (f"{hours[1]}{hours[2]:0>2}:{hours[3] or '00'}",) if hours else (name, _spelling().get(name.lower())):
        try:
            return zone_of(known).tz if known else None
        except ValueError:
            continue
    return None


@lru_cache(maxsize=1)
def _spelling() -> Mapping[str, str]:
    return {name.lower(): name for name in available_timezones()}


def moment(text: str, zone: Zone) -> datetime | None:
    """Return the moment that a text names, with zone; None where it names none.

    Understood are ISO 8601 with a blank or a `T`, with or without an offset of its own or the name of a zone, and Unix
    seconds or milliseconds as digits (`block_time`; PROTOCOL 3.2). A name that no zone has says nothing: such a time is
    in the configured zone, as one without a name is.
    """
    return _moment(text, zone) if 0 < len(text) <= _LONGEST else None


@lru_cache(maxsize=4096)  # results come in runs of the same seconds, and reading one costs ten times as much
def _moment(text: str, zone: Zone) -> datetime | None:
    try:
        when = _read(text, zone)
    except (ValueError, OverflowError, OSError):  # an odd time must not cost the message
        return None
    return when if when.year in _YEARS else None


def _read(text: str, zone: Zone) -> datetime:
    if text.isdecimal():
        seconds = int(text[:17])
        return datetime.fromtimestamp(seconds / 1000 if len(text) > _UNIX_DIGITS else seconds, zone.tz)
    if (
        zone.suffix and len(text) > _DATE_LENGTH and text[-1].isdecimal()
    ):  # behind a letter anything is read; behind a date alone the offset would be read as the time
        try:
            return datetime.fromisoformat(text + zone.suffix)  # a sixth of the price of replace(tzinfo=)
        except ValueError:
            pass  # it has an offset of its own, or is no time
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return _read_named(text, zone)
    return when if when.tzinfo else when.replace(tzinfo=zone.tz)


def _read_named(text: str, zone: Zone) -> datetime:
    """Read a time with the name of its zone; an offset that stands beside it says more. Raises ValueError."""
    parts = _NAMED.fullmatch(text.strip())
    if parts is None:
        raise ValueError(text)
    clock, offset, name = parts.groups()
    if offset:
        return datetime.fromisoformat(f"{clock}{offset}".upper())
    return datetime.fromisoformat(clock).replace(tzinfo=(_zone_called(name) if name else None) or zone.tz)

"""Moments: the vendor's times are text without a zone; the zone comes from the config."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

_OFFSET = re.compile(r"([+-])([01]\d|2[0-3]):?([0-5]\d)")
_YEARS = range(1970, 9999)
"""Times outside cannot be converted between zones safely, and no mail was sent then."""
_UNIX_DIGITS = 11
"""More digits than these are milliseconds."""
_DATE_LENGTH = len("YYYY-MM-DD")
_LONGEST = 64
"""No time has more characters."""


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


def moment(text: str, zone: Zone) -> datetime | None:
    """Return the moment that a text names, with zone; None where it names none.

    Understood are ISO 8601 with a blank or a `T`, with or without an offset of its own, and Unix seconds
    or milliseconds as digits (`block_time`; PROTOCOL 3.2).
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
    if zone.suffix and len(text) > _DATE_LENGTH:  # behind a date alone the offset would be read as the time
        try:
            return datetime.fromisoformat(text + zone.suffix)  # a sixth of the price of replace(tzinfo=)
        except ValueError:
            pass  # it has an offset of its own, or is no time
    when = datetime.fromisoformat(text)
    return when if when.tzinfo else when.replace(tzinfo=zone.tz)

"""A moment as people write it: a date and time, or how long ago it was."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

from router.config.quantity import seconds


def moment(text: str, now: float, zone: tzinfo = UTC) -> float:
    """Return the Unix seconds of `2026-11-24T08:00Z` (of `zone` if it names none) or of `2h`, so long before `now`.

    Raises `ValueError` with what is wrong.
    """
    try:
        return now - seconds(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text}: a time is written 2026-11-24T08:00Z, or 2h for two hours ago") from error
    return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()

"""What the answer of a webhook's endpoint means, as an error without secrets in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Annotated, Literal, TypeAlias

import msgspec

from router import ConfigError, Reject, Retry

EXCERPT = 200
"""Characters of an answer that go into an error."""
_REDIRECTS = 3
_OF_US = {HTTPStatus.UNAUTHORIZED, HTTPStatus.PROXY_AUTHENTICATION_REQUIRED}
"""What is about credentials, and so about no single event."""
_HOLDS = {"hold": True, "reject": False}
SHORT = 4
"""Characters below which a secret is not looked for in answers: it would be found in every word."""
Meaning: TypeAlias = Literal["delivered", "retry", "reject", "refuse", "hold", "gone"]
"""What an answer means for its event: that it was taken, or what is to be done.

`refuse` is of the event, unless the endpoint refuses all others, too; `reject` is of the event for sure.
"""
Status: TypeAlias = Annotated[int, msgspec.Meta(ge=200, le=599)] | Annotated[str, msgspec.Meta(pattern=r"^[2-5]xx\Z")]
"""A status, or `4xx` for all of a class that are not named themselves."""

_CLASSES: dict[str, Meaning] = {"2xx": "delivered", "3xx": "retry", "4xx": "refuse", "5xx": "retry"}
_SINGLE: dict[int, Meaning] = {
    HTTPStatus.UNAUTHORIZED: "hold",
    HTTPStatus.FORBIDDEN: "hold",
    HTTPStatus.NOT_FOUND: "hold",
    HTTPStatus.METHOD_NOT_ALLOWED: "hold",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "hold",
    HTTPStatus.REQUEST_TIMEOUT: "retry",
    HTTPStatus.GONE: "gone",
    HTTPStatus.TOO_EARLY: "retry",
    HTTPStatus.TOO_MANY_REQUESTS: "retry",
}
"""Those that are about the endpoint, the moment or the pace, and not about the event."""


class Statuses(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which statuses mean something else than usual. 410 always says that the endpoint is gone."""

    delivered: tuple[Status, ...] = ()
    """The event was taken, such as 409 for one that the endpoint has already."""
    retry: tuple[Status, ...] = ()
    """Not now."""
    reject: tuple[Status, ...] = ()
    """Not this event, however many others are refused: each is a dead letter."""
    hold: tuple[Status, ...] = ()
    """Nothing, until that is mended."""

    def check(self) -> None:
        """Refuse a status with two meanings, and 410."""
        seen: set[Status] = set()
        for status, meaning in self._named():
            if status == HTTPStatus.GONE:
                raise ConfigError(f"statuses.{meaning}", "410 always says that the endpoint is gone")
            if status in seen:
                raise ConfigError(f"statuses.{meaning}", f"{status} has another meaning already")
            seen.add(status)

    def meanings(self) -> dict[int, Meaning]:
        """Return what each status means."""
        named: dict[Status, Meaning] = dict(self._named())
        table: dict[int, Meaning] = {}
        for status in range(200, 600):
            group = f"{status // 100}xx"
            usual = named.get(group) or _SINGLE.get(status, _CLASSES[group])
            table[status] = named.get(status, usual)
        table[HTTPStatus.GONE] = "gone"
        return table

    def _named(self) -> Iterator[tuple[Status, Meaning]]:
        meanings: dict[Meaning, tuple[Status, ...]] = {
            "delivered": self.delivered, "retry": self.retry, "reject": self.reject, "hold": self.hold
        }  # fmt: skip
        for meaning, statuses in meanings.items():
            for status in statuses:
                yield status, meaning


def outcome(status: int, meaning: Meaning, after: str, said: str, now: float) -> Retry | Reject:
    """Return the error that an answer stands for which does not mean that the event was taken.

    `after` is its Retry-After header, `now` is in Unix seconds. A body that is too large now need not be so later, if
    the endpoint says when. Source: RFC 9110 section 15.5.14.
    """
    wait = retry_after(after, now)
    if meaning == "gone":
        return Reject(f"gone: {said}", status)
    for_now = status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and wait is not None
    if meaning == "retry" or (meaning == "refuse" and for_now):
        if status // 100 == _REDIRECTS:
            said += "; redirects are not followed, put the right address into url"
        return Retry(said, wait, status)
    return Reject(said, status, hold=_HOLDS.get(meaning), always=status in _OF_US)


def retry_after(value: str, now: float) -> float | None:
    """Return the seconds to wait by a Retry-After header, in seconds or as a date; None for neither.

    `now` is in Unix seconds. A date in the past is 0. Source: RFC 9110 section 10.2.3.
    """
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def excerpt(answer: bytes, confidential: Sequence[str]) -> str:
    """Return the beginning of an answer on one line, without the confidential texts that it repeats."""
    text = answer.decode(errors="replace")
    for secret in confidential:
        if len(secret) >= SHORT:
            text = text.replace(secret, "***")
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:EXCERPT]

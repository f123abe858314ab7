"""What the answer of a webhook's endpoint means, as an error without secrets in it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from router import Reject, Retry

EXCERPT = 200
"""Characters of an answer that go into an error."""
SHORT = 4
"""Characters below which a secret is not looked for in answers: it would be found in every word."""
_OK, _REDIRECT = 200, 300
_TRY_AGAIN = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


def is_success(status: int) -> bool:
    """Whether the endpoint took the event. Source: RFC 9110 section 15.3."""
    return _OK <= status < _REDIRECT


def outcome(status: int, after: str, said: str, now: float) -> Retry | Reject:
    """Return the error that an answer other than 2xx stands for.

    `after` is its Retry-After header, `now` is in Unix seconds.
    """
    if status == HTTPStatus.GONE:
        return Reject(f"gone: {said}", status)
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _TRY_AGAIN:
        return Reject(said, status)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        said += "; redirects are not followed, put the right address into url"
    return Retry(said, retry_after(after, now))


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

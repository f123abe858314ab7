"""The access key that requests are signed with: one that stays, or a file's that rotates (STS)."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from router import RouterError, Secret


class CredentialsError(RouterError):
    """There is no access key to sign with now."""


class Credentials(msgspec.Struct, frozen=True):
    """An access key; `security_token` belongs to temporary ones (STS)."""

    access_key_id: str
    access_key_secret: Secret
    security_token: Secret | None = None

    def current(self) -> Credentials:
        """Return itself: this key stays."""
        return self


class Complain(Protocol):
    """Counts a kind of trouble, and logs it with details now and then (`Complaints`)."""

    def __call__(self, kind: str, /, **details: object) -> None:
        """Take note of one."""
        ...


class Keys(Protocol):
    """Where the access key of the next request comes from."""

    def current(self) -> Credentials:
        """Return the key to sign with now; raises `CredentialsError`."""
        ...


class Document(msgspec.Struct, frozen=True, rename="pascal"):
    """A temporary key in the words of STS's AssumeRole; other keys are ignored. `expiration` has a zone."""

    access_key_id: str = ""
    access_key_secret: Secret = Secret("")
    security_token: Secret | None = None
    expiration: datetime | None = None
    code: str = "Success"

    def credentials(self) -> Credentials:
        """Return the key."""
        return Credentials(self.access_key_id, self.access_key_secret, self.security_token)


def document_of(text: bytes) -> Document:
    """Read a document; raises ValueError, which never shows any of it, where it has no key."""
    try:
        document = msgspec.json.decode(text, type=Document, dec_hook=_secret)
    except msgspec.ValidationError as error:  # names the field and the type
        raise ValueError(f"not a key as STS gives it: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ValueError("no JSON") from None
    if document.code != "Success":
        raise ValueError(f"Code is {document.code[:100]!r}, not 'Success'")
    if not document.access_key_id or not document.access_key_secret:
        raise ValueError("AccessKeyId or AccessKeySecret is missing or empty")
    if document.expiration is not None and document.expiration.tzinfo is None:
        raise ValueError("Expiration has no zone")
    return document


class CredentialsFile:
    """A JSON file `{AccessKeyId, AccessKeySecret, SecurityToken, Expiration}`, read again whenever it has changed.

    It is looked at before every request, so a new key is in use at once; whoever rotates it replaces it before
    `Expiration` (ISO 8601 with zone). A file that cannot be read leaves the last key in use until that expires, and is
    complained of as `refresh_failed`. `now` is in Unix seconds.
    """

    def __init__(self, path: Path, complain: Complain, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._complain = complain
        self._now = now
        self._seen: tuple[int, int, int] | None = None
        self._document: Document | None = None

    def current(self) -> Credentials:
        """Return the key in the file; raises `CredentialsError` where there is none that is still good."""
        try:
            self._look()
        except (OSError, ValueError) as error:
            if self._document is None:
                raise CredentialsError(f"{self._path}: {_reason(error)}") from error
            self._complain("refresh_failed", path=str(self._path), error=_reason(error))
        document = self._document
        if document is None:
            raise CredentialsError(f"{self._path}: holds no access key")
        if document.expiration is not None and document.expiration.timestamp() <= self._now():
            raise CredentialsError(f"{self._path}: the access key expired at {document.expiration.isoformat()}")
        return document.credentials()

    def _look(self) -> None:
        """Read the file if it is another one than the last."""
        status = self._path.stat()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen == self._seen:
            return
        self._document = document_of(self._path.read_bytes())
        self._seen = seen


def _secret(kind: type, value: object) -> Secret:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError("is no text")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)

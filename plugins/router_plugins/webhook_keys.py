"""The keys that webhooks are signed with, as the libraries of Standard Webhooks read them: base64, `whsec_` or not."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence

from router import ConfigError, Secret

PREFIX = "whsec_"
_MAKE = f"make one with: openssl rand -base64 32, with {PREFIX} in front"


def keys(secret: Secret | None, previous: Sequence[Secret]) -> Iterator[bytes]:
    """Turn the secrets into keys, the first one first; raise `ConfigError` for one that gives none."""
    if secret is not None:
        yield _key(secret, "secret")
    for one in previous:
        yield _key(one, "previous_secrets")


def _key(secret: str, place: str) -> bytes:
    encoded = secret.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):  # its text may say where in the secret
        raise _refusal(secret, place) from None
    if not key:
        raise ConfigError(place, "is empty", _MAKE)
    return key


def _refusal(secret: str, place: str) -> ConfigError:
    if secret.startswith(PREFIX):
        return ConfigError(place, f"begins with {PREFIX} but is no base64 after it", _MAKE)
    if secret.startswith(("whsk_", "whpk_")):
        return ConfigError(place, "is a key of asymmetric signatures, which are not made here", _MAKE)
    same = f"the same key, for those who have it as text, is {PREFIX} and what `printf %s TEXT | base64` says"
    return ConfigError(place, "is no base64, which receivers take it for", f"{_MAKE}; {same}")

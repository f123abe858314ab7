"""Who may call: access keys, temporary ones with their token, and the check of both signatures (PROTOCOL 1.3, 1.4)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import datetime

import msgspec

from router import RouterError
from router_plugins.emulator.errors import ServiceError
from router_plugins.mns.signing import V4_ALGORITHM, sign_v2, sign_v4

_SCOPE_END = ("mns", "aliyun_v4_request")


class AccessKey(msgspec.Struct, frozen=True):
    """An access key; one with a `token` is temporary, and good only together with it."""

    id: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return f"<AccessKey {self.id}>"


def access_key_of(text: str) -> AccessKey:
    """Read `ID:SECRET` or, for temporary credentials, `ID:SECRET:TOKEN`; raise `RouterError`."""
    access_key_id, _, rest = text.partition(":")
    secret, colon, token = rest.partition(":")
    if not access_key_id or not secret or (colon and not token):
        raise RouterError(
            "--access-key is no ID:SECRET or ID:SECRET:TOKEN (for example testAccessKeyId:testAccessKeySecret)"
        )
    return AccessKey(access_key_id, secret, token)


def check_signature(
    method: str, target: str, headers: Mapping[str, str], keys: Mapping[str, AccessKey], date: datetime
) -> None:
    """Raise what is wrong with `Authorization`, of either version, or with the `security-token`.

    `target` is the request's as it was sent, `headers` have lower-cased names, `keys` are by their ids, and `date`
    is the signed one in UTC. The token is not signed (PROTOCOL 1.2); how the service refuses a wrong one is not
    documented, here it is `AccessDenied`.
    """
    claim = headers.get("authorization")
    if claim is None:
        raise ServiceError("MissingAuthorizationHeader")
    algorithm, _, rest = claim.partition(" ")
    if algorithm == "MNS" and ":" in rest:
        access_key_id, _, signature = rest.partition(":")
        key = _found(keys, access_key_id)
        right = sign_v2(key.secret, method, target, headers)
    elif algorithm == V4_ALGORITHM:
        access_key_id, day, region, signature = _v4_claim(rest)
        key = _found(keys, access_key_id)
        utc = f"{date:%Y%m%dT%H%M%SZ}"
        right = sign_v4(key.secret, method, target, headers, region=region, utc=utc) if day == utc[:8] else ""
    else:
        raise ServiceError("InvalidAuthorizationHeader")
    if not _equal(right, signature):
        raise ServiceError("SignatureDoesNotMatch")
    if not _equal(key.token, headers.get("security-token", "")):
        raise ServiceError("AccessDenied", "The security token is not the one of this access key.")


def _found(keys: Mapping[str, AccessKey], access_key_id: str) -> AccessKey:
    if access_key_id not in keys:
        raise ServiceError("InvalidAccessKeyId")
    return keys[access_key_id]


def _v4_claim(text: str) -> tuple[str, str, str, str]:
    """Return the access key's id, the day, the region and the signature that a version 4 header names."""
    pairs = (part.strip().partition("=") for part in text.split(","))
    parts = {name: value for name, _, value in pairs}
    match parts.get("Credential", "").split("/"):
        case [access_key_id, day, region, *end] if day and region and tuple(end) == _SCOPE_END:
            signature = parts.get("Signature", "")
        case _:
            signature = access_key_id = day = region = ""
    if not signature:
        raise ServiceError("InvalidAuthorizationHeader")
    return access_key_id, day, region, signature


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))

"""One push as an HTTP request: its URL, its headers in the service's casing, and its signature (PROTOCOL 2.1, 2.2)."""

from __future__ import annotations

import secrets
from base64 import b64encode
from email.utils import formatdate
from functools import lru_cache
from hashlib import md5
from ipaddress import ip_address

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from yarl import URL

from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.topic import Push, Subscription, content
from router_plugins.mns.signing import sign_push

_CONTENT_TYPES = {
    "XML": "text/xml;charset=utf-8",
    "SIMPLIFIED": "text/plain;charset=utf-8",
    "JSON": "application/json;charset=utf-8",
}


class PushRequest(msgspec.Struct, frozen=True):
    """A push, ready to be sent."""

    url: URL
    headers: dict[str, str]
    body: bytes

    def octets(self) -> bytes:
        """Return the request as it goes over the wire, with the headers in their casing."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = f"POST {self.url.raw_path_qs} HTTP/1.1\r\nHost: {self.url.host_port_subcomponent}\r\n{lines}\r\n"
        return head.encode() + self.body


class Signer(msgspec.Struct, frozen=True):
    """Whose pushes they are: the account's number, the key, and the URL of the key's certificate in base64."""

    owner: str
    key: RSAPrivateKey
    certificate: str

    def request(self, push: Push, subscription: Subscription, now: float) -> PushRequest:
        """Make the request for a push, dated and signed `now` (Unix seconds)."""
        body = content(push.message, subscription, self.owner).encode()
        url = endpoint_url(subscription.attributes.endpoint)
        headers = self._unsigned(push, subscription, body, now)
        lowered = {name.lower(): value for name, value in headers.items()}
        headers["Authorization"] = sign_push(self.key, "POST", url.raw_path_qs, lowered)
        return PushRequest(url, headers, body)

    def _unsigned(self, push: Push, subscription: Subscription, body: bytes, now: float) -> dict[str, str]:
        """Return the headers; XML and JSON carry three `x-mns-` ones, SIMPLIFIED those of its envelope too."""
        chosen, message = subscription.attributes.notify_content_format, push.message
        digest = md5(body, usedforsecurity=False).hexdigest()
        headers = {
            "Content-md5": digest.upper() if chosen == "SIMPLIFIED" else b64encode(digest.encode()).decode(),
            "Content-Type": _CONTENT_TYPES[chosen],
            "Content-length": str(len(body)),
            "Date": formatdate(now, usegmt=True),
            "User-Agent": "Aliyun Notification Service Agent",
            "Accept": "*/*",
            "x-mns-version": "2015-06-06",
            "x-mns-request-id": secrets.token_hex(12).upper(),
            "x-mns-signing-cert-url": self.certificate,
        }
        if chosen == "SIMPLIFIED":
            headers |= {
                "x-mns-message-id": message.message_id,
                "x-mns-topic-owner": self.owner,
                "x-mns-topic-name": subscription.topic,
                "x-mns-subscriber": self.owner,
                "x-mns-subscription-name": subscription.name,
                "x-mns-publish-time": str(int(message.published * 1000)),
            }
            if message.tag:
                headers["x-mns-message-tag"] = message.tag
        return headers


@lru_cache(maxsize=256)
def endpoint_url(endpoint: str) -> URL:
    """Return the URL with its path and query as written, `/notifications` where it has no path (PROTOCOL 2.1)."""
    try:
        url = URL(endpoint, encoded=True)
    except ValueError as error:
        raise ServiceError("EndpointInvalid", f"The endpoint {endpoint} is no URL: {error}.") from error
    if not url.host:
        raise ServiceError("EndpointInvalid", f"The endpoint {endpoint} names no host.")
    return url if url.raw_path != "/" else url.with_path("/notifications", keep_query=True, encoded=True)


@lru_cache(maxsize=256)
def is_loopback(url: URL) -> bool:
    """Say whether the URL's host is this machine, by its text: no name but `localhost` is looked up."""
    host = url.host or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""What the tests of EventBridge's HTTP target share: vectors that openssl made, and signed pushes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from router_plugins.mns import eventbridge
from servers.mns_pushes import KEY, VECTORS, request

FILE: dict[str, Any] = json.loads((VECTORS / "eventbridge.json").read_text())
BODY: bytes = FILE["body"].encode()
URL: str = FILE["url"]
TOKEN = "one-time-test-token"
CERTIFICATE_URL = "https://cn-hangzhou-eventbridge.oss-accelerate.aliyuncs.com/x509_public_certificate_2021012101.pem"
SECRET = b"Kq3vT9sZbW1xYc5R"


def headers_of(
    body: bytes = BODY,
    *,
    url: str = URL,
    token: str | None = TOKEN,
    certificate_url: str = CERTIFICATE_URL,
    age: float = 0.0,
) -> dict[str, str]:
    """Return the headers of a push, signed in both versions `age` seconds ago."""
    headers = {
        "x-eventbridge-signature-timestamp": str(int((time.time() - age) * 1000)),
        "x-eventbridge-hash-method": "SHA256",
        "x-eventbridge-signature-method": "HMAC-SHA1",
        "x-eventbridge-signature-version": "1.0",
        "x-eventbridge-signature-url": certificate_url,
    }
    if token is not None:
        headers["x-eventbridge-signature-token"] = token
    return headers | {
        "x-eventbridge-signature-v2": eventbridge.sign_v2(KEY, url, headers, body),
        "x-eventbridge-signature": eventbridge.sign_v1(SECRET, url, headers, body),
        "x-eventbridge-signature-secret": eventbridge.encrypt_secret(KEY, SECRET),
    }


def push(body: bytes = BODY, *, unsigned: Mapping[str, str] | None = None, target: str = "", **signed: Any) -> bytes:
    """Write a push; `unsigned` headers replace signed ones afterwards, an empty one takes it away."""
    headers = headers_of(body, **signed) | dict(unsigned or {})
    return request(body, headers, target=target or URL.removeprefix("https://router.example.com"))

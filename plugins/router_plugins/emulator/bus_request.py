"""One push of EventBridge's HTTP target as a request: a CloudEvent, with the signatures of both versions."""

from __future__ import annotations

import secrets

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from yarl import URL

from router_plugins.emulator.bus import BusRule
from router_plugins.emulator.push_request import PushRequest
from router_plugins.emulator.topic import Push
from router_plugins.mns import eventbridge


class BusSigner(msgspec.Struct, frozen=True):
    """The key, and the URL of its certificate, which requests name in plain text."""

    key: RSAPrivateKey
    certificate: str

    def request(self, push: Push, rule: BusRule, now: float) -> PushRequest:
        """Make the request for a push, stamped and signed `now` (Unix seconds)."""
        body = push.message.body.encode()
        url = rule.target.attributes.endpoint
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Content-Length": str(len(body)),
            eventbridge.TIMESTAMP: str(int(now * 1000)),
            eventbridge.VERSION: "1.0",
            eventbridge.URL: self.certificate,
        }
        if rule.token:
            headers[eventbridge.TOKEN] = rule.token
        headers |= dict(eventbridge.METHOD[version] for version in rule.signatures)
        if "v2" in rule.signatures:
            headers[eventbridge.SIGNATURE["v2"]] = eventbridge.sign_v2(self.key, url, headers, body)
        if "v1" in rule.signatures:
            secret = secrets.token_hex(16).encode()
            headers[eventbridge.SECRET] = eventbridge.encrypt_secret(self.key, secret)
            headers[eventbridge.SIGNATURE["v1"]] = eventbridge.sign_v1(secret, url, headers, body)
        return PushRequest(URL(url, encoded=True), headers, body)

"""Signatures agree with those of the official SDKs."""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.mns.signing import (
    authorization_v4,
    body_matches,
    content_md5,
    sign_push,
    sign_v2,
    sign_v4,
    string_to_sign,
    string_to_sign_v4,
)

VECTORS = Path(__file__).parent / "vectors"
MNS = json.loads((VECTORS / "mns.json").read_text())
PUSHES = MNS["http_push"]["vectors"]


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


@pytest.fixture(scope="module")
def private_key() -> RSAPrivateKey:
    key = load_pem_private_key((VECTORS / "push-test-key.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@pytest.mark.parametrize("vector", named(MNS["sdk_requests"]))
def test_a_request_is_signed_as_the_official_sdk_signs_it(vector: dict[str, Any]) -> None:
    request, secret = vector["request"], MNS["sdk_credentials"]["access_key_secret"]
    headers = lowered(request["headers"])
    assert (
        f"MNS testAccessKeyId:{sign_v2(secret, request['method'], request['resource'], headers)}"
        == (vector["authorization"])
    )
    assert string_to_sign(request["method"], request["resource"], headers) == vector["string_to_sign"]
    assert headers.get("content-md5", content_md5(request["body"].encode())) == content_md5(request["body"].encode())


@pytest.mark.parametrize("vector", named(MNS["v4_signatures"]))
def test_a_version_4_signature_is_that_of_the_official_java_sdk(vector: dict[str, Any]) -> None:
    pairs = [f"{quote(key)}={quote(value)}" for key, value in vector["query"].items()]
    target = vector["path"] + ("?" + "&".join(pairs) if pairs else "")
    request = (vector["method"], target, lowered(vector["headers"]))
    when = {"region": vector["region"], "utc": vector["utc"]}
    signature = sign_v4(vector["access_key_secret"], *request, **when)
    assert authorization_v4(vector["access_key_id"], signature, **when) == vector["authorization"]
    assert string_to_sign_v4(*request, **when) == vector["string_to_sign"]


@pytest.mark.parametrize("vector", named(PUSHES))
def test_a_push_is_signed_as_documented(vector: dict[str, Any], private_key: RSAPrivateKey) -> None:
    headers = lowered(vector["headers"])
    assert sign_push(private_key, "POST", vector["path"], headers) == vector["authorization"]
    assert string_to_sign("POST", vector["path"], headers) == vector["string_to_sign"]
    assert body_matches(headers["content-md5"], vector["body"].encode())
    assert not body_matches(headers["content-md5"], vector["body"].encode() + b" ")


def test_the_date_header_gives_way_to_x_mns_date() -> None:
    headers = {"date": "then", "x-mns-date": "now"}
    assert string_to_sign("GET", "/", headers) == "GET\n\n\nnow\nx-mns-date:now\n/"


@given(st.binary())
def test_content_md5_is_accepted_in_each_encoding_in_use(body: bytes) -> None:
    digest = md5(body)
    for claim in (
        digest.hexdigest(),
        digest.hexdigest().upper(),
        b64encode(digest.hexdigest().encode()).decode(),
        b64encode(digest.digest()).decode(),
    ):
        assert body_matches(claim, body)
        assert not body_matches(claim[:-1], body)
    assert not body_matches("", body)


@given(st.binary(min_size=1))
def test_header_bytes_that_are_no_text_can_still_be_signed(value: bytes) -> None:
    text = value.decode("utf-8", "surrogateescape")
    assert len(sign_v2("secret", "POST", "/", {"x-mns-tag": text})) == 28

"""A forged push is told from a genuine one, whatever was tried, and whatever was remembered of others."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha1, sha256
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA1
from hypothesis import given
from hypothesis import strategies as st
from servers.mns_pushes import KEY, PUSHES

from router_plugins.mns import genuine
from router_plugins.mns.genuine import is_genuine, signed_text
from router_plugins.mns.signing import sign_push, string_to_sign

PUBLIC = KEY.public_key()
NUMBERS = KEY.private_numbers()
SIZE = PUBLIC.key_size // 8
SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")
SHA1_INFO_WITHOUT_NULL = bytes.fromhex("301f300706052b0e03021a0414")
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
NAMES = st.sampled_from(
    [
        b"content-md5",
        b"content-type",
        b"date",
        b"authorization",
        b"host",
        b"x-mns-date",
        b"x-mns-a",
        b"x-mns-a-b",
        b"x-mns-",
        b"x-mns-%b",
        b"x-mns-%",
    ]
)


def octets(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode("utf-8", "surrogateescape") for name, value in headers.items()}


def first() -> dict[bytes, bytes]:
    return octets(PUSHES[0]["headers"])


def signed(target: str, headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return octets({**headers, "authorization": sign_push(KEY, "POST", target, headers)})


@pytest.mark.parametrize("vector", PUSHES, ids=lambda vector: vector["name"])
def test_the_pushes_of_the_documentation_are_genuine(vector: dict[str, Any]) -> None:
    assert is_genuine(PUBLIC, vector["path"].encode(), octets(vector["headers"]))
    assert signed_text(vector["path"].encode(), octets(vector["headers"])) == vector["string_to_sign"].encode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"authorization", b""),
        (b"authorization", b"MNS testAccessKeyId:AAAA"),
        (b"authorization", b"h\xc3\xa9llo"),
        (b"authorization", b"\xff"),
        (b"authorization", b"AAAA"),
        (b"date", b"Fri, 14 Apr 2017 03:44:50 GMT"),
        (b"content-md5", b"0" * 32),
        (b"x-mns-topic-name", b"other"),
        (b"x-mns-added", b"1"),
        (b"x-mns-date", b"Fri, 14 Apr 2017 03:44:50 GMT"),
    ],
)
def test_a_push_with_one_signed_header_changed_is_not_genuine(name: bytes, value: bytes) -> None:
    assert not is_genuine(PUBLIC, b"/notifications", first() | {name: value})


@pytest.mark.parametrize("name", [name for name in first() if name.startswith((b"x-mns-", b"content-md5", b"date"))])
def test_a_push_without_one_of_its_signed_headers_is_not_genuine(name: bytes) -> None:
    assert not is_genuine(PUBLIC, b"/notifications", {n: value for n, value in first().items() if n != name})


def test_a_push_to_another_target_is_not_genuine() -> None:
    assert not is_genuine(PUBLIC, b"/notifications?", first())


def test_an_unsigned_header_may_change_on_the_way() -> None:
    assert is_genuine(PUBLIC, b"/notifications", first() | {b"user-agent": b"a proxy", b"via": b"1.1 a-proxy"})


def test_a_push_of_a_key_as_short_as_the_services_own_is_genuine() -> None:
    """It had 512 bits in 2023 (PROTOCOL 2.3); this key and signature were made with openssl and `sign_push`."""
    modulus = (
        "a8c4ed3342f05bfe20e8c09c42d0f457c8984ecd88bad3a0f8d7838fdd2298d0"
        "102dbceb056cbe940d2b1e74a33d73c728f912253e0f1e15c887e77059b236df"
    )
    key = RSAPublicNumbers(65537, int(modulus, 16)).public_key()
    headers = {
        b"date": b"Wed, 29 Mar 2023 01:00:02 GMT",
        b"content-md5": b"0" * 32,
        b"x-mns-version": b"2015-06-06",
        b"authorization": b"nZNs3WjejLiWyNWRKITNkjglLyNL5bdVtJoaIUyZn2fMEa+UA3jcrIQeTx5CJXIQWNGNu0NCvox3199hkNyMtQ==",
    }
    assert is_genuine(key, b"/notifications", headers)
    assert not is_genuine(key, b"/notifications", headers | {b"x-mns-version": b"2015-06-07"})
    assert not is_genuine(PUBLIC, b"/notifications", headers)


def raw(block: bytes) -> bytes:
    """Sign a whole padded block, as only the key's owner can: what a lax check would take from others."""
    return pow(int.from_bytes(block), NUMBERS.d, NUMBERS.public_numbers.n).to_bytes(SIZE)


def padded(content: bytes, *, kind: int = 1, filling: int = 0xFF, after: bytes = b"") -> bytes:
    length = SIZE - 3 - len(content) - len(after)
    return bytes([0, kind]) + bytes([filling]) * length + b"\0" + content + after


TEXT = signed_text(b"/notifications", first())
DIGEST = sha1(TEXT).digest()
FORGERIES = {
    "garbage after a short padding": b"\0\1" + b"\xff" * 8 + b"\0" + (SHA1_INFO + DIGEST).ljust(SIZE - 11, b"\0"),
    "garbage after the digest": padded(SHA1_INFO + DIGEST, after=b"\0"),
    "no algorithm": padded(DIGEST),
    "another algorithm": padded(SHA256_INFO + sha256(TEXT).digest()),
    "another algorithm, the same digest": padded(SHA256_INFO[:-1] + b"\x14" + DIGEST),
    "another algorithm of the same length": padded(
        SHA1_INFO.replace(b"\x2b\x0e\x03\x02\x1a", b"\x2b\x24\x03\x02\1") + DIGEST
    ),
    "an algorithm without its null": padded(SHA1_INFO_WITHOUT_NULL + DIGEST),
    "a digest that is cut": padded(SHA1_INFO + DIGEST[:-1]),
    "a digest with another last bit": padded(SHA1_INFO + DIGEST[:-1] + bytes([DIGEST[-1] ^ 1])),
    "a digest with another first bit": padded(SHA1_INFO + bytes([DIGEST[0] ^ 128]) + DIGEST[1:]),
    "nothing signed": padded(b""),
    "the padding of encryption": padded(SHA1_INFO + DIGEST, kind=2),
    "no padding": (SHA1_INFO + DIGEST).rjust(SIZE, b"\0"),
    "another filling": padded(SHA1_INFO + DIGEST, filling=0xFE),
    "a first byte": b"\1" + padded(SHA1_INFO + DIGEST)[1:],
    "another text": padded(SHA1_INFO + sha1(TEXT + b"\n").digest()),
}


@pytest.mark.parametrize("block", FORGERIES.values(), ids=FORGERIES)
def test_only_the_one_encoding_of_the_one_digest_is_genuine(block: bytes) -> None:
    """The forgeries of lax checks: Bleichenbacher's of 2006, and what came after it."""
    assert is_genuine(
        PUBLIC, b"/notifications", first() | {b"authorization": b64encode(raw(padded(SHA1_INFO + DIGEST)))}
    )
    signature = raw(block)
    assert not is_genuine(PUBLIC, b"/notifications", first() | {b"authorization": b64encode(signature)})


def says_verify(signature: bytes) -> bool:
    try:
        PUBLIC.verify(signature, TEXT, PKCS1v15(), SHA1())
    except InvalidSignature:
        return False
    return True


GENUINE = raw(padded(SHA1_INFO + DIGEST))
OTHERS = {
    "a byte more": GENUINE + b"\0",
    "a byte more before": b"\0" + GENUINE,
    "a byte less": GENUINE[:-1],
    "empty": b"",
    "0": bytes(SIZE),
    "1": (1).to_bytes(SIZE),
    "the modulus": NUMBERS.public_numbers.n.to_bytes(SIZE),
    "the highest": b"\xff" * SIZE,
}


@pytest.mark.parametrize("signature", OTHERS.values(), ids=OTHERS)
def test_a_signature_is_judged_as_the_library_judges_it(signature: bytes) -> None:
    assert is_genuine(PUBLIC, b"/notifications", first() | {b"authorization": b64encode(signature)}) == says_verify(
        signature
    )
    assert says_verify(GENUINE)


@given(st.one_of(st.binary(max_size=2 * SIZE), st.binary(min_size=SIZE, max_size=SIZE)))
def test_no_bytes_are_a_signature(signature: bytes) -> None:
    assert not is_genuine(PUBLIC, b"/notifications", first() | {b"authorization": b64encode(signature)})


@given(st.binary(max_size=400))
def test_nothing_in_the_header_breaks_the_check(value: bytes) -> None:
    assert not is_genuine(PUBLIC, b"/notifications", first() | {b"authorization": value})


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5)), max_size=12), st.binary(max_size=9))
def test_what_is_signed_is_what_requests_sign(headers: Sequence[tuple[bytes, bytes]], target: bytes) -> None:
    texts = {name.decode(): value.decode("utf-8", "surrogateescape") for name, value in dict(headers).items()}
    expected = string_to_sign("POST", target.decode("utf-8", "surrogateescape"), texts)
    assert signed_text(target, dict(headers)) == expected.encode("utf-8", "surrogateescape")


def test_a_push_is_judged_by_its_own_values_after_others_with_the_same_names() -> None:
    one = signed("/n", {"date": "now", "x-mns-a": "1", "x-mns-b": "2"})
    assert is_genuine(PUBLIC, b"/n", one)
    assert not is_genuine(PUBLIC, b"/n", one | {b"x-mns-a": b"2", b"x-mns-b": b"1"})
    assert not is_genuine(PUBLIC, b"/n", one | {b"x-mns-a": b"1\nx-mns-b:2", b"x-mns-b": b""})
    assert is_genuine(PUBLIC, b"/n", dict(reversed(one.items())))


def test_an_empty_date_of_ones_own_gives_way_after_one_that_did_not() -> None:
    for own in ("then", "", "then"):
        assert is_genuine(PUBLIC, b"/n", signed("/n", {"date": "now", "x-mns-date": own}))


def test_made_up_names_are_forgotten_and_make_nothing_genuine() -> None:
    whole = first()
    for number in range(200):
        name = b"x-mns-%d" % number
        assert not is_genuine(PUBLIC, b"/notifications", whole | {name: b""})
        assert is_genuine(PUBLIC, b"/notifications", whole | {name.replace(b"x-mns", b"x-other"): b""})
    assert is_genuine(PUBLIC, b"/notifications", whole)
    known = genuine._form.cache_info()
    assert known.maxsize is not None
    assert known.currsize <= known.maxsize <= 64

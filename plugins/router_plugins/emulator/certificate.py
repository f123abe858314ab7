"""The emulator's own signing key and the certificate that pushes are checked against (PROTOCOL 2.3)."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

KEY_BITS = 1024
"""Weak, and twice as long as the genuine one; an emulator signs thousands of pushes a second (0.1 ms each)."""

KEY_FILE = "push-key.pem"
CERTIFICATE_FILE = "x509_public_certificate.pem"

_SUBJECT = {
    NameOID.COMMON_NAME: "notify",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "Mns",
    NameOID.ORGANIZATION_NAME: "Emulator",
}


class Identity(NamedTuple):
    """The key that signs pushes and the PEM certificate of it."""

    key: RSAPrivateKey
    certificate: bytes


def make_identity() -> Identity:
    """Make a key and a certificate of it, named as the genuine one is."""
    key = generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name([x509.NameAttribute(oid, text) for oid, text in _SUBJECT.items()])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=3650))
        .sign(key, SHA256())
    )
    return Identity(key, certificate.public_bytes(Encoding.PEM))


def kept_identity(folder: Path) -> Identity:
    """Return the identity kept in the folder; make one and keep it there when there is none."""
    key_file, certificate_file = folder / KEY_FILE, folder / CERTIFICATE_FILE
    if key_file.exists() and certificate_file.exists():
        key = load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError(f"{key_file} holds no RSA key")
        return Identity(key, certificate_file.read_bytes())
    identity = make_identity()
    folder.mkdir(parents=True, exist_ok=True)
    pem = identity.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    with os.fdopen(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    certificate_file.write_bytes(identity.certificate)
    return identity

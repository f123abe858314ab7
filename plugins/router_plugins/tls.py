"""TLS settings of the PEM files that a plugin names; what is wrong with one is said with its option and its path.

Own authorities are taken as they are: `VERIFY_X509_STRICT`, which Python has switched on since 3.13, refuses those of
X.509 version 1 and others that lack an extension, such as the one of ApsaraMQ for Kafka.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography.x509 import load_pem_x509_certificates

from router import ConfigError, PemFile, Secret

SOON = timedelta(days=14)
"""Before a certificate expires, it is warned of for so long."""

_log = structlog.get_logger(__name__)
_KEYSTORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce", b"0\x82")
"""How Java's keystores begin, and PKCS#12 and DER."""


def client_context(
    ca: PemFile | None = None,
    certificate: PemFile | None = None,
    private_key: PemFile | None = None,
    password: Secret | None = None,
    *,
    verify_hostname: bool = True,
) -> ssl.SSLContext:
    """Return a client's settings: the system's authorities or those of `ca`, and with a certificate mutual TLS."""
    own = None if ca is None or ca.is_system else ca
    check_system(ca)
    context = ssl.create_default_context(cadata=None if own is None else _authorities(own))
    if own is not None:
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = verify_hostname
    if certificate is not None:
        _load(context, certificate, private_key or certificate, password, "private_key")
    return context


def check_system(ca: PemFile | None) -> None:
    """Refuse the authorities that the environment names where they are none, or not at this moment."""
    if ca is not None and ca.is_system and b"CERTIFICATE-----" not in ca.content:
        raise ConfigError("ca", f"{ca} holds no certificate", "the environment names it: SSL_CERT_FILE")


def server_context(certificate: PemFile, key: PemFile) -> ssl.SSLContext:
    """Return a server's settings."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, certificate, key, None, "key")
    return context


def check_pair(certificate: PemFile | None, private_key: PemFile | None, password: Secret | None) -> None:
    """Refuse a key, or its password, where there is no certificate."""
    for place, value in (("private_key", private_key), ("private_key_password", password)):
        if certificate is None and value is not None:
            raise ConfigError(place, "has no meaning without a certificate", "add certificate: FILE")


def _load(context: ssl.SSLContext, certificate: PemFile, key: PemFile, password: Secret | None, place: str) -> None:
    """Load a certificate with its chain, and its key; raise `ConfigError` at `certificate` or the key's place."""
    _authorities(certificate, "certificate")
    if b"PRIVATE KEY-----" not in key.content:
        raise ConfigError(place, f"{key} holds no private key", "a PEM file: BEGIN PRIVATE KEY")
    encrypted = b"ENCRYPTED" in key.content
    if encrypted and not password:
        hint = "private_key_password" if place == "private_key" else "`openssl pkey` writes it without a password"
        raise ConfigError(place, f"the key in {key} is encrypted, and there is no password", hint)
    try:
        with _on_disk(certificate) as first, _on_disk(key) as second:
            context.load_cert_chain(first, second, password=str(password or ""))
    except (ssl.SSLError, ValueError) as error:
        if "VALUES_MISMATCH" in str(error):
            problem = f"the key in {key} does not belong to the certificate in {certificate}"
            raise ConfigError(place, problem, "is one of the files still the old one?") from error
        if encrypted:
            raise ConfigError("private_key_password", f"does not open the key in {key}") from error
        raise ConfigError(place, f"{key} cannot be read: {_said(error)}", "is the file complete?") from error


def warn_of_expiry(file: PemFile, use: str) -> None:
    """Log a warning if a certificate that others must trust expires soon, or has expired."""
    try:
        until = load_pem_x509_certificates(file.content)[0].not_valid_after_utc
    except ValueError:
        return  # it is not for us to judge: OpenSSL has taken it
    left = until - datetime.now(UTC)
    if left < SOON:
        said = "a certificate has expired" if left < timedelta(0) else "a certificate expires soon"
        _log.warning(said, file=str(file), use=use, until=f"{until:%Y-%m-%d %H:%M} UTC")


def _authorities(file: PemFile, place: str = "ca") -> str:
    """Return the certificates of a file as text, which are all whole; what stands between them is in any encoding."""
    if b"CERTIFICATE-----" not in file.content:
        hint = "a PEM file: BEGIN CERTIFICATE"
        if file.content.startswith(_KEYSTORES):
            hint = "it is no PEM file; from a Java keystore, `keytool -exportcert -rfc` makes one"
        raise ConfigError(place, f"{file} holds no certificate", hint)
    text = file.content.decode("ascii", "ignore")
    if text.count("-----BEGIN ") != text.count("-----END "):
        raise ConfigError(place, f"{file} is cut off", "is it still being written?")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            place, f"{file} cannot be read: {_said(error)}", "a file of whole PEM certificates"
        ) from error
    return text


@contextmanager
def _on_disk(file: PemFile) -> Generator[Path]:
    """Give what was read a path for as long as OpenSSL needs one: in memory where that can be, else only for us."""
    if hasattr(os, "memfd_create") and Path("/proc/self/fd").exists():
        descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
        with open(descriptor, "wb", buffering=0) as memory:  # noqa: PTH123 - it is open already
            memory.write(file.content)
            yield Path(f"/proc/self/fd/{descriptor}")
    else:
        with tempfile.NamedTemporaryFile() as private:
            private.write(file.content)
            private.flush()
            yield Path(private.name)


def _said(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or str(error) or type(error).__name__).lower().replace("_", " ")

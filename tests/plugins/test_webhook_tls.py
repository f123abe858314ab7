"""Webhooks over TLS: authorities of one's own, also of X.509 version 1, and a certificate of this side."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from plugins.test_webhook import failure, raw_server
from servers.kafka_broker import PEM

from router import ConfigError, PemFile, Retry, Secret
from router.testing import make_events
from router_plugins.tls import server_context
from router_plugins.webhook import Webhook

pytestmark = pytest.mark.anyio

OLD = PemFile.read(PEM / "ca.pem")
LOCAL = PemFile.read(PEM / "local.pem")
CLIENT = PemFile.read(PEM / "client.pem")
DONE = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_authority_of_version_1_is_trusted_where_the_config_names_it() -> None:
    """Python's strict mode, the default since 3.13, refuses such."""
    assert x509.load_pem_x509_certificate(OLD.content).version is x509.Version.v1
    async with raw_server(DONE, tls=server_context(LOCAL, LOCAL)) as url:
        async with Webhook(url=Secret(url), ca=OLD).open() as deliver:
            await deliver(make_events(1))
        error = await failure(Webhook(url=Secret(url)))
    assert isinstance(error, Retry)
    assert "set `ca`" in error.reason


async def test_another_authority_and_another_name_are_refused() -> None:
    other = PemFile(Path("other.pem"), trustme.CA().cert_pem.bytes())
    broker = PemFile.read(PEM / "broker.pem")
    for served, ca in ((LOCAL, other), (broker, OLD)):
        async with raw_server(DONE, tls=server_context(served, served)) as url:
            error = await failure(Webhook(url=Secret(url), ca=ca))
        assert "its certificate is not trusted" in str(error)


async def test_an_endpoint_that_wants_a_certificate_is_shown_one() -> None:
    context = server_context(LOCAL, LOCAL)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_verify_locations(OLD.path)
    async with raw_server(DONE, tls=context) as url:
        async with Webhook(url=Secret(url), ca=OLD, certificate=CLIENT).open() as deliver:
            await deliver(make_events(1))
        assert isinstance(await failure(Webhook(url=Secret(url), ca=OLD)), Retry)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"url": Secret("http://x/"), "ca": OLD}, "ca"),
        ({"url": Secret("http://x/"), "certificate": CLIENT}, "certificate"),
        ({"private_key": CLIENT}, "private_key"),
        ({"private_key_password": Secret("x")}, "private_key_password"),
        ({"certificate": CLIENT, "private_key": LOCAL}, "private_key"),
        ({"ca": PemFile(Path("ca.pem"), b"no certificate")}, "ca"),
    ],
)
def test_certificates_that_cannot_work_are_refused_with_their_option(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Webhook(**{"url": Secret("https://x/"), **fields}).check()
    assert caught.value.place == place


def test_a_key_with_a_password_needs_that_password_and_asks_nobody() -> None:
    """OpenSSL would ask on the terminal."""
    key = load_pem_private_key(CLIENT.content, None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open"))
    fields: dict[str, Any] = {"certificate": CLIENT, "private_key": PemFile(Path("locked.pem"), locked)}
    Webhook(url=Secret("https://x/"), **fields, private_key_password=Secret("open")).check()
    for password in (None, Secret("wrong")):
        with pytest.raises(ConfigError, match=r"locked\.pem"):
            Webhook(url=Secret("https://x/"), **fields, private_key_password=password).check()

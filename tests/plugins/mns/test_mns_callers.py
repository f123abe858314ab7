"""On what ways pushes come: from addresses that are allowed, through proxies, over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from servers.mns_pushes import CERTIFICATE, Recorder, connected, push

from router import ConfigError, PemFile, Secret
from router_plugins.mns.callers import Callers
from router_plugins.mns.push import MnsPush, Tls

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def source(**fields: Any) -> MnsPush:
    return MnsPush(**{"listen": "127.0.0.1:0", "certificate": CERTIFICATE, **fields})


@pytest.mark.parametrize(
    ("peer", "forwarded", "admitted"),
    [
        ("47.90.1.2", "", True),
        ("::ffff:47.90.1.2", "", True),
        ("9.9.9.9", "", False),
        ("9.9.9.9", "47.90.1.2", False),
        ("10.0.0.1", "47.90.1.2", True),
        ("10.0.0.1", "47.90.1.2, 10.0.0.2", True),
        ("10.0.0.1", "47.90.1.2, 9.9.9.9", False),
        ("10.0.0.1", "47.90.1.2, unknown", False),
        ("10.0.0.1", "", False),
        ("", "47.90.1.2", False),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str, *, admitted: bool) -> None:
    assert Callers(["47.90.0.0/16"], ["10.0.0.0/8"]).admit(peer, forwarded) is admitted


async def test_a_push_from_elsewhere_gets_403_and_is_counted() -> None:
    counted: list[str] = []
    fields = source(allow=("47.90.0.0/16",), trusted_proxies=("127.0.0.1/32",))
    async with fields.serving(Recorder(), counted.append) as (_, port), connected(port) as client:
        assert await client.to(push()) == [403]
        assert await client.to(push(unsigned={"X-Forwarded-For": "47.90.1.2"})) == [204]
    assert counted == ["wrong_address"]


async def test_behind_a_proxy_the_path_that_was_signed_is_checked() -> None:
    fields = source(path=Secret("/inner"), signed_path="/notifications")
    async with fields.serving(Recorder(), lambda _: None) as (_, port), connected(port) as client:
        assert await client.to(push(target="/notifications?a=1").replace(b"/notifications?", b"/inner?", 1)) == [204]
        assert await client.to(push(target="/inner")) == [403]


async def test_pushes_come_over_tls() -> None:
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    issued = authority.issue_cert("127.0.0.1")
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    files = Tls(
        certificate=PemFile(Path("cert.pem"), chain), key=PemFile(Path("key.pem"), issued.private_key_pem.bytes())
    )
    emit, every = Recorder(), source(tls=files)
    every.check()
    async with every.serving(emit, lambda _: None) as (_, port), connected(port, ssl=trusting) as client:
        assert await client.to(push(), push()) == [204, 204]
    assert len(emit.messages) == 2


@pytest.mark.parametrize(
    ("field", "value"), [("allow", ("47.90.0.1/16",)), ("trusted_proxies", ("proxy",)), ("signed_path", "x")]
)
def test_what_is_no_network_or_path_is_refused_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        source(**{field: value}).check()
    assert caught.value.place == field

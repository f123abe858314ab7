"""Reaching a cluster: what ApsaraMQ needs, and errors that name the option to look at."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka import codec
from aiokafka.errors import KafkaConnectionError, UnsupportedSaslMechanismError
from cryptography import x509
from plugins.kafka.test_kafka_sink import ids, read_back
from servers.kafka_broker import PEM, Broker
from servers.kafka_refusing import refusing_broker

from router import ConfigError, PemFile, Retry, Secret
from router.testing import make_events
from router_plugins.kafka.causes import Way, explain
from router_plugins.kafka.producer import Sasl
from router_plugins.kafka.sink import Kafka
from router_plugins.tls import server_context

pytestmark = pytest.mark.anyio

CA = PemFile.read(PEM / "ca.pem")
CLIENT = PemFile.read(PEM / "client.pem")
BOB: dict[str, Any] = {"username": "bob", "password": Secret("bob-secret")}


async def refusal(server: str, **fields: Any) -> str:
    """Return why nothing can be delivered."""
    sink = Kafka(**{"servers": [server], "topic": "t", "request_timeout": 2.0, **fields})
    sink.check()
    async with sink.open() as deliver:
        with pytest.raises(Retry) as caught:
            await deliver(make_events(1))
    return str(caught.value)


async def test_a_cluster_that_refuses_idempotent_producers_is_told_with_the_option_that_helps() -> None:
    async with refusing_broker() as (server, asked):
        assert "set `idempotence: false`" in await refusal(server)
        assert 22 in asked


async def test_without_idempotence_no_cluster_is_asked_for_a_producers_number() -> None:
    async with refusing_broker() as (server, asked):
        assert "topic t" in await refusal(server, idempotence=False)
        assert 22 not in asked


@pytest.mark.kafka
async def test_without_idempotence_all_arrives_in_order_and_is_confirmed_by_all(broker: Broker, topic: str) -> None:
    sent = make_events(300)
    sink = Kafka(servers=[broker.bootstrap], topic=topic, key="account", idempotence=False)
    async with sink.open() as deliver:
        await deliver(sent[:100])
        await deliver(sent[100:])
    assert ids(await read_back(broker, topic)) == [event.id for event in sent]


@pytest.mark.kafka
@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_codec_that_there_is_works(broker: Broker, topic: str, compression: Any) -> None:
    sent = make_events(20)
    async with Kafka(servers=[broker.bootstrap], topic=topic, key="account", compression=compression).open() as deliver:
        await deliver(sent)
    assert ids(await read_back(broker, topic)) == [event.id for event in sent]


@pytest.mark.kafka
async def test_a_broker_as_apsaramq_has_it_is_reached_over_tls(broker: Broker, topic: str) -> None:
    """Its authority is of X.509 version 1, its certificate for another name; and this one wants a certificate of us."""
    assert x509.load_pem_x509_certificate(CA.content).version is x509.Version.v1
    sent = make_events(20)
    tls: dict[str, Any] = {"tls": True, "ca": CA, "verify_hostname": False, "certificate": CLIENT}
    sink = Kafka(servers=[broker.tls], topic=topic, key="account", **tls)
    sink.check()
    async with sink.open() as deliver:
        await deliver(sent)
    assert ids(await read_back(broker, topic)) == [event.id for event in sent]


@pytest.mark.kafka
async def test_what_is_wrong_with_tls_is_said_with_its_option(broker: Broker) -> None:
    full: dict[str, Any] = {"tls": True, "ca": CA, "verify_hostname": False, "certificate": CLIENT}
    for server, fields, said in [
        (broker.tls, full | {"verify_hostname": True}, "`verify_hostname: false`"),
        (broker.tls, full | {"ca": None}, "`ca`"),
        (broker.tls, full | {"certificate": None}, "`certificate`"),
        (broker.tls, {}, "`tls: true`"),
        (broker.bootstrap, full, "`tls`"),
        (broker.sasl, full, "`tls`"),
    ]:
        found = await refusal(server, **fields)
        assert said in found, (server, fields, found)
        assert not re.search(r"\[\(|\[\]|: *$", found), found


@pytest.mark.kafka
async def test_what_is_wrong_with_a_login_is_said_with_its_option(broker: Broker) -> None:
    for server, fields, said in [
        (broker.sasl, {"sasl": Sasl(username="bob", password=Secret("wrong"))}, "`sasl.password`"),
        (
            broker.sasl,
            {"sasl": Sasl(username="nobody", password=Secret("wrong"), mechanism="PLAIN")},
            "`sasl.username`",
        ),
        (broker.sasl, {}, "`sasl`"),
        (broker.bootstrap, {"sasl": Sasl(**BOB)}, "`sasl`"),
        (broker.tls, {"sasl": Sasl(**BOB)}, "`tls: true`"),
    ]:
        found = await refusal(server, **fields)
        assert said in found, (server, fields, found)
        assert "wrong" not in found
        assert not re.search(r"\[\(|\[\]|: *$", found), found


@asynccontextmanager
async def silent(tls: trustme.LeafCert | None = None, *, close: bool) -> AsyncGenerator[str]:
    """Accept connections and say nothing, or close them."""
    context = None
    if tls is not None:
        chain = b"".join(pem.bytes() for pem in tls.cert_chain_pems)
        context = server_context(PemFile(Path("c"), chain), PemFile(Path("k"), tls.private_key_pem.bytes()))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not close:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize("close", [True, False])
async def test_even_who_says_nothing_is_no_empty_cause(*, close: bool) -> None:
    async with silent(close=close) as server:
        for fields in ({}, {"tls": True}, {"sasl": Sasl(**BOB)}):
            found = await refusal(server, **fields, request_timeout=0.5)
            assert server in found
            assert not re.search(r"\[\(|\[\]|: *$", found), found


def test_a_mechanism_that_is_not_offered_and_a_port_that_speaks_something_else_name_their_options() -> None:
    way = Way(tls=True, mechanism="PLAIN", idempotence=True)
    offered = UnsupportedSaslMechanismError("no PLAIN. Enabled mechanisms are: ['GSSAPI', 'SCRAM-SHA-256']")
    assert explain(offered, way).endswith("see `sasl.mechanism` (it has GSSAPI, SCRAM-SHA-256)")
    assert explain(UnsupportedSaslMechanismError(object()), way).endswith("see `sasl.mechanism`")
    garbage = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    garbage.reason = "WRONG_VERSION_NUMBER"
    assert "leave `tls` out" in explain(garbage, way)
    broken = KafkaConnectionError("Connection at x:1 closed")
    broken.__cause__ = garbage
    assert "leave `tls` out" in explain(broken, way)
    assert explain(OSError(), way) == "OSError"


async def test_an_expired_certificate_and_another_authority_are_told_apart() -> None:
    authority, other = trustme.CA(), trustme.CA()
    ca = PemFile(Path("ca.pem"), authority.cert_pem.bytes())
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    expired = authority.issue_cert("127.0.0.1", not_before=past - dt.timedelta(days=9), not_after=past)
    async with silent(expired, close=False) as server:
        assert "has expired" in await refusal(server, tls=True, ca=ca)
    async with silent(other.issue_cert("127.0.0.1"), close=False) as server:
        assert "set `ca`" in await refusal(server, tls=True, ca=ca)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"ca": CA}, "ca"),
        ({"certificate": CLIENT}, "certificate"),
        ({"verify_hostname": False}, "verify_hostname"),
        ({"tls": True, "private_key": CLIENT}, "private_key"),
        ({"tls": True, "private_key_password": Secret("x")}, "private_key_password"),
        ({"tls": True, "certificate": CA}, "private_key"),
        ({"tls": True, "certificate": CA, "private_key": CLIENT}, "private_key"),
        ({"tls": True, "ca": PemFile(Path("x"), b"\xfe\xed\xfe\xed\0")}, "ca"),
        ({"tls": True, "ca": PemFile(Path("x"), CA.content[:-40])}, "ca"),
    ],
)
def test_certificates_that_cannot_work_are_refused_with_their_option(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Kafka(servers=["kafka:9092"], topic="mail", **fields).check()
    assert caught.value.place == place


def test_a_codec_whose_library_is_missing_is_refused_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "cramjam", None)
    Kafka(servers=["kafka:9092"], topic="mail", compression="gzip").check()
    with pytest.raises(ConfigError, match="pip install cramjam"):
        Kafka(servers=["kafka:9092"], topic="mail", compression="zstd").check()

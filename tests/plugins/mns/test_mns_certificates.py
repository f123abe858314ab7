"""Only documented places are trusted for certificates, and fetching them cannot be turned against us."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from fakes.clock import Clock
from hypothesis import given
from hypothesis import strategies as st
from servers.mns_pushes import CERTIFICATE, KEY, CertificateHost, certificate_host
from structlog.testing import capture_logs
from yarl import URL

from router_plugins.mns.certificate import DOCUMENTED_URLS, Certificates, TrustedUrls
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.verification import Awaited, Judge, KeySource, Refused


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


TRUSTED = TrustedUrls(DOCUMENTED_URLS)
FIXED = "https://mnstest.oss-cn-hangzhou.aliyuncs.com/"


@pytest.mark.parametrize(
    "url",
    [
        FIXED + "x509_public_certificate.pem",
        FIXED + "a/b..c.pem",
        "https://mns-cert.oss-cn-hangzhou.aliyuncs.com/x.pem",
        "https://mns-cert.oss-cn-shenzhen-finance-1.aliyuncs.com/x.pem",
    ],
)
def test_the_documented_places_are_trusted(url: str) -> None:
    assert url in TRUSTED


@pytest.mark.parametrize(
    "url",
    [
        "http://mnstest.oss-cn-hangzhou.aliyuncs.com/x.pem",
        "https://mns-cert.oss-cn-x.aliyuncs.com.evil.example/",
        "https://mns-cert.oss-cn-x.evil.example/.aliyuncs.com/x.pem",
        "https://mns-cert.oss-cn-x@evil.example/.aliyuncs.com/",
        "https://mns-cert.oss-cn-x:1@evil.example/",
        "https://mns-cert.oss-cn-x.aliyuncs.com:8443/x.pem",
        "https://mns-cert.oss-cn-.aliyuncs.com/x.pem",
        "https://mns-cert.oss-cn-a#.aliyuncs.com/x.pem",
        "https://mns-cert.oss-cn-a?.aliyuncs.com/x.pem",
        "https://mns-cert.oss-cn-a\\.aliyuncs.com/x.pem",
        "https://user@mnstest.oss-cn-hangzhou.aliyuncs.com/x.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com.evil.example/x.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com@evil.example/x.pem",
        "https://mnstestXoss-cn-hangzhou.aliyuncs.com/x.pem",
        FIXED + "../x.pem",
        FIXED + "a/../x.pem",
        FIXED + "a/%2e%2e/x.pem",
        FIXED + "x.pem?a=b",
        FIXED + "x.pem#a",
        FIXED + "x.pem\n",
        FIXED + "x y",
        " " + FIXED,
        "file:///etc/passwd",
        "",
    ],
)
def test_everything_else_is_not(url: str) -> None:
    assert url not in TRUSTED


@given(st.text(alphabet="abz019-./:@?#%\\ \n", max_size=40))
def test_no_text_in_the_place_of_the_region_leads_to_another_host(region: str) -> None:
    url = f"https://mns-cert.oss-cn-{region}.aliyuncs.com/x.pem"
    if url in TRUSTED:
        assert URL(url).host == f"mns-cert.oss-cn-{region}.aliyuncs.com"
        assert "." not in region


def test_nothing_is_trusted_where_nothing_is_allowed() -> None:
    assert FIXED not in TrustedUrls(())


@asynccontextmanager
async def fetching(clock: Clock | None = None) -> AsyncGenerator[tuple[CertificateHost, Certificates]]:
    async with certificate_host() as host, aiohttp.ClientSession() as session:
        yield host, Certificates(session, now=clock or Clock())


@pytest.mark.anyio
async def test_a_fetched_key_is_known_for_a_day_and_then_fetched_again() -> None:
    clock = Clock()
    async with fetching(clock) as (host, certificates):
        url = host.prefix + "a.pem"
        assert certificates.known(url) is None
        await certificates.fetch(url)
        assert certificates.known(url) == KEY.public_key()
        clock.now += 24 * 3600 + 1
        assert certificates.known(url) is None


@pytest.mark.anyio
async def test_a_good_key_outlives_a_failure_to_fetch_it_again() -> None:
    clock = Clock()
    async with fetching(clock) as (host, certificates):
        url = host.prefix + "a.pem"
        await certificates.fetch(url)
        clock.now += 24 * 3600 + 1
        host.status = 500
        await certificates.fetch(url)
        assert certificates.known(url) == KEY.public_key()


@pytest.mark.anyio
async def test_a_key_that_stops_fitting_is_fetched_again_but_not_at_each_push() -> None:
    clock = Clock()
    async with fetching(clock) as (host, certificates):
        url = host.prefix + "a.pem"
        await certificates.fetch(url)
        assert not certificates.may_have_changed(url)
        clock.now += 61
        assert certificates.may_have_changed(url)
        await certificates.fetch(url)
        assert not certificates.may_have_changed(url)


@pytest.mark.anyio
async def test_a_forged_push_asks_for_an_old_certificate_once_more_and_is_then_refused() -> None:
    clock = Clock()
    async with fetching(clock) as (host, certificates):
        url = host.prefix + "a.pem"
        await certificates.fetch(url)
        judge = Judge(KeySource(None, TrustedUrls([host.prefix]), certificates), None, 0)
        headers = {b"x-mns-signing-cert-url": b64encode(url.encode()), b"authorization": b"AAAA"}
        clock.now += 61
        assert judge.verdict(b"/", headers, b"", 0.0) == Awaited(url)
        await certificates.fetch(url)
        verdict = judge.verdict(b"/", headers, b"", 0.0)
        assert isinstance(verdict, Refused)
        assert verdict.kind == "bad_signature"


def unsuitable() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return certificate(key, datetime.now(UTC) + timedelta(days=1))


def certificate(key: Any, until: datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    built = builder.not_valid_before(until - timedelta(days=9)).not_valid_after(until).sign(key, SHA256())
    return built.public_bytes(Encoding.PEM)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 404}, "status 404"),
        ({"status": 302, "headers": {"Location": "/certificates/other.pem"}}, "status 302"),
        ({"body": b"x" * 100_000}, "more than"),
        ({"body": b"no certificate"}, "."),
        ({"body": b""}, "."),
        ({"body": unsuitable()}, "not RSA"),
    ],
)
async def test_what_is_no_certificate_is_remembered_as_such_for_a_moment(change: dict[str, Any], reason: str) -> None:
    clock = Clock()
    async with fetching(clock) as (host, certificates):
        vars(host).update(change)
        url = host.prefix + "a.pem"
        await certificates.fetch(url)
        known = certificates.known(url)
        assert isinstance(known, str)
        assert reason in known or reason == "."
        assert len(host.asked) == 1
        clock.now += 11
        assert certificates.known(url) is None


@pytest.mark.anyio
async def test_made_up_urls_displace_no_good_key() -> None:
    async with fetching() as (host, certificates):
        good = host.prefix + "good.pem"
        await certificates.fetch(good)
        host.status = 404
        async with anyio.create_task_group() as tasks:
            for number in range(300):
                tasks.start_soon(certificates.fetch, f"{host.prefix}{number}")
        assert certificates.known(good) == KEY.public_key()
        assert len(certificates._failures) == 256


@pytest.mark.anyio
async def test_a_weak_and_expired_certificate_is_taken_with_one_warning() -> None:
    """The service's own had 512 bits and was seven years out of date while it signed (PROTOCOL 2.3)."""
    key = rsa.generate_private_key(65537, 1024)
    async with fetching() as (host, certificates):
        host.body = certificate(key, datetime(2016, 7, 1, tzinfo=UTC))
        url = host.prefix + "a.pem"
        with capture_logs() as logs:
            await certificates.fetch(url)
            await certificates.fetch(url)
        assert certificates.known(url) == key.public_key()
        [warning] = logs
        assert (warning["log_level"], warning["bits"], len(warning["problems"])) == ("warning", 1024, 2)


def test_every_complaint_is_counted_and_few_are_logged() -> None:
    clock, counted = Clock(), list[str]()
    complain = Complaints(counted.append, "refused", now=clock)
    with capture_logs() as logs:
        for _ in range(1000):
            complain("stale", reason="old")
        complain("other")
        clock.now += 11
        complain("stale", reason="old")
    assert len(counted) == 1002
    assert [(log["kind"], log["unsaid"]) for log in logs] == [("stale", 0), ("other", 0), ("stale", 999)]


def test_the_documented_certificate_file_is_there() -> None:
    assert CERTIFICATE.content.startswith(b"-----BEGIN CERTIFICATE-----")

"""What is remembered of one push decides nothing wrong about another."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email.utils import formatdate
from hashlib import md5

import aiohttp
import pytest
from servers.mns_pushes import BODY, KEY, URL

from router_plugins.mns import verification
from router_plugins.mns.certificate import Certificates, TrustedUrls
from router_plugins.mns.signing import sign_push
from router_plugins.mns.verification import Awaited, Judge, KeySource, Refused

pytestmark = pytest.mark.anyio
NOW = 1_492_141_488.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def nothing_known() -> AsyncGenerator[Certificates]:
    async with aiohttp.ClientSession() as session:
        yield Certificates(session)


def headers_of(date: str = formatdate(NOW, usegmt=True), url: str = URL) -> dict[bytes, bytes]:
    headers = {
        "content-md5": md5(BODY).hexdigest(),
        "date": date,
        "x-mns-signing-cert-url": b64encode(url.encode()).decode(),
    }
    headers["authorization"] = sign_push(KEY, "POST", "/n", headers)
    return {name.encode(): value.encode() for name, value in headers.items()}


def kind_of(judge: Judge, headers: dict[bytes, bytes], now: float = NOW) -> str:
    verdict = judge.verdict(b"/n", headers, BODY, now)
    return verdict.kind if isinstance(verdict, Refused) else "awaited" if isinstance(verdict, Awaited) else "taken"


async def test_a_url_that_one_listener_trusts_is_not_trusted_by_another() -> None:
    async with nothing_known() as certificates:
        some, other = (
            Judge(KeySource(None, TrustedUrls([prefix]), certificates), None, 0)
            for prefix in ("https://mnstest.oss-cn-hangzhou.aliyuncs.com/", "https://elsewhere.example/")
        )
        for _ in range(2):
            assert kind_of(some, headers_of()) == "awaited"
            assert kind_of(other, headers_of()) == "wrong_certificate_url"


async def test_a_pinned_key_is_the_only_one_whatever_url_a_push_names() -> None:
    async with nothing_known() as certificates:
        judge = Judge(KeySource(KEY.public_key(), TrustedUrls([]), certificates), None, 0)
        assert kind_of(judge, headers_of(url="https://elsewhere.example/")) == "taken"
        assert kind_of(judge, headers_of() | {b"x-mns-signing-cert-url": b"no base64"}) == "bad_signature"


async def test_a_date_that_was_fresh_gets_stale() -> None:
    async with nothing_known() as certificates:
        judge = Judge(KeySource(KEY.public_key(), TrustedUrls([]), certificates), None, 900)
        for _ in range(2):
            assert kind_of(judge, headers_of(), NOW) == "taken"
            assert kind_of(judge, headers_of(), NOW + 901) == "stale"
            assert kind_of(judge, headers_of(), NOW - 901) == "stale"
            assert kind_of(judge, headers_of(date=formatdate(NOW - 901, usegmt=True)), NOW) == "stale"


async def test_made_up_dates_and_urls_are_forgotten() -> None:
    async with nothing_known() as certificates:
        judge = Judge(KeySource(None, TrustedUrls([]), certificates), None, 900)
        for number in range(600):
            made_up = headers_of() | {b"date": b"%d" % number}
            assert kind_of(judge, made_up) == "stale"
            made_up = headers_of() | {b"x-mns-signing-cert-url": b64encode(b"https://%d.example/" % number)}
            assert kind_of(judge, made_up) == "wrong_certificate_url"
    for known in (verification._unix_seconds.cache_info(), verification.certificate_url.cache_info()):
        assert known.maxsize is not None
        assert known.currsize <= known.maxsize <= 256

"""Who may call the emulator's MNS API: both signatures on the raw target, dates, and temporary credentials."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from router import RouterError
from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.credentials import AccessKey, access_key_of, check_signature
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.faults import Faults
from router_plugins.mns.signing import authorization_v4, sign_v2, sign_v4

MNS = json.loads((Path(__file__).parents[1] / "mns" / "vectors" / "mns.json").read_text())
KEY = AccessKey("permanent", "secret")
TEMPORARY = AccessKey("STS.1", "secret", "the token+/=")


def named(vectors: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in vectors]


def code_of(*request: Any) -> str:
    with pytest.raises(ServiceError) as caught:
        check_signature(*request)
    return caught.value.code


@pytest.mark.parametrize("vector", named(MNS["sdk_requests"]))
def test_what_the_official_python_sdk_signed_is_accepted_and_nothing_else(vector: dict[str, Any]) -> None:
    request = vector["request"]
    headers = {name.lower(): value for name, value in request["headers"].items()}
    key = AccessKey("testAccessKeyId", "testAccessKeySecret", headers.get("security-token", ""))
    keys, date = {key.id: key}, parsedate_to_datetime(headers["date"])
    check_signature(request["method"], request["resource"], headers, keys, date)
    assert code_of("PATCH", request["resource"], headers, keys, date) == "SignatureDoesNotMatch"
    assert code_of(request["method"], request["resource"] + "?", headers, keys, date) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("vector", named(MNS["v4_signatures"]))
def test_what_the_official_java_sdk_signed_with_version_4_is_accepted_and_nothing_else(vector: dict[str, Any]) -> None:
    target = vector["path"] + "?" * bool(vector["query"])
    target += "&".join(f"{quote(key)}={quote(value)}" for key, value in vector["query"].items())
    headers = {name.lower(): value for name, value in vector["headers"].items()}
    headers["authorization"] = vector["authorization"]
    keys = {vector["access_key_id"]: AccessKey(vector["access_key_id"], vector["access_key_secret"])}
    date = datetime.strptime(vector["utc"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    check_signature(vector["method"], target, headers, keys, date)
    later = date + timedelta(seconds=1)
    assert code_of(vector["method"], target, headers, keys, later) == "SignatureDoesNotMatch"
    assert code_of(vector["method"], target + "x", headers, keys, date) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ("20250603/cn/mns/aliyun_v4_request", ""),
        ("20250602/cn/mns/aliyun_v4_request", "SignatureDoesNotMatch"),
        ("2/cn/mns/aliyun_v4_request", "SignatureDoesNotMatch"),
        ("20250603/other/mns/aliyun_v4_request", "SignatureDoesNotMatch"),
        ("20250603//mns/aliyun_v4_request", "InvalidAuthorizationHeader"),
        ("20250603/cn/oss/aliyun_v4_request", "InvalidAuthorizationHeader"),
        ("20250603/cn/mns", "InvalidAuthorizationHeader"),
    ],
)
def test_the_scope_of_a_version_4_signature_counts(scope: str, code: str) -> None:
    date = datetime(2025, 6, 3, 10, 52, 35, tzinfo=UTC)
    signature = sign_v4(KEY.secret, "GET", "/queues", {}, region="cn", utc="20250603T105235Z")
    headers = {"authorization": f"MNS4-HMAC-SHA256 Credential={KEY.id}/{scope},Signature={signature}"}
    request = ("GET", "/queues", headers, {KEY.id: KEY}, date)
    if code:
        assert code_of(*request) == code
    else:
        check_signature(*request)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(access_keys=(KEY, TEMPORARY)).serve() as running:
        running.create_queue("q")
        yield running


@pytest.fixture
async def web() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def headers_at(key: AccessKey, date: datetime, target: str, version: int = 2) -> dict[str, str]:
    headers = {"date": format_datetime(date, usegmt=True), "x-mns-version": "2015-06-06"}
    if version == 2:
        headers["authorization"] = f"MNS {key.id}:{sign_v2(key.secret, 'GET', target, headers)}"
    else:
        utc = f"{date:%Y%m%dT%H%M%SZ}"
        signature = sign_v4(key.secret, "GET", target, headers, region="cn", utc=utc)
        headers["authorization"] = authorization_v4(key.id, signature, region="cn", utc=utc)
    return headers


async def get(
    web: aiohttp.ClientSession, service: Service, headers: dict[str, str], target: str = "/queues"
) -> tuple[int, str, datetime]:
    async with web.get(URL(service.url + target, encoded=True), headers=headers) as answer:
        return answer.status, await answer.text(), parsedate_to_datetime(answer.headers["Date"])


@pytest.mark.anyio
@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("target", ["/queues", "/%71ueues?x-y=a%2Bb+c&A=%e4"])
async def test_both_versions_cover_the_target_as_it_was_sent(
    web: aiohttp.ClientSession, service: Service, version: int, target: str
) -> None:
    now = datetime.now(UTC)
    assert (await get(web, service, headers_at(KEY, now, target, version), target))[0] == 200
    other = "/queues" if target != "/queues" else "/queues?a"
    status, text, _ = await get(web, service, headers_at(KEY, now, other, version), target)
    assert (status, "<Code>SignatureDoesNotMatch</Code>" in text) == (403, True)


@pytest.mark.anyio
@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("minutes", [-16, 16])
async def test_a_skewed_request_is_refused_with_the_date_of_the_service_and_good_when_corrected_by_it(
    web: aiohttp.ClientSession, service: Service, version: int, minutes: int
) -> None:
    service.faults = Faults(clock_skew=minutes * 60)
    now = datetime.now(UTC)
    status, text, date = await get(web, service, headers_at(KEY, now, "/queues", version))
    assert (status, "<Code>TimeExpired</Code>" in text) == (408, True)
    assert abs(date - now - timedelta(minutes=minutes)) < timedelta(seconds=3)
    assert (await get(web, service, headers_at(KEY, date, "/queues", version)))[0] == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("key", "token", "status"),
    [
        (TEMPORARY, TEMPORARY.token, 200),
        (TEMPORARY, "another", 403),
        (TEMPORARY, None, 403),
        (KEY, None, 200),
        (KEY, "", 200),
        (KEY, TEMPORARY.token, 403),
    ],
)
async def test_a_temporary_key_is_good_with_its_own_token_only(
    web: aiohttp.ClientSession, service: Service, key: AccessKey, token: str | None, status: int
) -> None:
    headers = headers_at(key, datetime.now(UTC), "/queues")
    got, text, _ = await get(web, service, headers | ({} if token is None else {"security-token": token}))
    assert got == status
    assert (status == 403) == ("<Code>AccessDenied</Code>" in text)


@pytest.mark.anyio
async def test_a_date_at_the_end_of_time_is_refused_like_any_other(
    web: aiohttp.ClientSession, service: Service
) -> None:
    headers = headers_at(KEY, datetime.now(UTC), "/queues") | {"date": "Fri, 31 Dec 9999 23:59:59 -1400"}
    assert "<Code>InvalidDateHeader</Code>" in (await get(web, service, headers))[1]


def test_access_keys_are_read_with_and_without_a_token_and_never_shown() -> None:
    assert access_key_of("a:b") == AccessKey("a", "b")
    assert access_key_of("STS.a:b:c:d=") == AccessKey("STS.a", "b", "c:d=")
    assert "secret" not in repr(TEMPORARY)
    for text in ("", "a", "a:", ":b", "a:b:"):
        with pytest.raises(RouterError, match="ID:SECRET"):
            access_key_of(text)

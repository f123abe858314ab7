"""Temporary keys from an address: renewed in time, kept while that fails, and never more than was asked for."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from aiohttp import web
from servers.mns_pushes import Recorder

from router import ConfigError, Secret
from router_plugins.emulator import Emulator
from router_plugins.emulator.credentials import AccessKey
from router_plugins.mns.complaints import Complaints
from router_plugins.mns.credentials import CredentialsError
from router_plugins.mns.credentials_uri import CredentialsUri
from router_plugins.mns.queue import MnsQueue

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def key(name: str, seconds: float, **changes: Any) -> dict[str, Any]:
    """Return a key as STS gives it, which expires in so many seconds."""
    expires = f"{datetime.fromtimestamp(time.time() + seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    document = {"Code": "Success", "AccessKeyId": name, "AccessKeySecret": "s3cret", "SecurityToken": f"token-{name}"}
    return document | {"Expiration": expires, "LastUpdated": expires} | changes


class Vending:
    """Gives the answers in turn, the last for ever; wants a metadata token where `hardened`."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked = 0
        self.hardened = False
        self.url = ""

    async def token(self, request: web.Request) -> web.Response:
        assert request.headers["X-aliyun-ecs-metadata-token-ttl-seconds"] == "21600"
        return web.Response(text="imds") if self.hardened else web.Response(status=404)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.hardened and request.headers.get("X-aliyun-ecs-metadata-token") != "imds":
            return web.Response(status=403)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer() if callable(answer) else web.json_response(answer)


@asynccontextmanager
async def vending(*answers: Any) -> AsyncGenerator[Vending]:
    made = Vending()
    made.answers = list(answers)
    application = web.Application()
    application.router.add_put("/latest/api/token", made.token)
    application.router.add_get("/{path:.*}", made.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


@asynccontextmanager
async def kept(uri: str, counted: list[str], now: Callable[[], float] = time.time) -> AsyncGenerator[CredentialsUri]:
    keys, asked = CredentialsUri(Secret(uri), now=now), anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keys.keep_fresh, Complaints(counted.append, "trouble"), asked.set)
        await asked.wait()
        yield keys
        tasks.cancel_scope.cancel()


async def test_a_key_is_renewed_before_it_expires() -> None:
    counted: list[str] = []
    async with vending(key("one", 5), key("two", 3600)) as there, kept(there.url + "/key", counted) as keys:
        assert keys.current().access_key_id == "one"
        with anyio.fail_after(5):
            while keys.current().access_key_id == "one":  # and there is no moment without a key
                await anyio.sleep(0.01)
        assert (keys.current().access_key_id, keys.current().security_token) == ("two", "token-two")
        await anyio.sleep(1.2)
        assert there.asked == 2
    assert counted == []


async def test_the_last_key_stays_in_use_while_renewing_fails_until_it_expires() -> None:
    counted: list[str] = []
    later = [0.0]
    failing = lambda: web.Response(status=500)  # noqa: E731 - one answer
    async with (
        vending(key("one", 4), failing) as there,
        kept(there.url, counted, lambda: time.time() + later[0]) as keys,
    ):
        with anyio.fail_after(5):
            while not counted:
                assert keys.current().access_key_id == "one"
                await anyio.sleep(0.01)
        assert keys.current().access_key_id == "one"
        later[0] = 60.0
        with pytest.raises(CredentialsError, match="expired; status 500"):
            keys.current()
        there.answers = [key("two", 3600)]
        with anyio.fail_after(5):
            while True:
                try:
                    assert keys.current().access_key_id == "two"
                    break
                except CredentialsError:
                    await anyio.sleep(0.01)
    assert set(counted) == {"refresh_failed"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: web.Response(status=404, text="s3cret"), "status 404"),
        (lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "status 302"),
        (lambda: web.Response(text="{" + "s3cret" * 20_000), "more than 65536 bytes"),
        (lambda: web.Response(text="s3cret"), "no JSON"),
        (lambda: web.Response(body=b"\xff\xfe"), "no JSON"),
        (key("one", 3600, Code="Failed"), "Code is 'Failed'"),
        (key("one", 3600, AccessKeyId=""), "missing or empty"),
        (key("one", 3600, AccessKeySecret=7), "not a key"),
        (key("one", 3600, Expiration=None), "no Expiration"),
        (key("one", 3600, Expiration="2030-01-01T00:00:00"), "no zone"),
        (key("one", 3600, SecurityToken=None), "no Expiration or no SecurityToken"),
        (key("one", -60), "expired at"),
    ],
)
async def test_an_answer_that_is_no_key_is_counted_and_says_why_without_secrets(answer: Any, reason: str) -> None:
    counted: list[str] = []
    async with vending(answer) as there, kept(there.url + "/s3cret?s3cret", counted) as keys:
        with pytest.raises(CredentialsError, match=reason) as caught:
            keys.current()
        assert "s3cret" not in str(caught.value)
    assert counted == ["refresh_failed"]


async def test_an_address_that_does_not_answer_is_counted() -> None:
    counted: list[str] = []
    async with kept("http://127.0.0.1:1/", counted) as keys:
        with pytest.raises(CredentialsError, match=r"127\.0\.0\.1:1"):
            keys.current()
    assert counted == ["refresh_failed"]


@pytest.mark.parametrize("hardened", [False, True])
async def test_the_metadata_service_gives_a_roles_key_in_both_modes(*, hardened: bool) -> None:
    async with vending(key("role", 3600)) as there:
        there.hardened = hardened
        async with kept(there.url + "/latest/meta-data/ram/security-credentials/mail", []) as keys:
            assert keys.current().access_key_id == "role"


async def test_a_source_receives_with_the_renewed_key() -> None:
    emit, counted = Recorder(), list[str]()
    keys = (AccessKey("two", "s3cret", "token-two"),)
    async with Emulator(access_keys=keys).serve() as service, vending(key("one", 4), key("two", 3600)) as there:
        service.create_queue("q")
        service.account.queue("q").send("a")
        every = MnsQueue(
            endpoint=service.url, queue="q", credentials_uri=Secret(there.url), wait_seconds=1, slow_retry=0.05
        )
        every.check()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(every.run, emit, lambda: None, counted.append)
            with anyio.fail_after(10):
                while service.account.queue("q").contents():
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
    assert len(emit.messages) == 1
    assert "refused" in counted  # by the key that is unknown to the service


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"credentials_uri": Secret("127.0.0.1:7002")}, "credentials_uri"),
        ({"credentials_uri": Secret("http://x/"), "access_key_id": "a"}, "credentials_uri"),
        ({"credentials_uri": Secret("http://x/"), "security_token": Secret("a")}, "credentials_uri"),
        ({"security_token": Secret("a")}, "access_key_id"),
        ({}, "access_key_id"),
    ],
)
def test_a_source_has_exactly_one_kind_of_key(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MnsQueue(endpoint="http://x", queue="q", **fields).check()
    assert caught.value.place == place

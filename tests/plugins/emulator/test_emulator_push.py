"""Pushes over real sockets: what they look like, that they verify, and what follows which answer."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from collections.abc import AsyncGenerator
from email.utils import parsedate_to_datetime
from hashlib import md5
from pathlib import Path
from random import Random
from time import time

import anyio
import pytest
from servers.push_endpoint import endpoint
from yarl import URL

from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.faults import Faults
from router_plugins.emulator.push_request import endpoint_url, is_loopback
from router_plugins.emulator.queued import DlqPolicy
from router_plugins.emulator.rules import RuleOrder
from router_plugins.emulator.runs import CampaignOrder
from router_plugins.emulator.topic import Strategy, SubscriptionAttributes, redelivery_wait
from router_plugins.mns.signing import string_to_sign

pytestmark = pytest.mark.anyio
ODD = "env_id=1&err_msg=550 <&> 收件人 http://x/?a=1&&b=2"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(rule_delay=0, fast=10_000).serve() as running:
        running.create_topic("results")
        yield running


def status_of(service: Service) -> list[int | None]:
    return [answer.status for answer in service.pushes.answers]


async def wait_until_idle(service: Service) -> None:
    with anyio.fail_after(5):
        while service.pushes.pending():
            await anyio.sleep(0.005)


@pytest.mark.parametrize("fields", ["", "\r\nConnection: Upgrade\r\nUpgrade: h2c"])
async def test_an_endpoint_that_switches_to_another_protocol_has_not_taken_it(service: Service, fields: str) -> None:
    async with endpoint(f"101 Switching Protocols{fields}", "204 No Content") as there:
        service.subscribe("results", "to-http", there.url)
        service.publish("results", "a=b")
        await there.wait(2)
        await wait_until_idle(service)
    assert status_of(service) == [None, 204]


async def test_a_simplified_push_has_the_headers_and_the_casing_of_the_service(service: Service) -> None:
    async with endpoint(path="/n/%7esecret?a=b+c") as there:
        service.subscribe("results", "to-http", there.url, filter_tag="")
        message_id = service.publish("results", ODD, "tag")
        (pushed,) = await there.wait(1)
    assert pushed.target == "POST /n/%7esecret?a=b+c HTTP/1.1"
    assert pushed.body == ODD.encode()
    headers = pushed.headers
    assert headers["Content-md5"] == md5(ODD.encode()).hexdigest().upper()
    assert headers["Content-Type"] == "text/plain;charset=utf-8"
    assert headers["User-Agent"] == "Aliyun Notification Service Agent"
    assert abs(parsedate_to_datetime(headers["Date"]).timestamp() - time()) < 5
    assert {name for name in headers if name.startswith("x-mns-")} == {
        "x-mns-version", "x-mns-request-id", "x-mns-signing-cert-url", "x-mns-message-id", "x-mns-topic-owner",
        "x-mns-topic-name", "x-mns-subscriber", "x-mns-subscription-name", "x-mns-publish-time", "x-mns-message-tag",
    }  # fmt: skip
    assert headers["x-mns-message-id"] == message_id
    assert b64decode(headers["x-mns-signing-cert-url"]).decode() == service.certificate_url


async def test_openssl_finds_the_signature_good(service: Service, tmp_path: Path) -> None:
    async with endpoint() as there:
        for form in ("SIMPLIFIED", "XML", "JSON"):
            service.subscribe("results", form, there.url, content_format=form)
        service.publish("results", ODD)
        for number, pushed in enumerate(await there.wait(3)):
            text = string_to_sign("POST", pushed.target.split()[1], pushed.lowered)
            (tmp_path / "cert.pem").write_bytes(service.certificate_pem)
            (tmp_path / "text").write_bytes(text.encode())
            (tmp_path / "signature").write_bytes(b64decode(pushed.headers["Authorization"], validate=True))
            key = ["openssl", "x509", "-in", "cert.pem", "-pubkey", "-noout", "-out", "key.pem"]
            await anyio.run_process(key, cwd=tmp_path)
            verify = ["openssl", "dgst", "-sha1", "-verify", "key.pem", "-signature", "signature", "text"]
            done = await anyio.run_process(verify, cwd=tmp_path)
            assert done.stdout.strip() == b"Verified OK", number
            (tmp_path / "text").write_bytes(text.encode() + b"x")
            with pytest.raises(subprocess.CalledProcessError):
                await anyio.run_process(verify, cwd=tmp_path)


async def test_the_envelopes_carry_the_message_and_their_own_content_md5(service: Service) -> None:
    async with endpoint() as there:
        service.subscribe("results", "xml", there.url, content_format="XML")
        service.publish("results", ODD)
        (xml,) = await there.wait(1)
        service.account.unsubscribe("results", "xml")
        service.subscribe("results", "json", there.url, content_format="JSON")
        service.publish("results", ODD)
        _, json_push = await there.wait(2)
    assert xml.headers["Content-Type"] == "text/xml;charset=utf-8"
    assert b64decode(xml.headers["Content-md5"]).decode() == md5(xml.body).hexdigest()
    assert xml.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<Notification xmlns="http://mns.aliyuncs.com')
    assert b"&amp;err_msg=550 &lt;&amp;&gt; " in xml.body
    fields = json.loads(json_push.body)
    assert json_push.headers["Content-Type"] == "application/json;charset=utf-8"
    assert (fields["Message"], fields["MessageMD5"]) == (ODD, md5(ODD.encode()).hexdigest().upper())
    assert isinstance(fields["PublishTime"], str)
    assert "MessageTag" not in fields


async def test_a_push_is_made_again_until_it_is_answered(service: Service) -> None:
    async with endpoint(
        "500 Oops\r\nConnection: close\r\nContent-Length: 0", "", "403 No\r\nContent-Length: 0", "204 No Content"
    ) as there:
        service.subscribe("results", "s", there.url)
        message_id = service.publish("results", "x")
        pushed = await there.wait(4)
        await wait_until_idle(service)
    assert {one.headers["x-mns-message-id"] for one in pushed} == {message_id}
    assert status_of(service) == [500, None, 403, 204]
    assert [answer.attempt for answer in service.pushes.answers] == [1, 2, 3, 4]


async def test_backoff_gives_up_after_three_retries_and_uses_the_dead_letter_queue(service: Service) -> None:
    service.create_queue("dead")
    async with endpoint("400 Bad\r\nContent-Length: 0") as there:
        attributes = SubscriptionAttributes(
            endpoint=there.url, dlq_policy=DlqPolicy(enabled=True, dead_letter_target_queue="dead")
        )
        service.account.subscribe("results", "s", attributes)
        service.publish("results", "unwanted")
        await there.wait(4)
        await wait_until_idle(service)
    assert status_of(service) == [400] * 4
    assert service.account.queue("dead").peek()[0].message.body == "unwanted"


async def test_a_redirect_counts_as_an_answer(service: Service) -> None:
    async with endpoint("302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0") as there:
        service.subscribe("results", "s", there.url)
        service.publish("results", "x")
        await there.wait(1)
        await wait_until_idle(service)
    assert status_of(service) == [302]


async def test_connections_are_kept_and_a_body_in_the_answer_does_no_harm(service: Service) -> None:
    async with endpoint("200 OK\r\nContent-Length: 5\r\n\r\nthere") as there:
        service.subscribe("results", "s", there.url)
        for count in range(1, 4):
            service.publish("results", "x")
            await there.wait(count)
            await wait_until_idle(service)
        assert there.connections == 1
    assert status_of(service) == [200] * 3


@pytest.mark.parametrize("answer", ["204 No Content\r\nConnection: close", "200 OK\r\nConnection: close\r\n\r\n<body>"])
async def test_a_connection_that_the_endpoint_gives_up_is_not_used_again(service: Service, answer: str) -> None:
    async with endpoint(answer, "") as there:
        service.subscribe("results", "s", there.url)
        service.publish("results", "x")
        await there.wait(1)
    await wait_until_idle(service)
    assert service.pushes.answers[0].status in {200, 204} or service.pushes.answers[0].error


async def test_an_answer_that_is_no_http_is_a_failure(service: Service) -> None:
    async with endpoint("banana") as there:
        service.subscribe("results", "s", there.url)
        service.publish("results", "x")
        await there.wait(4)
        await wait_until_idle(service)
    assert status_of(service) == [None] * 4


async def test_a_slow_endpoint_holds_up_no_other_subscription(service: Service) -> None:
    async with endpoint() as quick:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:  # connects, and never answers
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            service.subscribe("results", "black-hole", f"http://127.0.0.1:{port}/")
            service.subscribe("results", "quick", quick.url)
            for _ in range(200):
                service.publish("results", "x")
            await quick.wait(200)


async def test_nothing_is_pushed_beyond_this_machine(service: Service) -> None:
    service.subscribe("results", "far", "http://192.0.2.1/notifications")
    service.publish("results", "x")
    await wait_until_idle(service)
    assert service.pushes.answers[0].error.startswith("not pushed")


async def test_only_messages_with_its_tag_reach_a_filtered_subscription(service: Service) -> None:
    async with endpoint() as there:
        service.subscribe("results", "s", there.url, filter_tag="a")
        for tag in ("", "b", "a"):
            service.publish("results", f"<{tag}>", tag)
        (pushed,) = await there.wait(1)
        await wait_until_idle(service)
        assert len(there.pushed) == 1
    assert pushed.body == b"<a>"


async def test_duplicates_to_order_are_pushed_twice_and_booked_once(service: Service) -> None:
    service.faults = Faults(duplicates=1)
    async with endpoint() as there:
        types = ("Deliver:SendSuccessfully", "Deliver:SendFailed")
        service.create_rule(RuleOrder(name="r", types=types, endpoints=(there.url,)))
        ledger = service.start_campaign(CampaignOrder(results=20))
        await there.wait(40)
        await wait_until_idle(service)
    progress = ledger.progress()
    assert (progress.pushed, progress.answered, progress.pending) == (20, 20, 0)


@pytest.mark.parametrize(
    ("strategy", "retries", "total"),
    [("BACKOFF_RETRY", 3, (30, 60)), ("EXPONENTIAL_DECAY_RETRY", 176, (86015, 86015))],
)
def test_the_waits_between_retries_are_those_documented(
    strategy: Strategy, retries: int, total: tuple[float, float]
) -> None:
    waits = [redelivery_wait(strategy, failures, Random(1)) for failures in range(1, retries + 2)]
    assert waits[-1] is None
    assert total[0] <= sum(wait for wait in waits if wait is not None) <= total[1]
    if strategy == "EXPONENTIAL_DECAY_RETRY":
        assert waits[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_an_endpoint_without_a_path_is_pushed_to_the_default_one() -> None:
    assert endpoint_url("http://127.0.0.1:8080").raw_path_qs == "/notifications"
    assert endpoint_url("http://127.0.0.1:8080/?a=b").raw_path_qs == "/notifications?a=b"
    assert endpoint_url("http://127.0.0.1:8080/a%2Fb?c+d").raw_path_qs == "/a%2Fb?c+d"


@pytest.mark.parametrize(
    ("url", "here"),
    [("http://localhost/", True), ("http://127.9.9.9/", True), ("http://[::1]:80/", True), ("http://10.0.0.1/", False),
     ("http://localhost.example.com/", False), ("http://0.0.0.0/", False)],
)  # fmt: skip
def test_only_loopback_addresses_are_this_machine(url: str, *, here: bool) -> None:
    assert is_loopback(URL(url)) is here

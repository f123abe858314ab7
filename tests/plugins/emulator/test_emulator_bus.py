"""EventBridge's bus in the emulator: what its targets get, who can check it, and the whole loop into the router."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from servers.daemon import free_port
from servers.mns_pushes import Recorder
from servers.push_endpoint import Pushed, endpoint
from typer.testing import CliRunner

from router import Message, PemFile, Secret
from router_plugins.directmail.decoder import DirectMail
from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.bus import BusOrder
from router_plugins.emulator.command import emulator
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.rules import RuleOrder
from router_plugins.emulator.runs import CampaignOrder
from router_plugins.mns.eventbridge_target import EventBridge
from router_plugins.mns.push import MnsPush

pytestmark = pytest.mark.anyio
BOTH = ("dm:Deliver:Succeed", "Deliver:SendFailed")
TOKEN = "t0ken"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(rule_delay=0, fast=10_000).serve() as running:
        yield running


async def settled(service: Service) -> None:
    with anyio.fail_after(10):
        while service.pushes.pending() or not all(ledger.finished for ledger in service.campaigns.all()):
            await anyio.sleep(0.005)


async def one_push(service: Service, **order: Any) -> tuple[Pushed, str]:
    async with endpoint(path="/events?from=eventbridge") as there:
        service.bus.create(BusOrder(name="r", types=BOTH, endpoint=there.url, **order))
        service.start_campaign(CampaignOrder(results=1))
        (pushed,) = await there.wait(1)
        await settled(service)
        return pushed, there.url


def signed_text(pushed: Pushed, url: str, method: str) -> bytes:
    """Write down what is signed, as the documentation does."""
    headers = pushed.lowered
    names = ["signature-timestamp", method, "signature-version", "signature-url", "signature-token"]
    lines = [f"x-eventbridge-{name}: {headers[f'x-eventbridge-{name}']}" for name in names]
    return "\n".join([url, *lines, ""]).encode() + pushed.body + b"\n"


def openssl(*arguments: object, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, check=True).stdout


async def test_openssl_verifies_both_signatures_of_a_push(service: Service, tmp_path: Path) -> None:
    pushed, url = await one_push(service, token=TOKEN)
    (tmp_path / "cert.pem").write_bytes(service.certificate_pem)
    key = tmp_path / "key.pem"
    key.write_bytes(openssl("x509", "-in", tmp_path / "cert.pem", "-pubkey", "-noout"))
    headers = pushed.lowered
    assert headers["x-eventbridge-signature-url"] == service.certificate_url

    (tmp_path / "v2").write_bytes(b64decode(headers["x-eventbridge-signature-v2"]))
    text = signed_text(pushed, url, "hash-method")
    assert b"OK" in openssl("dgst", "-sha256", "-verify", key, "-signature", tmp_path / "v2", stdin=text)

    (tmp_path / "secret").write_bytes(b64decode(headers["x-eventbridge-signature-secret"]))
    secret = openssl("pkeyutl", "-verifyrecover", "-pubin", "-inkey", key, "-in", tmp_path / "secret")
    text = signed_text(pushed, url, "signature-method")
    digest = openssl("dgst", "-sha1", "-hmac", secret.decode(), "-binary", stdin=text)
    assert digest == b64decode(headers["x-eventbridge-signature"])


async def test_a_push_is_a_cloudevent_whatever_form_the_campaign_has(service: Service) -> None:
    pushed, _ = await one_push(service)
    assert pushed.target == "POST /events?from=eventbridge HTTP/1.1"
    assert "x-eventbridge-signature-token" not in pushed.lowered
    event = from_http_event(HTTPMessage({"content-type": "application/cloudevents+json"}, pushed.body))
    assert event.get_type() in {"dm:Deliver:Succeed", "dm:Deliver:Fail"}
    assert event.get_source() == "acs:dm"


async def test_a_push_carries_only_the_signature_that_was_ordered(service: Service) -> None:
    pushed, _ = await one_push(service, signatures=("v2",))
    assert "x-eventbridge-signature-v2" in pushed.lowered
    assert not {"x-eventbridge-signature", "x-eventbridge-signature-secret"} & pushed.lowered.keys()


def listener(service: Service, certificate: Path, port: int, **target: Any) -> MnsPush:
    """Return a push source that trusts the emulator: the one certificate for topics, and fetched for EventBridge."""
    certificate.write_bytes(service.certificate_pem)
    every = {"url": Secret(f"http://127.0.0.1:{port}/events"), "token": Secret(TOKEN)} | target
    eventbridge = EventBridge(**every, certificate_urls=(service.url + "/",))
    return MnsPush(listen=f"127.0.0.1:{port}", certificate=PemFile.read(certificate), eventbridge=eventbridge)


async def test_the_whole_loop_brings_every_result_under_the_id_of_its_text(service: Service, tmp_path: Path) -> None:
    """The same campaign comes as text from a topic and as CloudEvents from the bus, to the same listener."""
    emit, counted = Recorder(), list[str]()
    source = listener(service, tmp_path / "cert.pem", free_port())
    source.check()
    async with source.serving(emit, counted.append) as (host, port):
        url = f"http://{host}:{port}"
        service.create_rule(RuleOrder(name="topic", types=BOTH, endpoints=(f"{url}/notifications",)))
        service.bus.create(BusOrder(name="bus", types=BOTH, endpoint=f"{url}/events", token=TOKEN))
        ledger = service.start_campaign(CampaignOrder(results=300))
        await settled(service)
    assert (counted, ledger.progress().answered, len(emit.messages)) == ([], 600, 600)
    ids = [DirectMail().decode(Message(message.body, 0.0), "push").id for message in emit.messages]
    assert len(set(ids)) == 300


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ({"token": Secret("another")}, "wrong_token"),
        ({"url": Secret("https://router.example.com/events")}, "bad_signature"),
    ],
)
async def test_a_target_that_is_set_up_wrong_is_told_by_its_counts(
    service: Service, tmp_path: Path, target: dict[str, Any], kind: str
) -> None:
    counted: list[str] = []
    source = listener(service, tmp_path / "cert.pem", free_port(), **target)
    async with source.serving(Recorder(), counted.append) as (host, port):
        service.bus.create(BusOrder(name="bus", types=BOTH, endpoint=f"http://{host}:{port}/events", token=TOKEN))
        service.start_campaign(CampaignOrder(results=1))
        await settled(service)
    assert counted == [kind] * 4
    assert [answer.status for answer in service.pushes.answers] == [403] * 4


async def test_a_push_that_is_not_answered_is_made_again_until_it_is_given_up(service: Service) -> None:
    async with endpoint("500 Oh\r\nContent-Length: 0", "204 No Content") as there:
        service.bus.create(BusOrder(name="r", types=BOTH, endpoint=there.url))
        ledger = service.start_campaign(CampaignOrder(results=1))
        pushed = await there.wait(2)
        await settled(service)
        assert pushed[0].body == pushed[1].body
        assert ledger.progress().answered == 1
    async with endpoint("403 No\r\nContent-Length: 0") as there:
        service.bus.delete("r")
        service.bus.create(BusOrder(name="r", types=BOTH, endpoint=there.url))
        ledger = service.start_campaign(CampaignOrder(results=1))
        await there.wait(4)
        await settled(service)
        assert (len(there.pushed), ledger.progress().given_up) == (4, 1)


async def test_a_rule_of_the_bus_wants_its_types_of_its_region_only(service: Service) -> None:
    service.create_queue("q")
    queue = service.queue_endpoint("q")
    service.bus.create(BusOrder(name="r", types=("dm:Deliver:Fail",), region="eu-central-1", endpoint=queue))
    ledger = service.start_campaign(CampaignOrder(results=400, regions=("cn-hangzhou", "eu-central-1")))
    await settled(service)
    expected = [line for line in ledger.lines() if (line.type, line.region) == ("Deliver:SendFailed", "eu-central-1")]
    bodies = [json.loads(lease.message.body) for lease in service.account.queue("q").peek(1000)]
    assert 0 < len(expected) == len(bodies)
    assert [body["data"]["env_id"] for body in bodies] == [line.env_id for line in expected]
    assert all(line.rules == ("r",) for line in expected)


@pytest.mark.parametrize("wrong", [{"types": ("Deliver:Nonsense",)}, {"endpoint": "ftp://127.0.0.1/"}])
async def test_what_is_no_type_or_no_endpoint_is_refused(service: Service, wrong: dict[str, Any]) -> None:
    with pytest.raises(ServiceError) as caught:
        service.bus.create(BusOrder(**{"name": "r", "types": BOTH, "endpoint": "http://127.0.0.1/"} | wrong))
    assert (caught.value.code, service.bus.by_name) == ("InvalidArgument", {})


async def test_rules_of_the_bus_outlive_a_restart(tmp_path: Path) -> None:
    async with Emulator(state=tmp_path).serve() as service:
        rule = service.bus.create(BusOrder(name="r", types=BOTH, endpoint="http://127.0.0.1:1/", token=TOKEN))
    async with Emulator(state=tmp_path).serve() as service:
        assert service.bus.by_name == {"r": rule}


async def test_rules_of_the_bus_are_made_listed_and_deleted_from_the_command_line(service: Service) -> None:
    async def said(*words: str) -> str:
        arguments = ["bus", *words, "--at", service.url.removeprefix("http://")]
        result = await anyio.to_thread.run_sync(lambda: CliRunner().invoke(emulator, arguments))
        assert result.exit_code == 0, result.output
        return result.stdout

    target = "http://127.0.0.1:8080/events"
    await said("create", "all", "--type", "dm:Deliver:Fail", "--endpoint", target, "--token", TOKEN)
    [rule] = json.loads(await said("list", "--json"))
    assert (rule["name"], rule["types"], rule["token"]) == ("all", ["Deliver:SendFailed"], TOKEN)
    await said("delete", "all")
    assert await said("list") == "none\n"

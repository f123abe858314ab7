"""The emulator's own API and its command, used as a person or the demo would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import pytest
from typer.testing import CliRunner

from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.command import emulator

ALL = ["Deliver:SendSuccessfully", "Deliver:SendFailed"]
RUN = [sys.executable, "-c", "from router_plugins.emulator.command import emulator; emulator()"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(rule_delay=0).serve() as running:
        yield running


@pytest.fixture
async def web(service: Service) -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base_url=service.url) as session:
        yield session


async def ask(web: aiohttp.ClientSession, method: str, path: str, order: Any = None) -> tuple[int, Any]:
    async with web.request(method, f"/emulator{path}", json=order) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if text else None


@pytest.mark.anyio
async def test_a_campaign_is_published_through_its_rules_and_every_result_is_in_the_books(
    web: aiohttp.ClientSession,
) -> None:
    _, made = await ask(web, "POST", "/queues", {"name": "q"})
    rule = {"name": "failures", "types": ["Deliver:SendFailed"], "endpoints": [made["endpoint"]]}
    assert (await ask(web, "POST", "/rules", rule))[0] == 201
    order = {"results": 300, "seed": 7, "duplicates": 0.2, "form": "mixed", "accounts": ["a@x.example"]}
    _, progress = await ask(web, "POST", "/campaigns", order)
    with anyio.fail_after(5):
        while not progress["finished"]:
            await anyio.sleep(0.01)
            _, progress = await ask(web, "GET", f"/campaigns/{progress['id']}")
    async with web.get("/emulator/ledger") as answer:
        lines = [json.loads(line) for line in (await answer.text()).splitlines()]
    assert len({(line["env_id"], line["rcpt"]) for line in lines}) == 300
    assert sum(line["copies"] for line in lines) == progress["sent"] == 300 + progress["duplicates"]
    assert 30 < progress["duplicates"] < 90
    failed = [line for line in lines if line["type"] == "Deliver:SendFailed"]
    assert all(line["rules"] == ["failures"] and line["queued"] == line["copies"] for line in failed)
    assert all(not line["rules"] and not line["queued"] for line in lines if line not in failed)
    assert progress["backlog"] == sum(line["queued"] for line in failed)
    _, received = await ask(web, "POST", "/queues/q/receive", {"count": 5, "delete": True})
    assert len(received) == 5
    assert (await ask(web, "GET", f"/campaigns/{progress['id']}"))[1]["deleted"] == 5


@pytest.mark.anyio
async def test_the_rate_of_a_campaign_is_kept_and_it_can_be_stopped(web: aiohttp.ClientSession) -> None:
    _, progress = await ask(web, "POST", "/campaigns", {"results": 100_000, "rate": 200})
    await anyio.sleep(0.3)
    assert (await ask(web, "DELETE", f"/campaigns/{progress['id']}"))[0] == 204
    await anyio.sleep(0.05)
    _, progress = await ask(web, "GET", f"/campaigns/{progress['id']}")
    assert progress["finished"]
    assert 1 <= progress["sent"] <= 150


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "order", "status"),
    [
        ("POST", "/queues", {"name": "bad name"}, 400),
        ("POST", "/queues", {"name": "q", "attributes": {"VisibilityTimeout": 0}}, 400),
        ("POST", "/rules", {"name": "r", "types": ALL, "topic": "t", "endpoints": ["http://127.0.0.1/"]}, 400),
        ("POST", "/rules", {"name": "r", "types": ALL, "topic": "t", "tipo": 1}, 400),
        ("DELETE", "/rules/none", None, 404),
        ("GET", "/campaigns/c9", None, 404),
        ("GET", "/queues/none/messages", None, 404),
        ("POST", "/campaigns", {"results": -1}, 400),
        ("POST", "/campaigns", {"results": 1, "accounts": []}, 400),
        ("POST", "/campaigns", {"results": 1, "mix": {"success": 0}}, 400),
        ("PUT", "/faults", {"errors": 2}, 400),
        ("GET", "/pushes?limit=x", None, 400),
    ],
)
async def test_mistakes_are_answered_with_a_reason(
    web: aiohttp.ClientSession, method: str, path: str, order: Any, status: int
) -> None:
    got, answer = await ask(web, method, path, order)
    assert got == status
    assert answer["message"]


@pytest.mark.anyio
async def test_a_page_of_another_origin_can_do_nothing(web: aiohttp.ClientSession) -> None:
    async with web.get("/emulator/status", headers={"Host": "evil.example"}) as answer:
        assert answer.status == 403
    async with web.post("/emulator/queues", data='{"name": "q"}', headers={"Content-Type": "text/plain"}) as answer:
        assert answer.status == 415


@pytest.mark.anyio
async def test_the_page_is_served_and_the_certificate_too(web: aiohttp.ClientSession, service: Service) -> None:
    async with web.get("/emulator") as answer:
        assert "DirectMail and MNS emulator" in await answer.text()
    async with web.get(service.certificate_url) as answer:
        assert await answer.read() == service.certificate_pem


@pytest.mark.anyio
async def test_faults_to_order_happen_and_end(web: aiohttp.ClientSession) -> None:
    await ask(web, "PUT", "/faults", {"errors": 1, "clock_skew": 3600})
    async with web.get("/queues") as answer:
        assert "x-mns-request-id" in answer.headers
    await ask(web, "PUT", "/faults", {"lost_answers": 1})
    with pytest.raises(aiohttp.ClientError):
        await web.get("/queues")
    _, faults = await ask(web, "PUT", "/faults", {})
    assert not any(faults.values())


@pytest.fixture
def running(tmp_path: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    certificate = tmp_path / "cert.pem"
    arguments = ["--listen", "127.0.0.1:0", "--rule-delay", "0", "--certificate", str(certificate)]
    with subprocess.Popen([*RUN, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line.startswith("emulator listening on http://127.0.0.1:")
        assert certificate.read_text().startswith("-----BEGIN CERTIFICATE-----")
        yield process, line.rpartition("//")[2]
        process.kill()


def test_the_command_serves_its_subcommands_and_stops_cleanly(running: tuple[subprocess.Popen[str], str]) -> None:
    process, at = running
    cli = CliRunner()

    def run(*arguments: str) -> str:
        wide = {"COLUMNS": "300"}
        result = cli.invoke(emulator, [*arguments, "--at", at], catch_exceptions=False, env=wide)
        assert result.exit_code == 0, result.output
        return result.output

    run("queue", "create", "q")
    endpoint = json.loads(run("queue", "create", "q"))["endpoint"]
    run("rule", "create", "r", "--type", ALL[0], "--type", ALL[1], "--endpoint", endpoint)
    assert json.loads(run("rule", "list", "--json"))[0]["active"] is True
    run("topic", "create", "t")
    run("subscription", "create", "t", "s", "--queue", "q")
    run("publish", "t", "by hand")
    assert json.loads(run("receive", "q", "--delete"))["body"] == "by hand"
    run("send", "q", "for later")
    assert json.loads(run("peek", "q"))["body"] == json.loads(run("peek", "q"))["body"] == "for later"
    run("queue", "create", "dead")
    url = "http://127.0.0.1:9/"
    run("subscription", "create", "t", "s2", "--endpoint", url, "--format", "XML", "--dead-letter", "dead")
    listed = {s["name"]: s for s in json.loads(run("subscription", "list", "--json"))}
    assert listed["s2"]["attributes"]["DlqPolicy"]["DeadLetterTargetQueue"] == "dead"
    run("subscription", "delete", "t", "s2")
    assert json.loads(run("status"))["queues"] == 2
    run("campaign", "3")
    for kind, name in (("rule", "active"), ("queue", "dead"), ("topic", "t"), ("subscription", "queues/q")):
        assert name in run(kind, "list")
    assert run("pushes") == run("bus", "list") == "none\n"
    run("bus", "create", "b", "--type", ALL[0], "--type", ALL[1], "--endpoint", url)
    assert url in run("bus", "list")
    run("campaign", "1")
    until = time.monotonic() + 20
    while url not in run("pushes"):
        assert time.monotonic() < until, "the push is never shown"
    run("bus", "delete", "b")
    assert json.loads(run("faults", "duplicates=0.5"))["duplicates"] == 0.5
    run("subscription", "delete", "t", "s")
    run("topic", "delete", "t")
    run("rule", "delete", "r")
    assert len(run("ledger").splitlines()) == 4
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "0.0.0.0:0"], "loopback addresses only"),
        (["--listen", "192.168.1.1:80"], "loopback addresses only"),
        (["--listen", "nonsense"], "no ADDRESS:PORT"),
        (["--listen", "127.0.0.1:0", "--access-key", "x"], "no ID:SECRET"),
    ],
)
def test_other_addresses_and_mistakes_are_refused_in_one_line(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(emulator, arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_port_in_use_is_an_error_of_one_line(running: tuple[subprocess.Popen[str], str]) -> None:
    result = CliRunner().invoke(emulator, ["--listen", running[1]])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert os.strerror(98) in result.stderr

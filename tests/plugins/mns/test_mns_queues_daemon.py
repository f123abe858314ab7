"""Queues of two regions drained by one daemon, and the results of one of them put into a queue of their own."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import anyio
import pytest

from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.queue import Queue
from router_plugins.emulator.rules import RuleOrder
from router_plugins.emulator.runs import CampaignOrder

pytestmark = pytest.mark.anyio
TYPES = ("Deliver:SendSuccessfully", "Deliver:SendFailed")

CONFIG = """
state: {folder}/state
admin: {{listen: 127.0.0.1:0}}
sources:
  first: {{type: mns_queue, endpoint: "{hangzhou}", queue: one, access_key_id: testAccessKeyId, wait_seconds: 1,
          access_key_secret: testAccessKeySecret}}
  second: {{type: mns_queue, endpoint: "{hangzhou}", queue: two, access_key_id: testAccessKeyId, wait_seconds: 1,
           access_key_secret: testAccessKeySecret, signature: v4, region: cn-hangzhou}}
  frankfurt: {{type: mns_queue, endpoint: "{frankfurt}", queue: one, access_key_id: testAccessKeyId, wait_seconds: 1,
              access_key_secret: testAccessKeySecret}}
departments:
  all:
    accounts: ["*"]
    subscriptions:
      file: {{to: {{type: file, path: "{folder}/all.jsonl"}}}}
      europe:
        match: {{region: eu-central-1}}
        to: {{type: mns_queue, endpoint: "{frankfurt}", queue: results, access_key_id: testAccessKeyId,
             access_key_secret: testAccessKeySecret}}
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def feed(service: Service, queue: str, results: int, seed: int) -> None:
    """Publish a campaign through a rule to a queue."""
    service.create_queue(queue)
    endpoints = (service.queue_endpoint(queue),)
    service.create_rule(RuleOrder(name=queue, types=TYPES, region=service.account.region, endpoints=endpoints))
    service.start_campaign(
        CampaignOrder(results=results, seed=seed, regions=(service.account.region,), form="mixed", duplicates=0.05)
    )


def left_in(queue: Queue) -> int:
    counts = queue.counts()
    return counts.active + counts.inactive + counts.delayed


async def test_every_result_of_every_queue_arrives_once_and_one_regions_in_a_queue(tmp_path: Path) -> None:
    async with (
        Emulator(rule_delay=0).serve() as hangzhou,
        Emulator(rule_delay=0, region="eu-central-1").serve() as frankfurt,
    ):
        feed(hangzhou, "one", 300, 1)
        frankfurt.create_queue("results")
        feed(frankfurt, "one", 300, 3)
        hangzhou.create_queue("two")
        for number in range(100):
            text = f"env_id={number}&rcpt=r@b.example&status=0&event=deliver&region=cn-hangzhou"
            hangzhou.account.send(hangzhou.account.queue("two"), text)
        config = tmp_path / "router.yaml"
        config.write_text(CONFIG.format(folder=tmp_path, hangzhou=hangzhou.url, frankfurt=frankfurt.url))
        command = [sys.executable, "-m", "router", "run", "--log-level", "error", str(config)]
        async with await anyio.open_process(command, stdout=None, stderr=None) as daemon:
            with anyio.fail_after(60):
                for service, queue in ((hangzhou, "one"), (hangzhou, "two"), (frankfurt, "one")):
                    while left_in(service.account.queue(queue)):
                        await anyio.sleep(0.02)
                while len(frankfurt.account.queue("results").contents()) < 300:
                    await anyio.sleep(0.02)
                while (tmp_path / "all.jsonl").read_bytes().count(
                    b"\n"
                ) < 700:  # what is stored may not be delivered yet
                    await anyio.sleep(0.02)
            daemon.send_signal(signal.SIGTERM)
            with anyio.fail_after(60):
                assert await daemon.wait() == 0
        lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_bytes().splitlines()]
        results = [json.loads(message.body) for message, _ in frankfurt.account.queue("results").contents()]
    assert len(lines) == len({line["id"] for line in lines}) == 700
    assert {line["source"] for line in lines} == {"first", "second", "frankfurt"}
    assert {each["id"] for each in results} == {line["id"] for line in lines if line["region"] == "eu-central-1"}
    assert len(results) == 300


async def test_however_often_it_is_stopped_and_killed_every_result_is_in_the_file_once(tmp_path: Path) -> None:
    """Stopped with SIGTERM it leaves nothing half-done; killed, what it had received comes again and is dropped."""
    config = tmp_path / "router.yaml"
    command = [sys.executable, "-m", "router", "run", "--log-level", "error", str(config)]
    async with Emulator(rule_delay=0).serve() as service:
        feed(service, "one", 6000, 1)
        service.create_queue("two")
        text = CONFIG.format(folder=tmp_path, hangzhou=service.url, frankfurt=service.url)
        config.write_text(
            text[: text.index("  second:")] + text[text.index("departments:") : text.index("      europe:")]
        )
        queue = service.account.queue("one")
        with anyio.fail_after(60):
            while not all(ledger.finished for ledger in service.campaigns.all()):
                await anyio.sleep(0.02)
        for ending in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            before = left_in(queue)
            async with await anyio.open_process(command, stdout=None, stderr=None) as daemon:
                with anyio.fail_after(60):
                    while left_in(queue) > before - 1200:
                        await anyio.sleep(0.005)
                daemon.send_signal(ending)
                with anyio.fail_after(60):
                    assert await daemon.wait() == (0 if ending == signal.SIGTERM else -signal.SIGKILL)
            if ending == signal.SIGTERM:
                assert queue.counts().inactive == 0, "received, and neither deleted nor given back"
            queue.expire()
        async with await anyio.open_process(command, stdout=None, stderr=None) as daemon:
            with anyio.fail_after(60):
                while left_in(queue):
                    await anyio.sleep(0.02)
            daemon.send_signal(signal.SIGTERM)
            await daemon.wait()
        [ledger] = service.campaigns.all()
        expected = {(line.env_id, line.rcpt) for line in ledger.lines()}
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_bytes().splitlines()]
    assert {(line["env_id"], line["rcpt"]) for line in lines} == expected
    assert len(lines) == len({line["id"] for line in lines})

"""The queue client and source against the emulator: signatures, clocks, leases, several queues."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from servers.mns_pushes import Recorder

from router import Secret
from router_plugins.emulator import Emulator
from router_plugins.emulator.credentials import AccessKey
from router_plugins.emulator.faults import Faults
from router_plugins.emulator.queued import QueueAttributes
from router_plugins.mns.client import Retries, open_queue
from router_plugins.mns.credentials import Credentials
from router_plugins.mns.queue import MnsQueue
from router_plugins.mns.wire import Fault

pytestmark = pytest.mark.anyio
KEY = Credentials("testAccessKeyId", Secret("testAccessKeySecret"))
QUICK = Retries(attempts=3, shortest=0.01, longest=0.02)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def source(endpoint: str, **fields: Any) -> MnsQueue:
    every: dict[str, Any] = {"endpoint": endpoint, "queue": "q", "wait_seconds": 1, "pause": 0.05, "slow_retry": 0.05}
    if "credentials_file" not in fields:
        every |= {"access_key_id": KEY.access_key_id, "access_key_secret": KEY.access_key_secret}
    return MnsQueue(**every | fields)


@pytest.mark.parametrize("region", ["", "cn-hangzhou"], ids=["v2", "v4"])
async def test_every_operation_works_with_both_signatures(region: str) -> None:
    async with Emulator().serve() as service:
        service.create_queue("q")
        async with open_queue(service.url, "q", KEY, retries=QUICK, region=region) as client:
            sent = await client.send_batch(["a", "", "c<&>"])
            assert isinstance(sent[0], str)
            assert isinstance(sent[1], Fault)
            assert [(message.body, message.handle) for message in await client.peek(16)] == [("a", ""), ("c<&>", "")]
            first, second = await client.receive(16, 0)
            assert await client.peek(16) == []
            handle = await client.change_visibility(first.handle, 60)
            assert await client.delete_batch([handle, second.handle]) == []
            assert (await client.attributes())["ActiveMessages"] == "0"


@pytest.mark.parametrize("skew", [-7200.0, 86400.0])
async def test_a_skewed_clock_is_set_after_the_services_date(skew: float) -> None:
    async with Emulator().serve() as service:
        service.create_queue("q")
        service.faults = msgspec.structs.replace(Faults(), clock_skew=skew)
        async with open_queue(service.url, "q", KEY, retries=QUICK) as client:
            assert await client.receive(16, 0) == []
            service.faults = Faults()
            assert await client.receive(16, 0) == []


async def test_a_temporary_key_from_a_file_is_replaced_under_way(tmp_path: Path) -> None:
    path = tmp_path / "sts.json"
    path.write_text('{"AccessKeyId": "one", "AccessKeySecret": "1", "SecurityToken": "wrong"}')
    emit, counted = Recorder(), list[str]()
    async with Emulator(access_keys=(AccessKey("one", "1", "t1"),)).serve() as service:
        service.create_queue("q")
        async with anyio.create_task_group() as tasks:
            every = source(service.url, credentials_file=path)
            every.check()
            tasks.start_soon(every.run, emit, lambda: None, counted.append)
            with anyio.fail_after(5):
                while "refused" not in counted:
                    await anyio.sleep(0.01)
                path.write_text('{"AccessKeyId": "one", "AccessKeySecret": "1", "SecurityToken": "t1"}')
                service.account.queue("q").send("a")
                while not emit.messages:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()


async def test_a_lease_is_extended_while_the_journal_is_blocked() -> None:
    """Nothing is received twice though storing takes three leases, and the delete fits the newest handle."""
    emit, counted = Recorder(), list[str]()
    emit.open = anyio.Event()
    async with Emulator().serve() as service, anyio.create_task_group() as tasks:
        service.create_queue("q", QueueAttributes(visibility_timeout=1))
        queue = service.account.queue("q")
        queue.send("a")
        tasks.start_soon(source(service.url, lease=1.0).run, emit, lambda: None, counted.append)
        await anyio.sleep(2.5)
        emit.open.set()
        with anyio.fail_after(5):
            while queue.contents():
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert len(emit.messages) == 1
    assert counted.count("lease_extended") >= 2


async def test_a_batch_that_becomes_safe_while_its_leases_are_extended_is_deleted_by_the_newest_handles() -> None:
    """Extending is message by message: whatever moment storing ends at, no handle is lost."""
    emit, counted = Recorder(), list[str]()
    emit.open = anyio.Event()
    async with Emulator().serve() as service, anyio.create_task_group() as tasks:
        service.create_queue("q", QueueAttributes(visibility_timeout=30))
        queue = service.account.queue("q")
        for number in range(16):
            queue.send(str(number))
        service.faults = Faults(slow=0.02)
        tasks.start_soon(source(service.url, lease=1.0).run, emit, lambda: None, counted.append)
        with anyio.fail_after(5):
            while "lease_extended" not in counted:
                await anyio.sleep(0.001)
        emit.open.set()
        with anyio.fail_after(5):
            while queue.contents():
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert len(emit.messages) == 16
    assert 0 < counted.count("lease_extended") < 16
    assert "lost_lease" not in counted


async def test_several_queues_and_regions_are_drained_at_once() -> None:
    emit = Recorder()
    async with (
        Emulator().serve() as one,
        Emulator(region="eu-central-1").serve() as other,
        anyio.create_task_group() as tasks,
    ):
        for service, name in ((one, "a"), (one, "b"), (other, "a")):
            service.create_queue(name)
            for number in range(40):
                service.account.queue(name).send(f"{service.account.region}/{name}/{number}")
            tasks.start_soon(source(service.url, queue=name).run, emit, lambda: None, lambda _: None)
        with anyio.fail_after(10):
            while any(s.account.queue(n).contents() for s, n in ((one, "a"), (one, "b"), (other, "a"))):
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert len({bytes(message.body) for message in emit.messages}) == 120

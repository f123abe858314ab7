"""The daemon and its destinations' certificates: what is wrong is in the status, what is mended is used at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import trustme
from anyio import to_thread
from plugins.test_webhook import raw_server
from servers.daemon import post, running
from servers.kafka_refusing import refusing_broker

from router import PemFile
from router_plugins.tls import server_context

pytestmark = pytest.mark.anyio
DEPARTMENT = '  a:\n    accounts: ["*"]\n    subscriptions:\n      one: {{to: {to}, delivery: {delivery}}}\n'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not await to_thread.run_sync(condition):
            await anyio.sleep(0.1)


async def test_an_authority_that_changes_is_gone_by_without_a_restart_and_nothing_is_lost(tmp_path: Path) -> None:
    right, wrong = trustme.CA(), trustme.CA()
    issued = right.issue_cert("127.0.0.1")
    chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
    context = server_context(PemFile(Path("c"), chain), PemFile(Path("k"), issued.private_key_pem.bytes()))
    wrong.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with raw_server(b"HTTP/1.1 204 No Content\r\n\r\n", tls=context) as url:
        hook = f'{{type: webhook, url: "{url}", ca: ca.pem}}'
        department = DEPARTMENT.format(to=hook, delivery="{schedule: [1s, 1s, 1d]}")
        with running(tmp_path, department, top="watch: true") as daemon:
            await post(daemon.url, range(3), {})
            await until(lambda: "`ca`" in daemon.status()["subscriptions"]["a/one"]["last_error"])
            right.cert_pem.write_to_path(tmp_path / "ca.pem")
            await to_thread.run_sync(daemon.wait_settled)
            assert daemon.verify()["ok"]


async def test_a_cluster_that_refuses_idempotent_producers_is_told_and_the_events_wait(
    tmp_path: Path,
) -> None:
    async with refusing_broker() as (server, _):
        kafka = f'{{type: kafka, servers: ["{server}"], topic: t}}'
        department = DEPARTMENT.format(to=kafka, delivery="{}")
        with running(tmp_path, department) as daemon:
            await post(daemon.url, range(3), {})
            await until(lambda: "idempotence: false" in daemon.status()["subscriptions"]["a/one"]["last_error"])
            await until(lambda: "idempotence: false" in (tmp_path / "router.log").read_text())
            one = daemon.status()["subscriptions"]["a/one"]
            assert one["pending"] + one["parked"] == 3
            assert one["dead"] == 0

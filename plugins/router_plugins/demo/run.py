"""One run of the demo: emulator, router, campaign, an outage, and the reckoning."""

from __future__ import annotations

import hmac
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import msgspec

from router import RouterError
from router_plugins.demo import topic
from router_plugins.demo.processes import Daemon, daemon, emulator, free_port
from router_plugins.demo.receiver import Key, Receiver, receiving
from router_plugins.demo.reconcile import EXPECTED, FILES, Reconciled, Sent, read_files, reconcile

FAST = 10.0
"""The emulator waits so many times shorter than the service before it delivers again."""
OUTAGE = "agency/bounces"
"""The webhook that is down until half of the campaign is sent."""
DUPLICATES = 0.05
QUEUE = "dm-results"
MASK_KEY = b"demo-mask-key-0123456789"
PATIENCE = 120.0
"""Seconds without any progress after which the demo gives up waiting."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for: `kills` is how often the router is ended with SIGKILL meanwhile, and started again."""

    results: int
    folder: Path
    config: Path
    kafka: str = ""
    kills: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """How far the demo is, counted in messages: published, acknowledged by the router, and still to be delivered."""

    published: int
    acknowledged: int
    pending: int
    down: bool
    finished: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `sent` and `answered` count results, however often each was published."""

    ok: bool
    subscriptions: list[Reconciled]
    sent: int
    answered: int
    seconds: float
    published: int
    redelivered: int
    kills: int
    balanced: bool


async def run(settings: Settings, show: Callable[[Snapshot], None]) -> Report:
    """Run it; raises `RouterError` when something does not even start."""
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        hooks, receiver = await stack.enter_async_context(receiving())
        url = await stack.enter_async_context(emulator(settings.folder, FAST))
        http = await stack.enter_async_context(aiohttp.ClientSession(url))
        environ = await _prepare(settings, http, hooks, url)
        config = _config(settings)
        router = await stack.enter_async_context(daemon(config, environ, settings.folder / "router.log"))
        admin = f"http://127.0.0.1:{environ['DEMO_ADMIN_PORT']}"
        await _wait_ready(router, http, admin)
        campaign = await _start(http, settings, environ)
        await _watch(settings, router, http, admin, campaign, receiver, show)
        await router.stop()
        progress = await _get(http, f"/emulator/campaigns/{campaign}")
        ledger = await _ledger(http, campaign)
        arrived = await _arrived(settings, receiver)
    balanced = await _verify(config, environ)
    subscriptions = _reconcile(ledger, arrived)
    answered = sum(sent.acknowledged for sent in ledger)
    return Report(
        ok=balanced and answered == len(ledger) and not any(s.missing or s.unexpected for s in subscriptions),
        subscriptions=subscriptions,
        sent=len(ledger),
        answered=answered,
        seconds=round(time.monotonic() - started, 2),
        published=progress["sent"],
        redelivered=progress["redelivered"],
        kills=settings.kills,
        balanced=balanced,
    )


async def _prepare(settings: Settings, http: aiohttp.ClientSession, hooks: str, url: str) -> dict[str, str]:
    """Make the queue, write the emulator's certificate where the config pins it; return what the config reads."""
    await _post(http, "/emulator/queues", {"name": QUEUE, "attributes": {"VisibilityTimeout": 60}})
    async with http.get("/x509_public_certificate.pem") as response:
        (settings.folder / "emulator.pem").write_bytes(await response.read())
    if settings.kafka:
        await topic.create(settings.kafka, settings.folder.name)
    return {
        **os.environ,
        "DEMO_DIR": str(settings.folder),
        "DEMO_EMULATOR": url,
        "DEMO_WEBHOOKS": hooks,
        "DEMO_PUSH_PORT": str(free_port()),
        "DEMO_ADMIN_PORT": str(free_port()),
    }


def _config(settings: Settings) -> Path:
    """Write the demo's config into its folder, with a Kafka subscription for statistics if one is wanted."""
    text = settings.config.read_text(encoding="utf-8")
    if settings.kafka:
        text += topic.subscription(settings.kafka, settings.folder.name)
    path = settings.folder / "demo.yaml"
    path.write_text(text, encoding="utf-8")
    return path


async def _wait_ready(router: Daemon, http: aiohttp.ClientSession, admin: str) -> None:
    with anyio.move_on_after(30):
        while True:
            router.check()
            try:
                async with http.get(f"{admin}/ready") as response:
                    if response.status == 204:  # noqa: PLR2004 - No Content
                        return
            except aiohttp.ClientError:
                pass  # not listening yet
            await anyio.sleep(0.05)
    raise RouterError("the router did not get ready within 30 s")


async def _start(http: aiohttp.ClientSession, settings: Settings, environ: dict[str, str]) -> str:
    """Make the rules as in DirectMail's console, one region by push and one through a queue; send the campaign."""
    types = ["Deliver:SendSuccessfully", "Deliver:SendFailed"]
    push = {
        "name": "push",
        "types": types,
        "region": "cn-hangzhou",
        "endpoints": [f"http://127.0.0.1:{environ['DEMO_PUSH_PORT']}/notifications/demo"],
        "strategy": "EXPONENTIAL_DECAY_RETRY",
        "delay": 0,
    }
    pull = {"name": "pull", "types": types, "region": "ap-southeast-1", "topic": "dm-singapore", "delay": 0}
    await _post(http, "/emulator/topics", {"name": "dm-singapore"})
    to_queue = {"topic": "dm-singapore", "name": "to-queue", "queue": QUEUE, "content_format": "JSON"}
    await _post(http, "/emulator/subscriptions", to_queue)
    await _post(http, "/emulator/rules", push)
    await _post(http, "/emulator/rules", pull)
    order = {
        "results": settings.results,
        "form": "mixed",
        "regions": ["cn-hangzhou", "cn-hangzhou", "ap-southeast-1"],
        "duplicates": DUPLICATES,
    }
    return str((await _post(http, "/emulator/campaigns", order))["id"])


async def _watch(
    settings: Settings, router: Daemon, http: aiohttp.ClientSession, admin: str, campaign: str, receiver: Receiver,
    show: Callable[[Snapshot], None],
) -> None:  # fmt: skip
    """Wait until everything is delivered, with the outage and the kills on the way."""
    receiver.down.add(OUTAGE)
    kills = [settings.results * (n + 1) // (settings.kills + 1) for n in range(settings.kills)]
    last, changed = Snapshot(-1, 0, 0, down=True, finished=False), time.monotonic()
    while time.monotonic() - changed < PATIENCE:
        router.check()
        now = await _snapshot(http, admin, campaign, down=bool(receiver.down))
        show(now)
        if now.acknowledged >= settings.results // 2:
            receiver.down.clear()
        if kills and now.acknowledged >= kills[0]:
            kills.pop(0)
            await router.kill()
            await router.start()
            await _wait_ready(router, http, admin)
        if now.finished and not now.pending and not kills:
            return
        if now != last:
            last, changed = now, time.monotonic()
        await anyio.sleep(0.2)


async def _snapshot(http: aiohttp.ClientSession, admin: str, campaign: str, *, down: bool) -> Snapshot:
    progress = await _get(http, f"/emulator/campaigns/{campaign}")
    status = await _get(http, f"{admin}/status")
    return Snapshot(
        published=progress["sent"],
        acknowledged=progress["answered"] + progress["deleted"],
        pending=sum(s["pending"] for s in status["subscriptions"].values()),
        down=down,
        finished=progress["finished"] and not progress["pending"] and not progress["backlog"],
    )


async def _get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        response.raise_for_status()
        return await response.json()


async def _post(http: aiohttp.ClientSession, path: str, order: dict[str, Any]) -> Any:
    async with http.post(path, json=order) as response:
        if not response.ok:
            raise RouterError(f"the emulator refused {path}: {await response.text()}")
        return await response.json()


async def _ledger(http: aiohttp.ClientSession, campaign: str) -> list[Sent]:
    decode = msgspec.json.Decoder(Sent).decode
    async with http.get(
        "/emulator/ledger", params={"campaign": campaign}, timeout=aiohttp.ClientTimeout(600)
    ) as response:
        return [decode(line) async for line in response.content]


async def _arrived(settings: Settings, receiver: Receiver) -> dict[str, Counter[Key]]:
    arrived = {name: receiver.arrived[name] for name in EXPECTED if name not in FILES}
    arrived |= {name: read_files(settings.folder / folder) for name, folder in FILES.items()}
    if settings.kafka:
        arrived[topic.NAME] = await topic.read(settings.kafka, settings.folder.name)
    return arrived


def _reconcile(ledger: Iterable[Sent], arrived: dict[str, Counter[Key]]) -> list[Reconciled]:
    """Compare, subscription by subscription; statistics see pseudonyms instead of recipients."""
    rows: list[Reconciled] = []
    for name, found in arrived.items():
        masked = name.startswith("statistics/")
        wants = EXPECTED.get(name, EXPECTED["statistics/all"])
        keys = ((s.env_id, _pseudonym(s.rcpt) if masked else s.rcpt) for s in ledger if wants(s))
        rows.append(reconcile(name, keys, found))
    return rows


def _pseudonym(rcpt: str) -> str:
    """Return what the mask step makes of a recipient, by its description: the first 128 bits of an HMAC-SHA256."""
    return hmac.digest(MASK_KEY, rcpt.encode(), "sha256").hex()[:32]


async def _verify(config: Path, environ: dict[str, str]) -> bool:
    command = [sys.executable, "-m", "router", "verify", str(config), "--json"]
    done = await anyio.run_process(command, env=environ, check=False, stderr=subprocess.PIPE)
    if done.returncode not in {0, 1}:
        raise RouterError(f"router verify failed: {done.stderr.decode(errors='replace').strip()}")
    return done.returncode == 0

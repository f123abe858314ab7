"""A PEM file that changes is used without a restart, and one that somebody is still writing changes nothing."""

from __future__ import annotations

import signal
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path

import aiohttp
import anyio
import pytest
import trustme
from anyio import to_thread
from servers.daemon import Daemon, running, text

pytestmark = pytest.mark.anyio
ONE_FILE = '  a:\n    accounts: ["*"]\n    subscriptions:\n      one: {to: {type: file, path: "{out}/all.jsonl"}}\n'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Pair:
    """A certificate of the authority, with its key."""

    def __init__(self, authority: trustme.CA) -> None:
        issued = authority.issue_cert("127.0.0.1")
        self.certificate = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        self.key = issued.private_key_pem.bytes()

    def write(self, folder: Path) -> None:
        (folder / "cert.pem").write_bytes(self.certificate)
        (folder / "key.pem").write_bytes(self.key)

    @property
    def served(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(
            self.certificate.decode().partition("-----END")[0] + "-----END CERTIFICATE-----"
        )


async def served(daemon: Daemon) -> bytes:
    """Return the certificate that a new handshake is given."""
    return ssl.PEM_cert_to_DER_cert(await to_thread.run_sync(ssl.get_server_certificate, ("127.0.0.1", daemon.push)))


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not condition():
            await anyio.sleep(0.05)


async def until_served(daemon: Daemon, pair: Pair) -> None:
    with anyio.fail_after(20):
        while await served(daemon) != pair.served:
            await anyio.sleep(0.05)


def by_reload(daemon: Daemon) -> None:
    order = urllib.request.Request(f"http://127.0.0.1:{daemon.admin}/reload", data=b"{}")
    order.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(order, timeout=30) as answer:
        assert b"changed: sources.push" in answer.read()


def by_hangup(daemon: Daemon) -> None:
    assert daemon.process
    daemon.process.send_signal(signal.SIGHUP)


def by_watch(daemon: Daemon) -> None:
    """Do nothing: it notices by itself."""


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("notice", [by_reload, by_hangup, by_watch])
async def test_new_handshakes_get_a_certificate_that_was_renewed_and_no_push_is_lost(
    tmp_path: Path, notice: Callable[[Daemon], None], workers: int
) -> None:
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    old, new = Pair(authority), Pair(authority)
    old.write(tmp_path)
    push = f"workers: {workers}, tls: {{certificate: cert.pem, key: key.pem}}"
    stop, answers, lost = anyio.Event(), list[int](), list[Exception]()

    async def knock(url: str) -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True, ssl=trust)) as session:
            while not stop.is_set():
                try:
                    async with session.post(url, data=text(len(answers))) as response:
                        answers.append(response.status)
                except aiohttp.ClientError as error:
                    lost.append(error)

    with running(tmp_path, ONE_FILE, push=push, top=f"watch: {str(notice is by_watch).lower()}") as daemon:
        await until_served(daemon, old)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(knock, daemon.url.replace("http:", "https:"))
            await until(lambda: len(answers) > 3)
            new.write(tmp_path)
            await to_thread.run_sync(notice, daemon)
            await until_served(daemon, new)
            stop.set()
        assert "Traceback" not in (tmp_path / "router.log").read_text()
    assert lost == []
    assert set(answers) == {204}


async def test_what_is_half_written_keeps_the_old_pair_in_use_and_is_named_and_tried_again(tmp_path: Path) -> None:
    """The certificate is new and its key is not; it is empty, cut off, gone for a moment: as tools write them."""
    authority = trustme.CA()
    old, new = Pair(authority), Pair(authority)
    old.write(tmp_path)
    log = tmp_path / "router.log"
    with running(tmp_path, ONE_FILE, push="tls: {certificate: cert.pem, key: key.pem}", top="watch: true") as daemon:
        await until_served(daemon, old)
        certificate = tmp_path / "cert.pem"
        spoilt: list[tuple[str, Callable[[], object]]] = [
            ("does not belong to the certificate", lambda: certificate.write_bytes(new.certificate)),
            ("is empty", lambda: certificate.write_bytes(b"")),
            ("cut off", lambda: certificate.write_bytes(old.certificate + b"-----BEGIN CERTIFICATE-----\nMIIB")),
            ("No such file", certificate.unlink),
        ]
        for said, write in spoilt:
            write()
            await until(lambda said=said: said in log.read_text())  # type: ignore[misc]
            assert str(certificate) in next(line for line in log.read_text().splitlines() if said in line)
            assert await served(daemon) == old.served
        new.write(tmp_path)
        await until_served(daemon, new)


async def test_a_mounted_secret_whose_link_is_exchanged_is_used(tmp_path: Path) -> None:
    """As Kubernetes does: `..data` is another folder from one moment to the next, and both files with it."""
    authority = trustme.CA()
    old, new = Pair(authority), Pair(authority)
    mount = tmp_path / "mount"
    for name, pair in (("1", old), ("2", new)):
        (mount / name).mkdir(parents=True)
        pair.write(mount / name)
    (mount / "..data").symlink_to("1")
    for name in ("cert.pem", "key.pem"):
        (mount / name).symlink_to(f"..data/{name}")
    push = f"tls: {{certificate: {mount}/cert.pem, key: {mount}/key.pem}}"
    with running(tmp_path, ONE_FILE, push=push, top="watch: true") as daemon:
        await until_served(daemon, old)
        (mount / "..next").symlink_to("2")
        (mount / "..next").replace(mount / "..data")
        await until_served(daemon, new)

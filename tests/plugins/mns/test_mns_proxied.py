"""The push listener behind balancers: PROXY headers, checks of health, several addresses, what the log says."""

from __future__ import annotations

import socket
import ssl
import struct
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
import trustme
from hypothesis import given
from hypothesis import strategies as st
from servers.mns_pushes import CERTIFICATE, Answers, Recorder, connected, push

from router import ConfigError, PemFile, Retry, Secret
from router_plugins.mns.callers import Callers
from router_plugins.mns.http.proxied import client_of, needed
from router_plugins.mns.push import MnsPush, Tls
from router_plugins.mns.refusals import Refusals

V2 = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def is_cut_off(client: Answers) -> bool:
    with anyio.fail_after(5):
        try:
            return await client.reader.read() == b""
        except ConnectionResetError:
            return True


def source(**fields: Any) -> MnsPush:
    every = MnsPush(**{"listen": "127.0.0.1:0", "certificate": CERTIFICATE, **fields})
    every.check()
    return every


def v2(client: str, *, command: int = 0x21, notes: bytes = b"", family: int | None = None) -> bytes:
    address = ip_address(client)
    ends = address.packed * 2 + struct.pack(">HH", 1, 2)
    family = family if family is not None else (0x11 if address.version == 4 else 0x21)
    return V2 + bytes([command, family]) + struct.pack(">H", len(ends + notes)) + ends + notes


NOTES = b"\x04\x00\x03abc" * 200
HEADERS = {
    b"PROXY TCP4 47.90.1.2 10.0.0.1 5000 80\r\n": "47.90.1.2",
    b"PROXY TCP6 2400:3200::1 ::1 65535 0\r\n": "2400:3200::1",
    b"PROXY TCP6 ::ffff:47.90.1.2 ::1 1 2\r\n": "47.90.1.2",
    b"PROXY UNKNOWN\r\n": "",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n": "",
    b"PROXY TCP6 " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n": ":".join(["ffff"] * 8),
    v2("47.90.1.2"): "47.90.1.2",
    v2("2400:3200::1", notes=NOTES): "2400:3200::1",
    v2("::ffff:47.90.1.2"): "47.90.1.2",
    v2("47.90.1.2", command=0x20): "",
    v2("47.90.1.2", family=0): "",
    V2 + b"\x20\x00\x00\x00": "",
    V2 + b"\x21\x31\x00\xd8" + b"/run/socket".ljust(216, b"\0"): "",
}
BAD = [
    b"PROXY TCP4 47.90.1.2 10.0.0.1 5000\r\n",
    b"PROXY TCP4 2400:3200::1 ::1 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 47.90.1.2 10.0.0.1 70000 80\r\n",
    b"PROXY TCP4 47.90.1.2 10.0.0.1 080 80\r\n",
    b"PROXY TCP4 47.90.1.2  10.0.0.1 1 2\r\n",
    b"PROXY TCP4 47.90.1.2 10.0.0.1 1 2\n",
    b"PROXY TCP4 047.90.1.2 10.0.0.1 1 2\r\n",
    b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    b"PROXY UDP4 47.90.1.2 10.0.0.1 1 2\r\n",
    b"proxy TCP4 47.90.1.2 10.0.0.1 1 2\r\n",
    b"POST /notifications HTTP/1.1\r\n\r\n",
    V2 + b"\x11\x11\x00\x0c" + bytes(12),
    V2 + b"\x22\x11\x00\x0c" + bytes(12),
    V2 + b"\x21\x11\x00\x04" + bytes(4),
    V2 + b"\x21\x21\x00\x0c" + bytes(12),
    V2 + b"\x21\x51\x00\x0c" + bytes(12),
    V2 + b"\x21\x11\xff\xff" + bytes(100),
    V2[:11] + b"\r\r\r\r\r\r",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
]


def read(stream: bytes) -> tuple[str, bytes]:
    """Return the client, and what was not read."""
    header = b""
    while more := needed(header):
        if len(stream) - len(header) < more:
            raise ValueError("it ends")
        header = stream[: len(header) + more]
    return client_of(header), stream[len(header) :]


@pytest.mark.parametrize(("header", "client"), HEADERS.items())
def test_a_proxy_header_says_who_the_client_is_and_no_byte_behind_it_is_read(header: bytes, client: str) -> None:
    assert read(header + b"\x16\x03\r\n") == (client, b"\x16\x03\r\n")


@pytest.mark.parametrize("stream", BAD)
def test_what_is_no_proxy_header_is_refused(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(stream)


@given(st.one_of(st.binary(), st.binary().map(lambda b: V2 + b), st.binary().map(lambda b: b"PROXY " + b)))
def test_no_bytes_make_the_reading_fail_otherwise(stream: bytes) -> None:
    try:
        client, rest = read(stream)
    except ValueError:
        return
    assert not client or ip_address(client)
    assert stream.endswith(rest)


BEHIND = {"proxy_protocol": True, "trusted_proxies": ("127.0.0.0/8",), "allow": ("47.90.0.0/16",)}


@pytest.mark.anyio
@pytest.mark.parametrize("header", [each for each, client in HEADERS.items() if client == "47.90.1.2"])
async def test_pushes_come_behind_a_proxy_header_in_whatever_pieces(header: bytes) -> None:
    emit = Recorder()
    async with source(**BEHIND).serving(emit, lambda _: None) as (_, port):
        async with connected(port) as client:
            assert await client.to(header + push(), push()) == [204, 204]
        async with connected(port) as client:
            for i in range(len(header)):
                client.writer.write(header[i : i + 1])
                await client.writer.drain()
            assert await client.to(push()) == [204]
    assert len(emit.messages) == 3


@pytest.mark.anyio
async def test_the_address_in_the_header_is_the_one_that_counts() -> None:
    counted: list[str] = []
    async with source(**BEHIND, max_per_address=1).serving(Recorder(), counted.append) as (_, port):
        good = b"PROXY TCP4 47.90.1.2 1.1.1.1 1 2\r\n"
        async with connected(port) as first, connected(port) as other, connected(port) as second:
            assert await first.to(good + push()) == [204]
            assert await other.to(good.replace(b"1.2 ", b"1.3 ") + push()) == [204]
            second.writer.write(good)
            assert await is_cut_off(second)
        async with connected(port) as stranger:
            stranger.writer.write(b"PROXY TCP4 9.9.9.9 1.1.1.1 1 2\r\n")
            assert await is_cut_off(stranger)
        async with connected(port) as unknown:
            assert await unknown.to(b"PROXY UNKNOWN\r\n" + push()) == [403]
        async with connected(port) as none:
            none.writer.write(push())
            assert await is_cut_off(none)
    assert counted == ["too_many_of_address", "wrong_address", "wrong_address", "bad_proxy_header"]


@pytest.mark.anyio
async def test_from_others_than_trusted_proxies_no_header_is_believed() -> None:
    counted: list[str] = []
    fields = source(proxy_protocol=True, trusted_proxies=("10.0.0.0/8",))
    async with fields.serving(Recorder(), counted.append) as (_, port), connected(port) as client:
        client.writer.write(b"PROXY TCP4 47.90.1.2 1.1.1.1 1 2\r\n" + push())
        assert await is_cut_off(client)
    assert counted == ["wrong_address"]
    with pytest.raises(ConfigError) as caught:
        source(proxy_protocol=True)
    assert caught.value.place == "proxy_protocol"


@pytest.mark.anyio
async def test_a_header_that_does_not_come_has_a_deadline() -> None:
    counted: list[str] = []
    fields = source(**BEHIND, header_timeout=0.2)
    async with fields.serving(Recorder(), counted.append) as (_, port), connected(port) as client:
        client.writer.write(b"PROXY TCP4 ")
        assert await is_cut_off(client)
    assert counted == ["bad_proxy_header"]


@pytest.mark.anyio
async def test_a_connection_that_says_nothing_is_a_check_by_a_balancer() -> None:
    counted: list[str] = []
    async with source(**BEHIND).serving(Recorder(), counted.append) as (_, port):
        for _ in range(3):
            async with connected(port) as client:
                client.writer.write_eof()
                assert await is_cut_off(client)
        async with connected(port) as client:
            client.writer.write(b"PROXY")
            client.writer.write_eof()
            assert await is_cut_off(client)
    assert counted == ["bad_handshake"]


@pytest.mark.anyio
async def test_the_header_comes_before_the_handshake(tmp_path: Path) -> None:
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    issued = authority.issue_cert("127.0.0.1")
    (tmp_path / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    files = Tls(certificate=PemFile.read(tmp_path / "cert.pem"), key=PemFile.read(tmp_path / "key.pem"))
    async with source(**BEHIND, tls=files).serving(Recorder(), lambda _: None) as (_, port):

        def talk() -> bytes:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
                plain.sendall(v2("47.90.1.2", notes=NOTES))
                with trusting.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                    tls.sendall(push())
                    return tls.recv(100)

        assert (await anyio.to_thread.run_sync(talk)).startswith(b"HTTP/1.1 204")


@pytest.mark.anyio
async def test_a_balancer_may_ask_for_health_and_is_neither_counted_nor_logged() -> None:
    counted: list[str] = []
    emit = Recorder(Retry("the disk is full"))
    with structlog.testing.capture_logs() as lines:
        async with source(health="/health").serving(emit, counted.append) as (_, port), connected(port) as client:
            for target in (b"/health", b"/health?a=1", b"http://10.0.0.1/health", b"/he%61lth"):
                client.writer.write(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target)
                assert (await client.next())[::2] == (200, "ok\n")
                client.writer.write(b"HEAD %b HTTP/1.0\r\n\r\n" % target if target == b"/he%61lth" else b"")
            assert (await client.reader.read()).endswith(b"\r\n\r\n")
        async with source(health="/health").serving(emit, counted.append) as (_, port), connected(port) as client:
            assert await client.to(push()) == [503]
            client.writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.next())[0] == 503
            assert await client.to(push()) == [204]
            client.writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.next())[0] == 200
            client.writer.write(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            status, headers, _ = await client.next()
            assert (status, headers["allow"]) == (405, "GET, HEAD")
    assert counted == ["unavailable", "bad_request"]
    assert [line["kind"] for line in lines if line["event"] == "push refused"] == counted


@pytest.mark.parametrize("path", ["health", "/a b", "/a?b", "/notifications", "/notif%69cations"])
def test_a_path_for_health_that_cannot_work_is_refused(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        source(health=path)
    assert caught.value.place == "health"


@pytest.mark.anyio
async def test_one_listener_has_several_addresses_and_both_families() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("::1", 0), family=socket.AF_INET6) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
    emit = Recorder()
    fields = source(listen=(f"127.0.0.1:{ports[0]}", f"[::1]:{ports[1]}"))
    async with fields.serving(emit, lambda _: None):
        for host, port in zip(("127.0.0.1", "::1"), ports, strict=True):
            with socket.create_connection((host, port), timeout=5) as client:
                client.sendall(push())
                assert (await anyio.to_thread.run_sync(client.recv, 100)).startswith(b"HTTP/1.1 204")
    both = source(listen="[::]:0", allow=("127.0.0.1/32",))
    async with both.serving(emit, lambda _: None) as (_, port), connected(port) as client:
        assert await client.to(push()) == [204]
    assert len(emit.messages) == 3


@pytest.mark.parametrize(
    "listen", [(), ("127.0.0.1:80", "127.0.0.1:80"), ("127.0.0.1:80", "x"), "x:y:z", "1.2.3.4:70000"]
)
def test_addresses_that_are_none_or_stand_twice_are_refused(listen: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        source(listen=listen)
    assert caught.value.place == "listen"


READ = (
    *("47.90.1.2:51008", "[::ffff:47.90.1.2]:443", "[::ffff:47.90.1.2]", "1.2.3.4, 47.90.1.2, ", '"47.90.1.2:1"'),
    *("47.90.1.2,10.0.0.9:80,,", "47.90.1.2, 10.0.0.2", "[2400:3200::1]:443", "2400:3200::1", '"[2400:3200::1]"'),
    "47.90.1.2:1, [::ffff:10.0.0.2]:2",
)
UNREAD = (
    *("47.90.1.2, unknown", "_x, _y", "[x]:1", "47.90.1.2:x", "[47.90.1.2", "47.90.1.2:", "47.90.1.2:999999"),
    *("a47.90.1.2", "[]:1", '""'),
)
OTHERS = {
    "47.90.1.2, 9.9.9.9:1": "pushes are not taken from this address",
    "fe80::1%eth0": "pushes are not taken from this address",
    "10.0.0.3": "X-Forwarded-For names trusted proxies only",
    "": "a trusted proxy does not say whose request it is: there is no X-Forwarded-For",
}


@pytest.mark.parametrize(
    ("forwarded", "objection"),
    [
        *((text, "") for text in READ),
        *((text, "X-Forwarded-For has a part that is no address") for text in UNREAD),
        *OTHERS.items(),
    ],
)
def test_the_nearest_client_is_read_in_every_way_that_proxies_write_it(forwarded: str, objection: str) -> None:
    callers = Callers(["47.90.0.0/16", "2400:3200::/32"], ["10.0.0.0/8"])
    assert callers.objection("10.0.0.1", forwarded) == objection


TWO = b"Date: Fri, 14 Apr 2017 03:44:49 GMT\r\n"
CHANGED = {
    "Authorization is missing": push(unsigned={"authorization": ""}),
    "there are two Dates": push().replace(b"\r\ndate: ", b"\r\nDate: Fri, 14 Apr 2017 03:44:49 GMT\r\ndate: "),
    "Content-Type was changed": push(unsigned={"content-type": "text/plain; charset=UTF-8"}),
    "Content-md5 is not that of the body": push().replace(b"status=0", b"status=4"),
    "Date is missing": push(unsigned={"date": ""}),
    "Date is no date": push(unsigned={"date": "soon"}),
    "Date is more than 900 s before": push(unsigned={"date": "Fri, 14 Apr 2017 03:44:49 GMT"}),
    "x-mns-added was added": push(unsigned={"x-mns-added": "1"}),
    "a proxy added a query": push().replace(b"/notifications ", b"/notifications?a=1 "),
    "a proxy put its own there": push(unsigned={"authorization": "Basic eDp5"}),
}


@pytest.mark.anyio
@pytest.mark.parametrize(("reason", "request_"), CHANGED.items())
async def test_the_log_says_what_was_changed_on_the_way(reason: str, request_: bytes) -> None:
    with structlog.testing.capture_logs() as lines:
        async with source().serving(Recorder(), lambda _: None) as (_, port), connected(port) as client:
            client.writer.write(request_)
            status, _, body = await client.next()
    [line] = [line for line in lines if line["event"] == "push refused"]
    assert reason in line["reason"]
    assert (status, body) == (403, line["reason"] + "\n")
    assert (line["method"], line["path"], line["peer"]) == ("POST", "/notifications", "127.0.0.1")


@pytest.mark.anyio
async def test_each_reason_is_logged_though_they_are_of_one_kind() -> None:
    with structlog.testing.capture_logs() as lines:
        async with source().serving(Recorder(), lambda _: None) as (_, port), connected(port) as client:
            for request in CHANGED.values():
                assert await client.to(request, request) == [403, 403]
    assert len([line for line in lines if line["event"] == "push refused"]) == len(CHANGED)


@pytest.mark.parametrize(
    ("ours", "asked", "shown"),
    [
        ("/n", b"/notifications/n", "/notifications/n"),
        ("/notifications", b"/notifications/x?secret=1", "/notifications/x"),
        ("/hook/s3cr3t", b"/api/hook/s3cr3t", "/api/***/***"),
        ("/hook/s3cr3t", b"/hook/s3cr3t.php", "/***/***"),
        ("/hook/s%33cr3t", b"/S3cr3t", "/***"),
        ("/hook/s3cr3t", b"/cr3t", "/***"),
        ("/hook/s3cr3t", b"https://u:p@x:1/y", "/y"),
        ("/hook/s3cr3t", b"/\x1b[31m", "/\x1b[31m"),
        ("/hook/s3cr3t", b"/" + b"x" * 500, "/" + "x" * 199),
        ("/hook/s3cr3t", b"", ""),
    ],
)
def test_of_a_path_all_is_shown_but_what_is_ours(ours: str, asked: bytes, shown: str) -> None:
    assert Refusals(lambda _: None, [ours]).shown(asked).replace("\x1b", "\\x1b") == shown.replace("\x1b", "\\x1b")


@pytest.mark.anyio
async def test_the_log_shows_what_was_asked_for_but_no_secret() -> None:
    asked = {
        b"GET /notifications/S3cr3t/ HTTP/1.1": "/notifications/***/",
        b"PUT /api/notifications/s3cr%33t?token=x HTTP/1.1": "/api/notifications/***",
        b"DELETE /s3cr3 HTTP/1.1": "/***",
        b"PATCH http://user:word@x/y HTTP/1.1": "/y",
        b"OPTIONS /\xff HTTP/1.1": "/\\xff",
        b"POST /a HTTP/1.2": "/a",
    }
    seen = {}
    for line, shown in asked.items():
        with structlog.testing.capture_logs() as lines:
            fields = source(path=Secret("/notifications/s3cr3t"))
            async with fields.serving(Recorder(), lambda _: None) as (_, port), connected(port) as client:
                client.writer.write(line + b"\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
                await client.next()
        [said] = [each for each in lines if each["event"] == "push refused"]
        seen[line] = said["path"]
        assert (said["method"], said["peer"]) == (line.split()[0].decode(), "127.0.0.1")
        assert shown == said["path"]
    assert seen == asked

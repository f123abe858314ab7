"""What slow, broken and hostile servers try on the HTTP client, and that all of it ends."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import anyio
import pytest
from servers.scripted_http import NOTHING, OK, Peer, Server, Serving, says, until
from yarl import URL

from router_plugins.http_client import NoAnswerError

pytestmark = pytest.mark.anyio

BRIEF = 0.2


# Deadlines.


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", OK + b"X: "])
async def test_an_answer_whose_head_never_ends_is_given_up_on(serving: Serving, answer: bytes) -> None:
    async with serving(says(answer), patience=BRIEF) as (server, post):
        with pytest.raises(TimeoutError):
            await post()
        await until(lambda: server.closed == 1)


async def test_an_answer_that_drips_is_given_up_on_in_time(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        while True:
            peer.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n"[:1] if not server.closed else b"")
            peer.writer.write(b"TTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.01)

    async with serving(script, patience=BRIEF) as (_, post):
        with pytest.raises(TimeoutError):
            await post()


async def test_a_body_that_never_ends_gives_its_status_and_costs_the_connection(serving: Serving) -> None:
    async with serving(says(b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nbusy"), patience=BRIEF) as (server, post):
        found = await post()
        assert (found.status, found.body) == (503, b"busy")
        await until(lambda: server.closed == 1)


async def test_a_slow_body_is_waited_for_no_longer_than_its_own_time(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_plugins.http_client.connection.DRAIN", 0.05)
    async with serving(says(OK + b"\r\nslow"), patience=30.0) as (server, post):
        with anyio.fail_after(10):
            assert (await post()).body == b"slow"
        await until(lambda: server.closed == 1)


async def test_one_that_hangs_holds_up_no_other(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        while await server.next(peer) != b"hang":
            peer.writer.write(NOTHING)
        await peer.wait_closed()

    async with serving(script, patience=60.0) as (_, post), anyio.create_task_group() as group:
        group.start_soon(post, b"hang")
        with anyio.fail_after(10):
            for _ in range(50):
                await post()
        group.cancel_scope.cancel()


async def test_a_server_that_takes_no_connection_is_given_up_on_in_time(serving: Serving) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        url = URL(f"http://127.0.0.1:{full.getsockname()[1]}/")
        async with serving.client(url, BRIEF) as post:
            with pytest.raises(TimeoutError):
                await post()
        for filler in fillers:
            filler.close()


# What hostile and broken servers try.


@pytest.mark.parametrize("fields", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
async def test_a_server_that_switches_to_another_protocol_has_not_answered(serving: Serving, fields: bytes) -> None:
    async with serving(says(b"HTTP/1.1 101 Switching Protocols\r\n" + fields + b"\r\n")) as (_, post):
        with pytest.raises(NoAnswerError, match="no usable answer"):
            await post()


async def test_a_server_that_offers_another_protocol_has_answered(serving: Serving) -> None:
    """As Apache does with every answer of a server that knows HTTP/2."""
    offer = b"Upgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\nContent-Length: 2\r\n\r\nok"
    async with serving(says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + offer)) as (_, post):
        found = await post()
        assert (found.status, found.body) == (200, b"ok")


async def test_huge_headers_are_read_no_further_than_the_limit(serving: Serving) -> None:
    async with serving(says(OK + b"X: " + b"x" * 10_000_000)) as (server, post):
        with pytest.raises(NoAnswerError, match=r"no usable answer \(.*more than \d+ bytes"):
            await post()
        await until(lambda: server.closed == 1)


async def test_a_huge_body_is_read_no_further_than_the_limit(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        peer.writer.write(OK + b"\r\n")
        while True:
            peer.writer.write(b"x" * 65536)
            await peer.writer.drain()

    async with serving(script) as (server, post):
        assert (await post()).body == b"x" * 1024
        await until(lambda: server.closed == 1)


@pytest.mark.parametrize("garbage", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02F", b"\x00" * 100_000])
async def test_garbage_is_no_answer_and_ends_the_connection(serving: Serving, garbage: bytes) -> None:
    async with serving(says(garbage)) as (server, post):
        with pytest.raises(NoAnswerError, match="no usable answer"):
            await post()
        await until(lambda: server.closed == 1)


async def test_a_server_that_speaks_first_gives_no_answer(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        peer.writer.write(b"220 mail.example.com ESMTP\r\n")
        await peer.wait_closed()
        server.closed += 1

    async with serving(script) as (server, post):
        with pytest.raises(NoAnswerError):
            await post()
        await until(lambda: server.closed == 1)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nX"])
async def test_a_reset_before_the_end_of_the_head_is_no_answer(serving: Serving, answer: bytes) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        peer.writer.write(answer)
        await asyncio.sleep(0.02)
        peer.reset()

    async with serving(script) as (_, post):
        with pytest.raises(NoAnswerError, match=r"Connection reset|without an answer"):
            await post()


async def test_a_reset_in_the_body_leaves_the_status_as_it_is(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        peer.writer.write(b"HTTP/1.1 422 No\r\nContent-Length: 100\r\n\r\nno such field")
        await asyncio.sleep(0.02)
        peer.reset()

    async with serving(script) as (_, post):
        found = await post()
    assert (found.status, found.body) == (422, b"no such field")


async def test_a_half_closed_server_that_did_not_answer_will_not(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        peer.writer.write_eof()
        await peer.wait_closed()
        server.closed += 1

    async with serving(script, patience=30.0) as (server, post):
        with anyio.fail_after(10), pytest.raises(NoAnswerError, match="without an answer"):
            await post()
        await until(lambda: server.closed == 1)


async def test_an_early_answer_stands_and_its_connection_is_not_used_again(serving: Serving) -> None:
    """What is left of the body would be the beginning of the next request for such a server."""

    async def script(server: Server, peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        peer.writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(0.1)
        peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
        await peer.wait_closed()
        server.closed += 1

    async with serving(script) as (server, post):
        for number in (1, 2):
            assert (await post(b"x" * 2**24)).status == 413
            await until(partial(closed, server, number))
    assert server.connections == 2


def closed(server: Server, count: int) -> bool:
    return server.closed == count


async def test_leave_to_go_on_is_no_answer(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        while True:
            await server.next(peer)
            for part in (
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 2",
                b"04 No\r\n\r\n",
            ):
                peer.writer.write(part)
                await asyncio.sleep(0.01)

    async with serving(script) as (server, post):
        assert (await post()).status == 204
        assert (await post()).status == 204
    assert server.connections == 1

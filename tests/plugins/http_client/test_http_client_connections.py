"""The HTTP client's connections: used again, raced with closing servers, closed; and requests that are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

import anyio
import pytest
from servers.scripted_http import NOTHING, OK, Peer, Server, Serving, always, says, sockets, until
from yarl import URL

from router_plugins.http_client import Client, Dialler, NoAnswerError, Requests, client
from router_plugins.http_client.connection import Connection

pytestmark = pytest.mark.anyio

# Connections and their reuse.


async def test_one_connection_serves_all_requests_that_follow_each_other(serving: Serving) -> None:
    async with serving(always) as (server, post):
        for number in range(20):
            assert (await post(b"%d" % number)).status == 204
    assert server.bodies == [[b"%d" % number for number in range(20)]]


async def test_requests_at_once_have_a_connection_each_and_the_connections_are_used_again(serving: Serving) -> None:
    async with serving(always) as (server, post):
        for _ in range(3):
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(post)
    assert server.connections == 10
    assert sum(len(bodies) for bodies in server.bodies) == 30


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"Content-Length: 2\r\n\r\nok" + NOTHING,
    ],
)
async def test_a_connection_that_is_not_good_for_more_is_closed_and_another_made(
    serving: Serving, answer: bytes
) -> None:
    async with serving(says(answer)) as (server, post):
        for _ in range(3):
            found = await post()
            assert (found.status, found.body) == (200, b"ok")
        await until(lambda: server.closed == 3)
    assert server.connections == 3


async def test_garbage_behind_an_answer_costs_the_connection_and_through_a_proxy_the_answer(serving: Serving) -> None:
    async with serving(says(OK + b"Content-Length: 2\r\n\r\nokay")) as (server, post):
        for _ in range(3):
            with pytest.raises(NoAnswerError, match="no usable answer") if serving.proxied else nullcontext():
                assert (await post()).body == b"ok"
        await until(lambda: server.closed == 3)


async def test_a_body_that_the_end_of_the_connection_ends_is_whole(serving: Serving) -> None:
    async with serving(says(OK + b"\r\nall of it", then_close=True)) as (server, post):
        assert (await post()).body == b"all of it"
        assert (await post()).body == b"all of it"
    assert server.connections == 2


async def test_an_answer_that_nobody_asked_for_is_not_the_answer_to_the_next_request(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        peer.writer.write(OK + b"Content-Length: 0\r\n\r\n")
        if peer.number == 0:
            await asyncio.sleep(0.05)
            peer.writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
            said.set()
        await peer.wait_closed()
        server.closed += 1

    said = asyncio.Event()
    async with serving(script) as (server, post):
        assert (await post()).status == 200
        await said.wait()
        await asyncio.sleep(0.2)
        assert (await post()).status == 200
        await until(lambda: server.closed == 1)
    assert server.connections == 2


async def test_a_server_that_closed_while_idle_costs_nothing(serving: Serving) -> None:
    async with serving(says(NOTHING, then_close=True)) as (server, post):
        for _ in range(3):
            await post()
            await asyncio.sleep(0.02)
    assert server.bodies == [[b"hi"]] * 3


async def test_of_connections_that_the_server_closed_nothing_is_kept() -> None:
    server = Server(says(NOTHING, then_close=True), None)
    async with server.running():
        url = URL(f"http://127.0.0.1:{server.port}/")
        async with Client.opened(Dialler(url, None), 5.0) as opened:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(opened.post, Requests(url, {}).render(b"", b""))
            await until(lambda: not opened._connections)
            assert not opened._idle


async def test_a_connection_that_was_closed_while_it_was_made_is_no_answer() -> None:
    class Late(Dialler):
        async def dial(self, factory: Callable[[], Connection]) -> Connection:
            connection = await super().dial(factory)
            while not connection.closed:
                await asyncio.sleep(0)
            return connection

    async def script(_server: Server, _peer: Peer) -> None:
        """Close at once."""

    server = Server(script, None)
    async with server.running():
        url = URL(f"http://127.0.0.1:{server.port}/")
        async with Client.opened(Late(url, None), 60.0) as opened:
            with anyio.fail_after(10), pytest.raises(NoAnswerError, match="closed the connection"):
                await opened.post(Requests(url, {}).render(b"", b""))
            assert not opened._connections


@pytest.mark.parametrize("reset", [False, True])
async def test_a_request_that_met_a_closing_connection_is_sent_once_more_over_a_fresh_one(
    serving: Serving,
    reset: bool,  # noqa: FBT001
) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        peer.writer.write(NOTHING)
        await server.next(peer)
        if peer.number == 0:
            if reset:
                peer.reset()
            return
        peer.writer.write(NOTHING)

    async with serving(script) as (server, post):
        await post(b"first")
        assert (await post(b"second")).status == 204
    assert server.bodies == [[b"first", b"second"], [b"second"]]


async def test_a_request_is_sent_twice_at_most(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        if peer.number == 0:
            peer.writer.write(NOTHING)
            await server.next(peer)

    async with serving(script) as (server, post):
        await post(b"first")
        with pytest.raises(NoAnswerError, match="closed the connection without an answer"):
            await post(b"second")
    assert server.bodies == [[b"first", b"second"], [b"second"]]


async def test_a_request_that_got_the_first_byte_of_an_answer_is_sent_again_through_a_proxy_only(
    serving: Serving,
) -> None:
    async def script(server: Server, peer: Peer) -> None:
        await server.next(peer)
        if peer.number == 0:
            peer.writer.write(NOTHING)
            await server.next(peer)
        peer.writer.write(b"H")

    async with serving(script) as (server, post):
        await post(b"first")
        with pytest.raises(NoAnswerError, match="closed the connection without an answer"):
            await post(b"second")
    assert server.bodies == [[b"first", b"second"], *[[b"second"]] * serving.proxied]


async def test_a_request_over_a_fresh_connection_is_not_sent_again(serving: Serving) -> None:
    async with serving(says(b"", then_close=True)) as (server, post):
        with pytest.raises(NoAnswerError):
            await post()
    assert server.bodies == [[b"hi"]]


async def test_connections_that_nobody_uses_are_closed(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "IDLE", 0.05)
    monkeypatch.setattr(client, "LOOK", 0.01)
    async with serving(always) as (server, post):
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(post)
        await until(lambda: server.closed == 5)
        assert (await post()).status == 204


async def test_the_client_closes_what_it_opened(serving: Serving) -> None:
    server = Server(always, None)
    async with server.running():
        url = URL(f"http://127.0.0.1:{server.port}/")
        async with serving.client(url, 5.0) as post, anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(post)
        await until(lambda: server.closed == 5)


# Cancellation.


async def test_a_cancelled_request_closes_its_connection_and_its_answer_is_nobody_elses(serving: Serving) -> None:
    async def script(server: Server, peer: Peer) -> None:
        body = await server.next(peer)
        if body != b"slow":
            peer.writer.write(OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        await peer.wait_closed()
        server.closed += 1

    async with serving(script) as (server, post):
        async with anyio.create_task_group() as group:
            group.start_soon(post, b"slow")
            await until(lambda: [b"slow"] in server.bodies)
            group.cancel_scope.cancel()
        assert (await post(b"quick")).body == b"quick"
        await until(lambda: server.closed == 1)
    assert server.bodies == [[b"slow"], [b"quick"]]


async def test_cancelling_at_any_moment_harms_no_other_request(serving: Serving) -> None:
    async def echo(server: Server, peer: Peer) -> None:
        while True:
            body = await server.next(peer)
            peer.writer.write(OK + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    before = sockets()
    async with serving(echo) as (_, post):
        for number in range(300):
            with anyio.move_on_after(number % 10 * 0.0003):
                await post(b"lost")
            assert (await post(b"%d" % number)).body == b"%d" % number
    await until(lambda: sockets() <= before)

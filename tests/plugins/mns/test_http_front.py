"""The push front on real sockets: order, limits, deadlines and what hostile clients try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import anyio
import pytest
from servers.http_front import BRIEF, GOOD, START, route, serving, until

from router_plugins.mns.http import Front, Limits, Request, accepted, refusal
from router_plugins.mns.http.connection import Connection

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def serve() -> Callable[..., Any]:
    return serving


async def test_a_request_is_answered_exactly_204_and_the_connection_stays(serve: Any) -> None:
    async with serve() as service:
        client = await service.connect()
        for _ in range(2):
            await client.send(GOOD)
            status, headers, body = await client.answer()
            assert (status, body) == (204, b"")
            assert set(headers) == {"date"}


async def test_pipelined_requests_are_answered_in_order(serve: Any) -> None:
    async with serve(hold=True) as service:
        client = await service.connect()
        await client.send(GOOD + GOOD.replace(b"/n", b"/x") + GOOD + b"nonsense\r\n\r\n")
        assert await client.nothing_came()
        service.open.set()
        assert await client.statuses(4) == [204, 404, 204, 400]
        assert await client.closed()
        assert service.counted == ["unknown_path", "bad_request"]


async def test_answers_given_out_of_order_are_written_in_order(serve: Any) -> None:
    async with serve(hold=True) as service:
        client = await service.connect()
        await client.send(GOOD)
        await until(lambda: service.taken)
        await client.send(GOOD)
        [second] = await service.front.take()
        service.front.answer([second], refusal(HTTPStatus.SERVICE_UNAVAILABLE, "later", retry_after=0.2))
        assert await client.nothing_came()
        service.open.set()
        assert (await client.answer())[0] == 204
        status, headers, _ = await client.answer()
        assert (status, headers["retry-after"]) == (503, "1")


async def test_requests_that_come_right_behind_are_taken_together_but_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = Front(Limits(), route, lambda _what: None)

    async def come(times: int) -> None:
        for _ in range(times):
            front.arrive(Request(b"/n", {}, b"", 0.0, None, 0, last=False))
            await asyncio.sleep(0)

    monkeypatch.setattr("router_plugins.mns.http.front.COMPANY", 60.0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come, 5)
        assert len(await front.take()) == 5
    monkeypatch.setattr("router_plugins.mns.http.front.COMPANY", 0.001)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come, 10**9)
        assert await front.take()
        tasks.cancel_scope.cancel()


async def test_leave_to_send_a_body_is_given(serve: Any) -> None:
    async with serve() as service:
        client = await service.connect()
        await client.send(START + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert (await client.answer())[0] == 100
        await client.send(b"hi")
        assert (await client.answer())[0] == 204
        assert service.taken[0].body == b"hi"


async def test_a_client_that_would_like_http_2_is_taken_as_it_is_and_gets_leave_to_send(serve: Any) -> None:
    """As `curl --http2` and Java's HttpClient ask; the body may wait for leave, and another request comes behind it."""
    h2c = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    async with serve() as service:
        client = await service.connect()
        await client.send(START + h2c + b"Content-Length: 2\r\n\r\nhi" + GOOD)
        assert await client.statuses(2) == [204, 204]
        await client.send(START + h2c + b"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await client.answer())[0] == 100
        await client.send(b"2\r\nhi\r\n0\r\n\r\n")
        assert (await client.answer())[0] == 204
        assert [request.body for request in service.taken] == [b"hi"] * 3


async def test_leave_to_send_waits_for_the_answers_before_it(serve: Any) -> None:
    async with serve(hold=True) as service:
        client = await service.connect()
        await client.send(GOOD + START + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await client.nothing_came()
        service.open.set()
        assert await client.statuses(2) == [204, 100]
        await client.send(b"hi")
        assert (await client.answer())[0] == 204


async def test_too_large_a_body_is_refused_though_the_client_sends_on(serve: Any) -> None:
    async with serve(max_body=1000) as service:
        client = await service.connect()
        await client.send(START + b"Content-Length: 300000\r\n\r\n" + b"x" * 300_000)
        status, headers, body = await client.answer()
        assert (status, headers["connection"], body) == (413, "close", b"more than 1000 bytes\n")
        assert await client.closed()
        assert service.counted == ["too_large"]


@pytest.mark.parametrize(
    ("sent", "limit"),
    [(b"POST /", "header_timeout"), (START, "header_timeout"), (START + b"Content-Length: 9\r\n\r\nx", "body_timeout")],
)
async def test_a_slow_sender_gets_408(serve: Any, sent: bytes, limit: str) -> None:
    """Sending a byte now and then does not help."""
    async with serve(**{limit: 0.2}) as service:
        client = await service.connect()
        with anyio.move_on_after(0.15):
            for byte in range(len(sent)):
                await client.send(sent[byte : byte + 1])
                await anyio.sleep(0.03 if byte > len(sent) - 4 else 0)
        assert (await client.answer())[0] == 408
        assert await client.closed()
        assert service.counted == ["slow_sender"]


@pytest.mark.parametrize("limit", ["header_timeout", "idle_timeout"])
async def test_an_idle_connection_is_closed_without_a_word(serve: Any, limit: str) -> None:
    async with serve(**{limit: 0.1}) as service:
        client = await service.connect()
        if limit == "idle_timeout":
            await client.send(GOOD)
            assert (await client.answer())[0] == 204
        assert await client.closed()


async def test_a_request_that_waits_for_its_answer_does_not_time_out(serve: Any) -> None:
    async with serve(hold=True, header_timeout=0.05, body_timeout=0.05, idle_timeout=0.05) as service:
        client = await service.connect()
        await client.send(GOOD)
        assert await client.nothing_came()
        service.open.set()
        assert (await client.answer())[0] == 204


async def test_connections_over_the_limit_are_told_so_and_room_is_given_back(serve: Any) -> None:
    async with serve(max_connections=1) as service:
        first, second = await service.connect(), await service.connect()
        status, headers, _ = await second.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert await second.closed()
        await second.close()
        await first.close()
        await anyio.sleep(0.05)
        third = await service.connect()
        await third.send(GOOD)
        assert (await third.answer())[0] == 204
        assert service.counted == ["too_many_connections"]


async def test_a_half_closed_client_gets_its_answers(serve: Any) -> None:
    async with serve(hold=True) as service:
        client = await service.connect()
        await client.send(GOOD + GOOD + START)
        client.writer.write_eof()
        assert await client.nothing_came()
        service.open.set()
        assert await client.statuses(2) == [204, 204]
        assert await client.closed()


async def test_a_client_that_is_gone_before_its_answer_harms_nobody(serve: Any) -> None:
    async with serve(hold=True) as service:
        gone, other = await service.connect(), await service.connect()
        await gone.send(GOOD)
        await other.send(GOOD)
        await until(lambda: len(service.taken) == 2)
        gone.writer.transport.abort()
        await anyio.sleep(0.02)
        service.open.set()
        assert (await other.answer())[0] == 204
        assert service.front.held == 0


async def test_a_client_that_sends_more_than_it_is_answered_is_not_read_from(serve: Any) -> None:
    async with serve(hold=True, max_pipelined=4) as service:
        client = await service.connect()
        client.writer.write(GOOD * 5000)
        await anyio.sleep(BRIEF)
        assert len(service.taken) + len(service.front._waiting) <= 2 * 16 * 1024 // len(GOOD)
        service.open.set()
        assert await client.statuses(5000) == [204] * 5000
        assert service.front.held == 0


async def test_what_a_client_sent_in_vain_is_left_to_the_kernel(serve: Any) -> None:
    async with serve(hold=True, max_pipelined=4) as service:
        client = await service.connect()
        client.writer.write(GOOD * 400_000)
        await until(lambda: service.front.paused)
        await anyio.sleep(BRIEF)
        assert client.writer.transport.get_write_buffer_size() > 0
        assert service.front.held <= 2 * 16 * 1024 // len(GOOD) * 2048
        client.writer.transport.abort()


async def test_the_memory_of_a_half_sent_request_is_given_back(serve: Any) -> None:
    async with serve() as service:
        client = await service.connect()
        await client.send(START + b"Content-Length: 5000\r\n\r\n" + b"x" * 4000)
        await until(lambda: service.front.held >= 4000)
        client.writer.transport.abort()
        await until(lambda: service.front.held == 0)


class GoneTransport(asyncio.Transport):
    """A transport that does not know yet that its client is gone."""

    aborted = False

    def write(self, data: Any) -> None:
        assert data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        raise OSError(107, "Transport endpoint is not connected")

    def abort(self) -> None:
        self.aborted = True


async def test_a_client_that_is_gone_at_its_last_answer_harms_nobody() -> None:
    front, transport = Front(Limits(), route, lambda _: None), GoneTransport()
    connection = Connection(front)
    connection.connection_made(transport)
    closing = START + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    connection.get_buffer(0)[: len(closing)] = closing
    connection.buffer_updated(len(closing))
    front.answer(await front.take(), accepted())
    assert transport.aborted


async def test_what_waits_is_bounded_over_all_connections(serve: Any) -> None:
    async with serve(hold=True, max_unanswered=100_000) as service:
        clients = [await service.connect() for _ in range(20)]
        for client in clients:
            client.writer.write((START + b"Content-Length: 20000\r\n\r\n" + b"x" * 20_000) * 3)
        await anyio.sleep(BRIEF)
        assert service.front.held <= 100_000 + 20 * 16 * 1024
        service.open.set()
        statuses = [(await client.answer())[0] for client in clients]
        assert set(statuses) == {204, 503}
        for client in clients:
            await client.close()
        await anyio.sleep(0.02)
        assert service.front.held == 0


async def test_a_client_that_takes_no_answers_is_cut_off(serve: Any) -> None:
    async with serve(idle_timeout=0.2, max_pipelined=100_000) as service:
        client = await service.connect(limit=1)
        client.writer.write(GOOD.replace(b"/n", b"/x") * 200_000)
        await until(lambda: not service.front._connections)


async def test_trailers_and_bytes_that_are_no_text_are_taken(serve: Any) -> None:
    async with serve() as service:
        client = await service.connect()
        await client.send(
            START + b"x-mns-tag: \xff\xfe\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y\r\n\r\n" + GOOD
        )
        assert await client.statuses(2) == [204, 204]
        assert service.taken[0].headers[b"x-mns-tag"] == b"\xff\xfe"


async def test_what_is_here_at_the_end_is_answered_with_a_close(serve: Any) -> None:
    async with serve(hold=True) as service:
        client, idle = await service.connect(), await service.connect()
        await idle.send(GOOD.replace(b"/n", b"/x"))
        assert await idle.statuses(1) == [404]
        await client.send(GOOD)
        await until(lambda: service.taken)
        service.front.stop()
        assert await idle.closed()
        with pytest.raises(OSError, match=r".*"):
            await service.connect()
        service.open.set()
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (204, "close")
        assert await client.closed()


@pytest.mark.parametrize("sent", [0, 10, len(GOOD) - 1])
async def test_who_has_just_connected_when_it_ends_is_served_once(serve: Any, sent: int) -> None:
    """Also who is in the middle of a request."""
    async with serve() as service:
        client = await service.connect()
        await client.send(GOOD[:sent])
        await until(lambda: service.front._connections)
        await anyio.wait_all_tasks_blocked()
        service.front.stop()
        await client.send(GOOD[sent:] + GOOD)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (204, "close")
        assert await client.closed()
        assert service.counted == []


async def test_who_is_accepted_in_the_moment_it_ends_is_waited_for() -> None:
    """Before a handshake: the next turn of the loop is too late to be noticed."""
    front = Front(Limits(), route, lambda _: None)
    front.stop()
    connection = Connection(front)
    assert front.expect(connection)
    with anyio.move_on_after(BRIEF) as scope:
        await front.take()
    assert scope.cancelled_caught
    front.give_up(connection)
    assert await front.take() == []


async def test_deadlines_are_kept_while_it_ends_because_it_was_cancelled() -> None:
    front = Front(Limits(header_timeout=0.2), route, lambda _: None)
    taken: list[Request] | None = None
    with anyio.CancelScope() as scope:
        async with front.serve("127.0.0.1", 0) as address, await anyio.connect_tcp(*address):
            await until(lambda: front._connections)
            scope.cancel()
            front.stop()
            with anyio.move_on_after(5, shield=True):
                taken = await front.take()
    assert taken == []


async def test_who_connects_and_says_nothing_does_not_hold_up_the_end(serve: Any) -> None:
    async with serve() as service:
        silent = await service.connect()
        await until(lambda: service.front._connections)
        service.front.stop()
        assert await silent.closed()
        assert await service.front.take() == []

"""The first line of a request and its Host: whole URLs, protocols, versions; however the bytes are cut."""

from __future__ import annotations

from http import HTTPStatus

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.http_front import GOOD, serving

from router_plugins.mns.http.answers import Answer, refusal
from router_plugins.mns.http.limits import Limits
from router_plugins.mns.http.parser import Parser
from router_plugins.mns.http.request import Request

REST = b"\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
NOT_FOUND = refusal(HTTPStatus.NOT_FOUND, "no")


def route(method: bytes, target: bytes) -> Answer | None:
    return None if target.partition(b"?")[0] == b"/n" and method == b"POST" else NOT_FOUND


def fed(stream: bytes, size: int = 10**6) -> list[Request]:
    subject, requests = Parser(Limits(), route), list[Request]()
    for start in range(0, len(stream), size):
        requests += subject.feed(stream[start : start + size])
    return requests


def statuses(stream: bytes, size: int = 10**6) -> list[int]:
    return [204 if request.answer is None else request.answer.status for request in fed(stream, size)]


@pytest.mark.parametrize("size", [1, 7, 10**6])
@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (b"http://router.example:80/n?a=%41&b", b"/n?a=%41&b"),
        (b"https://router.example/n", b"/n"),
        (b"HTTP://1.2.3.4:8080/n", b"/n"),
        (b"hTTps://[2400:3200::1]:443/n", b"/n"),
        (b"http://x:/n?http://y/z", b"/n?http://y/z"),
        (b"http://x", b"/"),
        (b"http://x?a=1", b"/?a=1"),
    ],
)
def test_of_a_whole_url_as_target_path_and_query_are_taken(target: bytes, kept: bytes, size: int) -> None:
    assert [request.target for request in fed(b"POST %b HTTP/1.1" % target + REST, size)] == [kept]


@pytest.mark.parametrize(
    "target",
    [
        b"http://a@x/n",
        b"http://a:b@x/n",
        b"http:///n",
        b"http://:80/n",
        b"http://[::1/n",
        b"http://[zz]/n",
        b"ftp://x/n",
        b"http://x:y/n",
        b"http://x/n#f",
        b"http://a%zz/n",
        b"ws://x/n",
    ],
)
def test_a_url_that_is_read_in_several_ways_or_none_is_refused(target: bytes) -> None:
    assert statuses(b"POST %b HTTP/1.1" % target + REST) == [400]


def test_a_whole_url_needs_a_host_header_all_the_same() -> None:
    assert statuses(b"POST http://x/n HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi") == [400]
    assert statuses(b"POST http://x/n HTTP/1.1\r\nHost: other\r\nContent-Length: 2\r\n\r\nhi") == [204]
    assert statuses(b"POST http://x/n HTTP/1.1\r\nHost: a b\r\nContent-Length: 2\r\n\r\nhi") == [400]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(
            (host, 400)
            for host in (b"a b", b"a/b@c", b"a@b", b"a?b", b"a#b", b"[::1", b"[zz]", b"::1", b"x:a", b"a\\b")
        ),
        *((host, 400) for host in ("é".encode(), b"a\tb", b"a,b c", b"%zz", b"http://x", b"[1.2.3.4]", b'"x"', b"<x>")),
        *((host, 204) for host in (b"x", b"x:80", b"x:", b"", b"[::1]", b"[::1]:80", b"a_b", b"1.2.3.4:8080", b"%41")),
        *((host, 204) for host in (b"[::ffff:1.2.3.4]:80", b"[v1.x:y]", b"xn--bcher-kva.example", b"a,b")),
    ],
)
def test_what_is_no_host_is_refused(host: bytes, status: int) -> None:
    for version in (b"1.1", b"1.0"):
        assert statuses(b"POST /n HTTP/%b\r\nHost: %b\r\nContent-Length: 2\r\n\r\nhi" % (version, host)) == [status]


LINES = {
    b"POST /n HTTP/1.1": 204,
    b"POST /n HTTP/1.0": 204,
    b"POST /n RTSP/1.0": 400,
    b"POST /n RTSP/1.1": 400,
    b"GET /n RTSP/2.0": 400,
    b"SOURCE /n ICE/1.0": 400,
    b"POST /n FOO/1.1": 400,
    b"POST /n http/1.1": 400,
    b"POST /n HTTPS/1.1": 400,
    b"POST /n HTTP/1.x": 400,
    b"POST /n HTTP/11": 400,
    b"POST /n HTTP/1.2": 505,
    b"POST /n HTTP/1.9": 505,
    b"POST /n HTTP/2.0": 505,
    b"POST /n HTTP/0.9": 505,
    b"POST /n HTTP/3.0": 505,
}


@pytest.mark.parametrize("size", [1, 13, 10**6])
@pytest.mark.parametrize(("line", "status"), LINES.items())
def test_only_http_1_is_spoken(line: bytes, status: int, size: int) -> None:
    assert statuses(line + REST, size) == [status]


@pytest.mark.parametrize("size", [1, 13, 10**6])
@pytest.mark.parametrize(
    "first",
    [
        GOOD,
        b"\r\n" + GOOD,
        b"POST /n HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /n HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n\r\n\r\nRTSP\r\n0\r\nA: b\r\n\r\n",
        b"POST /n HTTP/1.1\r\nX: /n RTSP/1.0\r\nHost: x\r\nContent-Length: 18\r\n\r\nPOST /n RTSP/1.0\r\n",
    ],
)
def test_each_of_several_requests_is_looked_at(first: bytes, size: int) -> None:
    stream = first * 3 + b"POST /n RTSP/1.0" + REST + GOOD
    assert statuses(stream, size) == [204, 204, 204, 400]


@given(st.lists(st.sampled_from(sorted(LINES)), max_size=4), st.integers(1, 40))
def test_how_the_bytes_are_cut_makes_no_difference(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + REST for line in lines)
    assert statuses(stream, size) == statuses(stream)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_nothing_follows_the_head_of_an_answer_to_head() -> None:
    """404, 405, 413, 431, 400 and 408: the length is told, and the next answer begins where that of HEAD ended."""
    with anyio.fail_after(10):
        async with serving(max_body=10, max_headers=3) as service:
            for head in (b"/x HTTP/1.1\r\nHost: x", b"/n HTTP/1.2\r\nHost: x", b"/n HTTP/1.1\r\nHost: a b"):
                client = await service.connect()
                await client.send(b"HEAD %b\r\n\r\n" % head + GOOD)
                answer = await client.reader.readuntil(b"\r\n\r\n")
                assert b"Content-Length: " in answer
                rest = await client.reader.read(1000)
                assert rest.startswith(b"HTTP/1.1 204") if head.startswith(b"/x") else rest == b""
            for more in (b"Content-Length: 99\r\n", b"A: 1\r\nB: 2\r\nC: 3\r\n", b"A B\r\n"):
                client = await service.connect()
                await client.send(b"HEAD /n HTTP/1.1\r\nHost: x\r\n%b\r\n" % more)
                assert (await client.reader.read()).endswith(b"\r\n\r\n")

"""The parser of the push front: bytes in, requests and refusals out, whatever the pieces and however hostile."""

from __future__ import annotations

from http import HTTPStatus
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.mns.http.answers import Answer, refusal
from router_plugins.mns.http.limits import Limits
from router_plugins.mns.http.parser import SLICE, Parser
from router_plugins.mns.http.request import Phase, Request

START = b"POST /n HTTP/1.1\r\nHost: x\r\n"
GOOD = START + b"Content-Length: 2\r\n\r\nhi"
NOT_FOUND = refusal(HTTPStatus.NOT_FOUND, "no")


def route(method: bytes, target: bytes) -> Answer | None:
    return None if target.startswith(b"/n") and method == b"POST" else NOT_FOUND


def parser(**limits: int) -> Parser:
    return Parser(Limits(**limits), route)


def status(request: Request) -> int | None:
    return None if request.answer is None else request.answer.status


def test_a_request_is_given_as_it_came() -> None:
    [request] = parser().feed(b"POST /n?a=%41 HTTP/1.1\r\nHOST: x\r\nX-Mns-Tag:  a\xff \r\nContent-length: 2\r\n\r\nhi")
    assert (request.target, request.body, request.last) == (b"/n?a=%41", b"hi", False)
    assert request.headers == {b"host": b"x", b"x-mns-tag": b"a\xff", b"content-length": b"2"}


@given(st.lists(st.integers(1, 2 * len(GOOD)), max_size=20))
def test_the_pieces_that_bytes_come_in_make_no_difference(cuts: list[int]) -> None:
    stream, subject, bodies = GOOD * 2, parser(), []
    edges = [0, *sorted({cut for cut in cuts if cut < len(stream)}), len(stream)]
    for start, end in pairwise(edges):
        bodies += [request.body for request in subject.feed(stream[start:end])]
    assert bodies == [b"hi", b"hi"]
    assert subject.partial == 0


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(noise: bytes) -> None:
    for stream in (noise, START + noise, START + b"Transfer-Encoding: chunked\r\n\r\n" + noise):
        subject = parser()
        requests = subject.feed(stream)
        assert all(request.answer is None or request.answer.status >= 400 for request in requests)


UPGRADE = START + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
UPGRADES = {
    "h2c with a length": (UPGRADE % b"h2c" + b"Content-Length: 2\r\n\r\nhi", b"hi"),
    "websocket in chunks": (
        UPGRADE % b"websocket" + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n",
        b"hi!",
    ),
    "with leave to send": (UPGRADE % b"h2c" + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
    "in two headers": (
        START + b"Connection: Upgrade\r\nConnection: x\r\nUpgrade: a\r\nUpgrade: b\r\nContent-Length: 2\r\n\r\nhi",
        b"hi",
    ),
    "of nothing": (UPGRADE % b"" + b"Content-Length: 2\r\n\r\nhi", b"hi"),
    "without a body": (UPGRADE % b"h2c" + b"\r\n", b""),
    "of a body that looks like a request": (
        UPGRADE % b"h2c" + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD),
        GOOD,
    ),
}


@pytest.mark.parametrize(("asked", "body"), UPGRADES.values(), ids=UPGRADES)
def test_who_would_like_another_protocol_is_spoken_to_in_this_one(asked: bytes, body: bytes) -> None:
    """RFC 9110, 7.8 lets a server ignore `Upgrade`; llhttp takes the head for the end of the message."""
    stream = asked + GOOD + asked
    for parts in (
        [stream],
        [stream[i : i + 1] for i in range(len(stream))],
        [stream[: len(asked) - 1], stream[len(asked) - 1 :]],
    ):
        subject, requests = parser(), []
        for part in parts:
            requests += subject.feed(memoryview(part))
        assert [(status(request), request.body, request.last) for request in requests] == [
            (None, body, False),
            (None, b"hi", False),
            (None, body, False),
        ]
        assert not subject.over
        assert subject.partial == 0


@given(
    st.lists(
        st.tuples(st.sampled_from([GOOD, *(asked for asked, _ in UPGRADES.values())]), st.integers(1, 60)), max_size=6
    )
)
def test_no_cut_makes_a_message_end_before_its_body(parts: list[tuple[bytes, int]]) -> None:
    bodies = dict(UPGRADES.values()) | {GOOD: b"hi"}
    stream, subject, found = b"".join(part for part, _ in parts), parser(), []
    steps = iter([step for _, step in parts] * len(stream))
    while stream:
        step = next(steps)
        found += [request.body for request in subject.feed(stream[:step])]
        stream = stream[step:]
    assert found == [bodies[part] for part, _ in parts]


def test_leave_to_send_is_due_also_to_who_would_like_another_protocol() -> None:
    subject = parser()
    assert subject.feed(UPGRADE % b"h2c" + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n") == []
    assert subject.expects_continue
    [request] = subject.feed(b"hi")
    assert request.body == b"hi"


@pytest.mark.parametrize(
    ("framing", "code"),
    [
        (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"Content-Length: 11\r\n\r\n", 413),
        (b"Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890", 413),
        (b"Transfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n", 400),
        (b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n", 417),
    ],
)
def test_wanting_another_protocol_opens_no_way_round_the_rules(framing: bytes, code: int) -> None:
    requests = parser(max_body=10).feed(UPGRADE % b"h2c" + framing + GOOD)
    assert [(status(request), request.last) for request in requests] == [(code, True)]


def test_connect_is_answered_and_nothing_behind_it_is_a_request() -> None:
    for head in (
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n",
    ):
        subject = parser()
        requests = subject.feed(head + b"Content-Length: 2\r\n\r\n" + GOOD)
        assert [(status(request), request.body, request.last) for request in requests] == [(404, b"", True)]
        assert subject.feed(GOOD) == []


def test_many_that_would_like_another_protocol_fit_into_one_slice() -> None:
    one = b"POST /n HTTP/1.1\r\nHost:\r\nConnection:upgrade\r\nUpgrade:a\r\n\r\n"
    requests = parser().feed(memoryview(one * (SLICE // len(one))))
    assert len(requests) == SLICE // len(one)


def test_chunks_are_joined_and_their_trailers_are_no_headers() -> None:
    [request] = parser().feed(
        START + b"Transfer-Encoding: Chunked\r\n\r\n2;x=1\r\nhi\r\n1\r\n!\r\n0\r\nX-Mns-Topic-Name: evil\r\n\r\n"
    )
    assert request.body == b"hi!"
    assert b"x-mns-topic-name" not in request.headers


SMUGGLING = {
    "both lengths": START + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, reversed": START + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "two lengths": START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "a list of lengths": START + b"Content-Length: 2, 2\r\n\r\nhi",
    "signed length": START + b"Content-Length: +2\r\n\r\nhi",
    "length in hex": START + b"Content-Length: 0x2\r\n\r\nhi",
    "blank before the colon": START + b"Content-Length : 2\r\n\r\nhi",
    "endless length": START + b"Content-Length: 99999999999999999999\r\n\r\n",
    "bare LF": b"POST /n HTTP/1.1\nHost: x\n\n",
    "bare LF in a header": b"POST /n HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare CR": b"POST /n HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "folded header": START + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "null": START + b"A: b\0c\r\n\r\n",
    "other coding": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": START + b"Transfer-Encoding: identity\r\n\r\n",
    "almost chunked": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": b"POST /n HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "no host": b"POST /n HTTP/1.1\r\n\r\n",
    "two hosts": START + b"Host: y\r\n\r\n",
    "chunk size with sign": START + b"Transfer-Encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n",
    "chunk size ended by LF": START + b"Transfer-Encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n",
    "chunk too long": START + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhiXX0\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 2.0": b"POST /n HTTP/2.0\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\xa5",
    "tabs": b"POST\t/n\tHTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown expectation": START + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n",
}


@pytest.mark.parametrize("stream", SMUGGLING.values(), ids=SMUGGLING)
def test_forms_that_others_may_read_differently_end_the_connection(stream: bytes) -> None:
    subject = parser()
    requests = subject.feed(stream + GOOD)
    assert [status(request) for request in requests] in ([400], [417], [501], [505])
    assert requests[-1].last
    assert subject.feed(GOOD) == []


def test_what_came_before_a_malformed_request_is_kept() -> None:
    requests = parser().feed(GOOD + b"nonsense\r\n\r\n")
    assert [status(request) for request in requests] == [None, 400]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (START + b"Content-Length: 11\r\n\r\n", 413),
        (START + b"Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890", 413),
        (START + b"".join(b"A%d: b\r\n" % i for i in range(20)) + b"\r\n", 431),
        (START + b"A: " + b"b" * 2000 + b"\r\n\r\n", 431),
        (b"POST /n" + b"x" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (START + b"A: 1\r\n" * 20 + b"\r\n", 431),
    ],
)
def test_what_is_over_a_limit_is_refused(stream: bytes, code: int) -> None:
    requests = parser(max_body=10, max_headers=18, max_header_bytes=1000).feed(stream)
    assert [status(request) for request in requests] == [code]
    assert requests[-1].last


@pytest.mark.parametrize(
    "start",
    [
        b"POST /n",
        START + b"A: ",
        START + b"Transfer-Encoding: chunked\r\n\r\n1;",
        START + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: ",
    ],
    ids=["target", "header", "chunk extension", "trailer"],
)
def test_what_never_ends_is_refused_and_given_up(start: bytes) -> None:
    subject, requests = parser(max_body=10), []
    requests += subject.feed(start)
    fed = 0
    while not requests and fed < 10 * SLICE:
        requests += subject.feed(b"a" * 1000)
        fed += 1000
    assert [status(request) for request in requests] == [431]
    assert fed <= SLICE + 2000
    assert subject.partial == 0


def test_a_body_of_an_unwanted_request_is_thrown_away_and_the_connection_goes_on() -> None:
    requests = parser().feed(START.replace(b"/n", b"/x") + b"Content-Length: 2\r\n\r\nhi" + GOOD)
    assert [(status(request), request.body, request.last) for request in requests] == [
        (404, b"", False),
        (None, b"hi", False),
    ]


def test_leave_to_send_is_not_given_to_what_is_refused() -> None:
    subject = parser()
    requests = subject.feed(START.replace(b"/n", b"/x") + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert [(status(request), request.last) for request in requests] == [(404, True)]
    assert not subject.expects_continue


def test_a_request_that_closes_is_the_last() -> None:
    for first in (
        START + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        b"POST /n HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        START + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
        b"POST /n HTTP/1.0\r\nConnection: Upgrade, keep-alive\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n",
    ):
        subject = parser()
        requests = subject.feed(first + GOOD)
        assert [(status(request), request.last) for request in requests] == [(None, True)]
        assert subject.over


def test_repeated_headers_are_joined_as_the_rfc_says() -> None:
    [request] = parser().feed(START + b"Via: a\r\nX-Mns-Tag: 1\r\nvia: b\r\nx-mns-tag: 2\r\nContent-Length: 0\r\n\r\n")
    assert (request.headers[b"via"], request.headers[b"x-mns-tag"]) == (b"a, b", b"1, 2")


def test_a_message_that_began_in_the_middle_of_a_slice_has_its_full_allowance() -> None:
    subject = parser(max_header_bytes=1000)
    [first] = subject.feed(START + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000 + START)
    assert first.answer is None
    assert subject.phase is Phase.HEAD
    [second] = subject.feed(b"Content-Length: 0\r\n\r\n")
    assert second.answer is None

"""The parser of answers, without a socket: what is an answer, where it ends, and if its connection is good for more."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.http_client import Answer, Limits, NoAnswerError
from router_plugins.http_client.parser import AnswerParser

OK = b"HTTP/1.1 200 OK\r\n"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


def parser(limits: Limits | None = None) -> AnswerParser:
    return AnswerParser(limits or Limits(), frozenset({b"retry-after"}))


def fed(*parts: bytes, limits: Limits | None = None) -> AnswerParser:
    made = parser(limits)
    for part in parts:
        made.feed(part)
    return made


@pytest.mark.parametrize(
    ("said", "status", "body", "reusable"),
    [
        (NOTHING, 204, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, b"", True),
        (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, b"", True),
        (OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n1;x=y\r\n!\r\n0\r\nT: 1\r\n\r\n", 200, b"ok!", True),
        (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 5 + NOTHING, 204, b"", True),
    ],
)  # fmt: skip
def test_an_answer_ends_where_its_framing_says(said: bytes, status: int, body: bytes, reusable: bool) -> None:  # noqa: FBT001
    for parts in ([said], [said[i : i + 1] for i in range(len(said))]):
        found = fed(*parts)
        assert found.ended
        assert (found.answer.status, found.answer.body, found.reusable) == (status, body, reusable)
        assert not fed(*[said[i : i + 1] for i in range(len(said) - 1)]).ended


@pytest.mark.parametrize("said", [OK + b"\r\nsome", OK + b"Transfer-Encoding: gzip\r\n\r\nsome"])
def test_a_body_that_only_the_end_of_the_connection_ends_does_not_end_before(said: bytes) -> None:
    found = fed(said, b" more")
    assert (found.status, found.ended, found.answer.body) == (200, False, b"some more")


@pytest.mark.parametrize(
    "surplus",
    [
        OK + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 5",
        b"x",
        b"\x00",
    ],
)
@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n",
        OK + b"Content-Length: 2\r\n\r\nok",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_comes_behind_an_answer_is_no_answer_and_costs_the_connection(said: bytes, surplus: bytes) -> None:
    status = int(said[9:12])
    found = fed(said + surplus)
    assert (found.answer.status, found.ended, found.reusable) == (status, True, False)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02F",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 99999999999999999999\r\n\r\n",
        OK + b"X Y: 1\r\n\r\n",
        OK + b"X: a\x00b\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_an_error(said: bytes) -> None:
    with pytest.raises(NoAnswerError, match="no usable answer"):
        fed(said)


@pytest.mark.parametrize("body", [b"5\r\nab", b"zz\r\n", b"1\r\nab\r\n"])
def test_once_the_status_is_known_a_broken_body_changes_nothing_but_costs_the_connection(body: bytes) -> None:
    found = fed(b"HTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\nRetry-After:  7 \r\n\r\n" + body)
    assert (found.answer.status, found.answer.headers, found.reusable) == (429, {b"retry-after": b"7"}, False)


def test_headers_count_up_to_their_limit_also_those_of_interim_answers() -> None:
    limits = Limits(head=1000)
    line = b"X: " + b"x" * 95 + b"\r\n"
    assert fed(OK, *[line] * 9, b"\r\n", limits=limits).status == 200
    with pytest.raises(NoAnswerError, match="more than 1000 bytes of headers"):
        fed(OK, *[line] * 11, limits=limits)
    with pytest.raises(NoAnswerError, match="more than 1000 bytes of headers"):
        fed(OK + line * 10_000, limits=limits)
    with pytest.raises(NoAnswerError, match="more than 1000 bytes of headers"):
        fed(*[b"HTTP/1.1 102 Processing\r\n\r\n"] * 50, limits=limits)
    with pytest.raises(NoAnswerError, match="more than 1000 bytes of headers"):
        fed(OK, *[b"X"] * 2000, limits=limits)


def test_a_large_body_behind_a_small_head_is_no_large_head() -> None:
    limits = Limits(head=1000, whole=10_000)
    assert fed(OK + b"Content-Length: 5000\r\n\r\n" + b"x" * 5000, limits=limits).reusable


@pytest.mark.parametrize("chunk", [b"x" * 500, b"1\r\nx\r\n" * 83])
def test_no_more_of_a_body_is_read_than_its_limit_and_no_more_kept(chunk: bytes) -> None:
    limits = Limits(head=100, whole=5000, kept=10)
    framing = b"Content-Length: 1000000\r\n\r\n" if chunk[:1] == b"x" else b"Transfer-Encoding: chunked\r\n\r\n"
    found = fed(OK + framing, *[chunk] * 9, limits=limits)
    assert not found.ended
    found.feed(chunk)
    found.feed(chunk)
    assert (found.ended, found.reusable, found.answer.body) == (True, False, b"x" * 10)


def test_endless_trailers_are_read_no_further_than_the_limit() -> None:
    limits = Limits(head=100, whole=5000)
    found = fed(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *[b"X: y\r\n"] * 2000, limits=limits)
    assert (found.ended, found.reusable) == (True, False)


def test_a_header_in_the_trailers_is_not_one_of_the_head() -> None:
    found = fed(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: 9\r\n\r\n")
    assert found.answer == Answer(503, {}, b"")


def test_a_header_of_an_interim_answer_is_not_one_of_the_answer() -> None:
    found = fed(b"HTTP/1.1 103 Hints\r\nRetry-After: 9\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
    assert found.answer == Answer(503, {}, b"")


def test_nothing_is_left_over_of_the_answer_before() -> None:
    made = fed(b"HTTP/1.1 503 No\r\nRetry-After: 9\r\nContent-Length: 4\r\n\r\nbusy")
    made.expect()
    made.feed(b"HTTP/1.1 204 No\r\n\r\n")
    assert (made.answer, made.reusable) == (Answer(204, {}, b""), True)


HEADS = st.sampled_from([b"", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n"])


@given(st.lists(HEADS, max_size=3), st.binary(max_size=60), st.lists(st.integers(0, 120), max_size=6))
def test_however_an_answer_is_cut_it_means_the_same(heads: list[bytes], body: bytes, cuts: list[int]) -> None:
    said = OK + b"".join(heads) + b"\r\n" + body
    places = [0, *sorted(min(cut, len(said)) for cut in cuts), len(said)]
    whole, pieces = parser(), parser()
    outcomes: list[object] = []
    for made, parts in ((whole, [said]), (pieces, [said[a:b] for a, b in pairwise(places)])):
        try:
            for part in parts:
                made.feed(part)
            outcomes.append((made.answer, made.ended, made.reusable))
        except NoAnswerError:
            outcomes.append("none")
    assert outcomes[0] == outcomes[1]


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_any_bytes_are_an_answer_or_an_error_and_nothing_else(parts: list[bytes]) -> None:
    made = parser()
    try:
        for part in (b"HTTP/1.1 2", *parts):
            made.feed(part)
    except NoAnswerError:
        assert not made.status

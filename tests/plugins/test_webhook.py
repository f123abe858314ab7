"""The webhook sink: the Standard Webhooks form, an outcome for every answer, and no secret in any error."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trustme
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from servers.forward_proxy import ForwardProxy
from standardwebhooks import Webhook as Judge
from standardwebhooks import WebhookVerificationError

from router import ConfigError, Partial, Reject, Retry, Secret
from router.testing import SinkSuite, make_event, make_events
from router_plugins.webhook import Webhook
from router_plugins.webhook_answers import excerpt, retry_after

pytestmark = pytest.mark.anyio

WHSEC = "whsec_" + base64.b64encode(b"k" * 25).decode()
NOW = 1_700_000_000.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Receiver:
    """A web server that remembers its requests, and answers as told, else 204."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.connections: set[Any] = set()
        self.answers: list[web.StreamResponse] = []
        self.port = 0
        self._runner = self._make_runner()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/T0KEN"

    @property
    def ids(self) -> list[str]:
        return [headers["Webhook-Id"] for headers, _ in self.requests]

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()
        self._runner = self._make_runner()

    def _make_runner(self) -> web.ServerRunner:
        return web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((dict(request.headers), await request.read()))
        self.connections.add(request.transport)
        return self.answers.pop(0) if self.answers else web.Response(status=204)


@pytest.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    running = Receiver()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture(params=[False, True], ids=["straight", "proxied"])
async def proxy(request: pytest.FixtureRequest) -> AsyncGenerator[Secret | None]:
    """Nothing, or a forward proxy that wants credentials."""
    if not request.param:
        yield None
        return
    running = ForwardProxy(credentials="me:pr0xy")
    async with running.running():
        yield Secret(str(running.url.with_user("me").with_password("pr0xy")))


@asynccontextmanager
async def raw_server(answer: bytes, *, hold: bool = False, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Run a server that answers the beginning of any request with these bytes, and closes unless it is to hold."""
    done = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        if hold:
            await done.wait()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        done.set()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)


async def failure(sink: Webhook) -> Exception:
    async with sink.open() as deliver:
        with pytest.raises((Retry, Reject, Partial)) as caught:
            await deliver(make_events(1))
    return caught.value


class Endpoint:
    """A receiver that can be stopped and started on the same port."""

    def __init__(self, receiver: Receiver, proxy: Secret | None) -> None:
        self.receiver = receiver
        self.sink = Webhook(url=Secret(receiver.url), timeout=1, proxy=proxy)

    async def arrived(self) -> Sequence[str]:
        return self.receiver.ids

    async def take_down(self) -> None:
        await self.receiver.stop()

    async def bring_back(self) -> None:
        await self.receiver.start()


class TestWebhookSuite(SinkSuite):
    @pytest.fixture
    def destination(self, receiver: Receiver, proxy: Secret | None) -> Endpoint:
        return Endpoint(receiver, proxy)


@pytest.mark.parametrize("secret", [WHSEC, WHSEC.rstrip("="), WHSEC.removeprefix("whsec_")])
async def test_the_standard_webhooks_package_accepts_the_signature(
    receiver: Receiver, secret: str, proxy: Secret | None
) -> None:
    event = make_event(rcpt="bücher@example.com")
    async with Webhook(url=Secret(receiver.url), proxy=proxy, secret=Secret(secret)).open() as deliver:
        await deliver([event])
    ((headers, body),) = receiver.requests
    judge = Judge(secret)
    assert judge.verify(body, headers)["rcpt"] == "bücher@example.com"
    assert headers["Webhook-Id"] == event.id
    assert headers["Content-Type"] == "application/json"
    assert body == event.json()


async def test_while_secrets_change_over_the_old_and_the_new_one_verify(
    receiver: Receiver, proxy: Secret | None
) -> None:
    sink = Webhook(url=Secret(receiver.url), proxy=proxy, secret=Secret(WHSEC), previous_secrets=[Secret("b2xk")])
    async with sink.open() as deliver:
        await deliver(make_events(1))
    ((headers, body),) = receiver.requests
    assert Judge(WHSEC).verify(body, headers)
    assert Judge(b"old").verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Judge(b"other").verify(body, headers)


async def test_without_a_secret_there_is_no_signature(receiver: Receiver, proxy: Secret | None) -> None:
    async with Webhook(url=Secret(receiver.url), proxy=proxy).open() as deliver:
        await deliver(make_events(1))
    assert "Webhook-Signature" not in receiver.requests[0][0]


async def test_another_try_has_the_same_id(receiver: Receiver, proxy: Secret | None) -> None:
    receiver.answers = [web.Response(status=500)]
    async with Webhook(url=Secret(receiver.url), proxy=proxy).open() as deliver:
        with pytest.raises(Retry):
            await deliver(make_events(1))
        await deliver(make_events(1))
    assert receiver.ids[0] == receiver.ids[1]


async def test_raw_bodies_are_the_bytes_as_they_came_and_signed_too(receiver: Receiver, proxy: Secret | None) -> None:
    async with Webhook(url=Secret(receiver.url), proxy=proxy, form="raw", secret=Secret(WHSEC)).open() as deliver:
        await deliver([make_event(raw="env_id=1&ü".encode())])
    ((headers, body),) = receiver.requests
    assert body == "env_id=1&ü".encode()
    Judge(WHSEC).verify(body, headers, json_parse=False)


async def test_own_headers_are_sent(receiver: Receiver, proxy: Secret | None) -> None:
    sink = Webhook(
        url=Secret(receiver.url), proxy=proxy, headers={"authorization": Secret("Bearer x"), "user-agent": Secret("me")}
    )
    async with sink.open() as deliver:
        await deliver(make_events(1))
    headers, _ = receiver.requests[0]
    assert (headers["Authorization"], headers["User-Agent"]) == ("Bearer x", "me")


async def test_connections_are_used_again(receiver: Receiver, proxy: Secret | None) -> None:
    async with Webhook(url=Secret(receiver.url), proxy=proxy).open() as deliver:
        for event in make_events(5):
            await deliver([event])
    assert len(receiver.connections) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered(receiver: Receiver, status: int, proxy: Secret | None) -> None:
    receiver.answers = [web.Response(status=status)]
    async with Webhook(url=Secret(receiver.url), proxy=proxy).open() as deliver:
        await deliver(make_events(1))


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 301, 302, 307, 308])
async def test_these_statuses_are_worth_another_try(receiver: Receiver, status: int, proxy: Secret | None) -> None:
    receiver.answers = [web.Response(status=status, headers={"Retry-After": "7", "Location": receiver.url})]
    error = await failure(Webhook(url=Secret(receiver.url), proxy=proxy))
    assert isinstance(error, Retry)
    assert error.after == 7
    assert str(status) in error.reason
    assert len(receiver.requests) == 1, "redirects are not followed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422, 451])
async def test_every_other_4xx_is_refused_with_what_was_answered(
    receiver: Receiver, status: int, proxy: Secret | None
) -> None:
    receiver.answers = [web.Response(status=status, text="no such\nfield: rcpt")]
    error = await failure(Webhook(url=Secret(receiver.url), proxy=proxy))
    assert isinstance(error, Reject)
    assert error.status == status
    assert error.reason.endswith(f"http://127.0.0.1:{receiver.port} answered {status}: no such field: rcpt")
    assert error.reason.startswith("gone") == (status == 410)


async def test_a_batch_is_posted_in_turn_and_ends_at_the_first_to_try_again(
    receiver: Receiver, proxy: Secret | None
) -> None:
    receiver.answers = [web.Response(status=s) for s in (200, 400, 503)]
    async with Webhook(url=Secret(receiver.url), proxy=proxy).open() as deliver:
        with pytest.raises(Partial) as caught:
            await deliver(make_events(5))
    assert {index: type(error) for index, error in caught.value.errors.items()} == {
        1: Reject, 2: Retry, 3: Retry, 4: Retry,
    }  # fmt: skip
    assert len(receiver.requests) == 3


async def test_a_batch_ends_at_an_endpoint_that_is_gone(receiver: Receiver, proxy: Secret | None) -> None:
    receiver.answers = [web.Response(status=s) for s in (200, 410)]
    async with Webhook(url=Secret(receiver.url), proxy=proxy).open() as deliver:
        with pytest.raises(Partial) as caught:
            await deliver(make_events(4))
    assert [(index, getattr(error, "status", None)) for index, error in caught.value.errors.items()] == [
        (1, 410), (2, 410), (3, 410),
    ]  # fmt: skip
    assert len(receiver.requests) == 2


async def test_no_secret_is_in_an_error_even_if_the_answer_repeats_it(receiver: Receiver, proxy: Secret | None) -> None:
    secrets = [WHSEC, "cHJldmlvdXM", "Bearer t0ken", "T0KEN", "pr0xy"]
    receiver.answers = [
        web.Response(
            status=400, text=f"Cannot POST /hooks/T0KEN {WHSEC} Bearer t0ken cHJldmlvdXM" + " pr0xy" * bool(proxy)
        )
    ]
    sink = Webhook(
        url=Secret(receiver.url),
        proxy=proxy,
        secret=Secret(WHSEC),
        previous_secrets=[Secret("cHJldmlvdXM")],
        headers={"Authorization": Secret("Bearer t0ken")},
    )
    error = await failure(sink)
    assert "Cannot POST" in str(error)
    assert not [secret for secret in secrets if secret in f"{error} {error!r} {sink!r} {sink}"]


async def test_an_answer_is_read_only_as_far_as_it_is_wanted(receiver: Receiver, proxy: Secret | None) -> None:
    receiver.answers = [web.Response(status=400, body=b"x" * 10_000_000)]
    error = await failure(Webhook(url=Secret(receiver.url), proxy=proxy))
    assert len(str(error)) < 300


async def test_a_success_whose_body_never_ends_is_a_success(proxy: Secret | None) -> None:
    async with (
        raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", hold=True) as url,
        Webhook(url=Secret(url), proxy=proxy, timeout=0.2).open() as deliver,
    ):
        await deliver(make_events(1))


@pytest.mark.parametrize(
    ("answer", "hold", "says"),
    [
        (b"", True, "did not answer within 0.2 s"),
        (b"HTTP/1.1 200 OK\r\nX: ", True, "did not answer within 0.2 s"),
        (b"", False, "closed the connection without an answer"),
        (b"HTTP/1.1 2", False, "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False, "no usable answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", False, "no usable answer"),
    ],
)
async def test_no_usable_answer_is_worth_another_try(
    answer: bytes,
    hold: bool,  # noqa: FBT001
    says: str,
    proxy: Secret | None,
) -> None:
    async with raw_server(answer, hold=hold) as url:
        error = await failure(Webhook(url=Secret(url), proxy=proxy, timeout=0.2 if hold else 10.0))
    assert isinstance(error, Retry)
    assert says in error.reason


async def test_nobody_there_is_worth_another_try(proxy: Secret | None) -> None:
    error = await failure(Webhook(url=Secret("http://127.0.0.1:9/T0KEN"), proxy=proxy))
    assert isinstance(error, Retry)
    said = " answered 502" if proxy else ": no connection: Connection refused"
    assert error.reason == f"http://127.0.0.1:9{said}"


async def test_plain_http_behind_https_is_worth_another_try(receiver: Receiver, proxy: Secret | None) -> None:
    error = await failure(Webhook(url=Secret(receiver.url.replace("http:", "https:")), proxy=proxy))
    assert isinstance(error, Retry)
    assert "WRONG_VERSION_NUMBER" in error.reason


async def test_a_certificate_of_someone_else_is_worth_another_try_and_named(proxy: Secret | None) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with raw_server(b"HTTP/1.1 204 No\r\n\r\n", tls=context) as url:
        error = await failure(Webhook(url=Secret(url), proxy=proxy))
    assert isinstance(error, Retry)
    assert "its certificate is not trusted" in error.reason


async def test_many_calls_at_once_are_sent_at_once(receiver: Receiver, proxy: Secret | None) -> None:
    async with Webhook(url=Secret(receiver.url), proxy=proxy).open() as deliver, anyio.create_task_group() as group:
        for event in make_events(64):
            group.start_soon(deliver, [event])
    assert len(receiver.requests) == 64
    assert len(receiver.connections) > 10


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60),
        ("Tue, 14 Nov 2023 22:13:00 -0000", 0),
        ("", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 5000, None),
        ("٣", None),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
        ("Tue, 14 Nov 99999 22:14:20 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.text())
def test_any_retry_after_is_read_without_an_error(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@given(st.binary(max_size=2000))
def test_an_excerpt_is_one_short_printable_line(answer: bytes) -> None:
    text = excerpt(answer, [])
    assert len(text) <= 200
    assert text.isprintable()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "no http"),
        ("crm.example.com/hook", "no http"),
        ("ftp://crm.example.com/", "no http"),
        ("http:///hook", "no http"),
        ("http://host:port/", "cannot be read"),
        ("http://host:99999/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http://host/a b", "space"),
        ("http://host/a\nb", "space"),
    ],
)
def test_a_bad_url_is_a_config_error(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Webhook(url=Secret(url)).check()
    assert caught.value.place == "url"


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        ("", "is empty.*leave it out"),
        ("proxy.example.com:3128", "no http.*such as http://proxy.example.com:3128"),
        ("https://proxy.example.com:3128", "without TLS"),
        ("socks5://proxy.example.com:1080", "no http"),
        ("http://proxy.example.com:port", "cannot be read"),
        ("http://proxy.example.com:3128/path", "more in it"),
        ("http://me:s3cret @proxy.example.com:3128", "space"),
    ],
)
def test_a_bad_proxy_is_a_config_error_that_shows_no_secret(proxy: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        Webhook(url=Secret("https://host/"), proxy=Secret(proxy)).check()
    assert caught.value.place == "proxy"
    assert "s3cret" not in str(caught.value)


def test_a_header_for_the_proxy_is_a_config_error_where_there_is_one() -> None:
    headers = {"Proxy-Authorization": Secret("Basic x")}
    Webhook(url=Secret("https://host/"), headers=headers).check()
    with pytest.raises(ConfigError, match="is for the proxy") as caught:
        Webhook(url=Secret("https://host/"), headers=headers, proxy=Secret("http://proxy:3128")).check()
    assert caught.value.place == "headers.Proxy-Authorization"


@pytest.mark.parametrize("host", ["169.254.169.254", "100.100.100.200", "[fe80::1]"])
async def test_the_addresses_where_clouds_give_credentials_are_not_connected_to(host: str) -> None:
    async with Webhook(url=Secret(f"http://{host}/latest/meta-data/")).open() as deliver:
        with pytest.raises(Retry, match="is in a network that is denied"):
            await deliver([make_event()])


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"secret": Secret("whsec_not base64")}, "secret"),
        ({"secret": Secret("whsec_")}, "secret"),
        ({"secret": Secret("any text")}, "secret"),
        ({"secret": Secret("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")}, "secret"),
        ({"headers": {"x-team": Secret("a"), "X-Team": Secret("b")}}, "headers.X-Team"),
        ({"headers": {"Expect": Secret("100-continue")}}, "headers.Expect"),
        ({"headers": {"content-encoding": Secret("gzip")}}, "headers.content-encoding"),
        ({"headers": {"host": Secret("other")}}, "headers.host"),
        ({"headers": {"x-account": Secret("{account}")}}, "headers.x-account"),
        ({"url": Secret("https://host/{region}")}, "url"),
        ({"secret": Secret("")}, "secret"),
        ({"previous_secrets": [Secret("")]}, "previous_secrets"),
        ({"timeout": 0}, "timeout"),
        ({"deny": ("10.0.0.1/8",)}, "deny"),
        ({"headers": {"X Y": Secret("1")}}, "headers"),
        ({"headers": {"Webhook-ID": Secret("1")}}, "headers.Webhook-ID"),
        ({"headers": {"X": Secret("1\r\nY: 2")}}, "headers.X"),
        ({"url": Secret("http://me:pw@host/"), "headers": {"Authorization": Secret("1")}}, "headers.Authorization"),
    ],
)
def test_what_cannot_be_sent_is_a_config_error_that_shows_no_secret(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Webhook(**{"url": Secret("https://host/"), **fields}).check()
    assert caught.value.place == place
    assert "not base64 after" not in str(caught.value)


async def test_credentials_in_the_url_are_sent_and_not_shown(receiver: Receiver, proxy: Secret | None) -> None:
    receiver.answers = [web.Response(status=400, text="who is s3cret?")]
    error = await failure(Webhook(url=Secret(receiver.url.replace("://", "://me:s3cret@")), proxy=proxy))
    assert receiver.requests[0][0]["Authorization"] == "Basic " + base64.b64encode(b"me:s3cret").decode()
    assert "s3cret" not in str(error)


async def test_a_cancelled_request_closes_its_connection(proxy: Secret | None) -> None:
    came, closed = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            came.set()
        closed.set()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, Webhook(url=Secret(url), proxy=proxy).open() as deliver:
        async with anyio.create_task_group() as group:
            group.start_soon(deliver, make_events(1))
            await came.wait()
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            await closed.wait()

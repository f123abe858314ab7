"""The source `mns_push`: what is genuine is handed in and answered 204 when it is safe, the rest is refused."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import md5
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from servers.mns_pushes import (
    BODY,
    CERTIFICATE,
    PUSHES,
    URL,
    Answers,
    Recorder,
    certificate_host,
    connected,
    push,
    request,
)
from structlog.testing import capture_logs

from router import ConfigError, PemFile, Retry, Secret
from router_plugins.mns.certificate import DOCUMENTED_URLS
from router_plugins.mns.push import MnsPush, Tls

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def source(**fields: Any) -> MnsPush:
    every: dict[str, Any] = {"listen": "127.0.0.1:0", "certificate": CERTIFICATE, **fields}
    return MnsPush(**every)


@asynccontextmanager
async def receiving(emit: Recorder, counted: list[str] | None = None, **fields: Any) -> AsyncGenerator[Answers]:
    counts = [] if counted is None else counted
    async with source(**fields).serving(emit, counts.append) as (_, port), connected(port) as client:
        yield client


@pytest.mark.parametrize("vector", PUSHES, ids=lambda vector: vector["format"])
async def test_the_pushes_of_the_documentation_are_taken_byte_for_byte(vector: dict[str, Any]) -> None:
    emit = Recorder()
    async with receiving(emit, max_age=0) as client:
        assert await client.to(request(vector["body"].encode(), vector["headers"])) == [204]
    [message] = emit.messages
    assert message.body == vector["body"].encode()
    assert message.attributes["content_type"] == vector["headers"]["Content-Type"]


async def test_attributes_say_where_a_message_comes_from() -> None:
    emit = Recorder()
    async with receiving(emit) as client:
        await client.to(push(headers={"x-mns-message-tag": "deliver"}))
    assert emit.messages[0].attributes == {
        "message_id": "0D3A3C0C4B3A5F6E7D8C9BA0F1E2D3C4",
        "topic": "dm-topic",
        "subscription": "to-http",
        "tag": "deliver",
        "publish_time": "1492141488000",
        "content_type": "text/plain;charset=utf-8",
    }


REFUSED = {
    "bad_signature": [{"authorization": ""}, {"x-mns-topic-name": "other"}, {"x-mns-added": "1"}, {"content-md5": "x"}],
    "stale": [{"date": "Fri, 14 Apr 2017 03:44:49 GMT"}, {"date": ""}, {"date": "soon"}],
}


@pytest.mark.parametrize(("kind", "changes"), [(kind, c) for kind, every in REFUSED.items() for c in every])
async def test_a_push_that_was_changed_on_the_way_gets_403(kind: str, changes: dict[str, str]) -> None:
    emit, counted = Recorder(), list[str]()
    async with receiving(emit, counted) as client:
        client.writer.write(push(unsigned=changes))
        status, _, reason = await client.next()
        assert (status, counted) == (403, [kind])
        assert re.fullmatch(r"[^\n]+\n", reason)
        assert await client.to(push()) == [204]
    assert len(emit.messages) == 1


async def test_another_body_than_the_signed_one_gets_403() -> None:
    """The signature covers the body only through Content-md5 (PROTOCOL 2.2)."""
    emit, counted = Recorder(), list[str]()
    async with receiving(emit, counted) as client:
        assert await client.to(push().replace(b"status=0", b"status=4")) == [403]
    assert (emit.messages, counted) == ([], ["body_mismatch"])


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"no form at all"])
async def test_what_nobody_can_decode_is_taken_if_it_is_signed(body: bytes) -> None:
    emit = Recorder()
    async with receiving(emit) as client:
        assert await client.to(push(body)) == [204]
    assert emit.messages[0].body == body


async def test_content_md5_is_taken_in_every_encoding_in_use() -> None:
    digest = md5(BODY)
    claims = [digest.hexdigest(), b64encode(digest.hexdigest().encode()).decode(), b64encode(digest.digest()).decode()]
    async with receiving(Recorder()) as client:
        assert await client.to(*[push(headers={"content-md5": claim}) for claim in claims]) == [204] * 3


async def test_the_signature_is_checked_over_the_raw_target() -> None:
    emit = Recorder()
    async with receiving(emit, path=Secret("/a b/secret".replace(" ", "%20"))) as client:
        assert await client.to(push(target="/a%20b/secret?x=%41&y")) == [204]
        assert await client.to(push(target="/a%20b/se%63ret")) == [204]
        assert await client.to(push(target="/a%20b/secret?x=1").replace(b"x=1", b"x=2")) == [403]
        assert await client.to(push(target="/a%20b/secre")) == [404]
        assert await client.to(push(target="/a%20b/secret").replace(b"POST", b"PUT")) == [405]
    assert len(emit.messages) == 2


async def test_retry_is_answered_503_and_says_when() -> None:
    emit = Recorder(Retry("the disk is full", 2.5), Retry("again"))
    async with receiving(emit) as client:
        client.writer.write(push())
        status, headers, reason = await client.next()
        assert (status, headers["retry-after"], reason) == (503, "3", "the disk is full\n")
        client.writer.write(push())
        assert (await client.next())[1]["retry-after"] == "1"
        assert await client.to(push()) == [204]
    assert len(emit.messages) == 1


async def test_nothing_is_answered_before_it_is_safe() -> None:
    emit = Recorder()
    emit.open = anyio.Event()
    async with receiving(emit) as client:
        client.writer.write(push())
        with anyio.move_on_after(0.1) as waited:
            await client.next()
        assert waited.cancelled_caught
        emit.open.set()
        assert (await client.next())[0] == 204


async def test_what_waits_is_handed_in_as_one_batch() -> None:
    emit = Recorder()
    async with receiving(emit) as client:
        assert await client.to(*[push()] * 20) == [204] * 20
    assert len(emit.batches) < 10


@pytest.mark.parametrize(
    ("topics", "status"),
    [
        (("acs:mns:cn-hangzhou:*:topics/dm-*",), 204),
        (("acs:mns:*:1234567890123456:topics/dm-topic",), 204),
        (("acs:mns:*:*:topics/other", "acs:mns:*:12345*:topics/*"), 204),
        (("acs:mns:*:*:topics/other",), 403),
        (("acs:mns:*:999:topics/dm-topic",), 403),
    ],
)
@pytest.mark.parametrize("vector", PUSHES, ids=lambda vector: vector["format"])
async def test_only_wanted_topics_are_taken(vector: dict[str, Any], topics: tuple[str, ...], status: int) -> None:
    counted: list[str] = []
    async with receiving(Recorder(), counted, max_age=0, topics=topics) as client:
        assert await client.to(request(vector["body"].encode(), vector["headers"])) == [status]
    assert counted == ([] if status == 204 else ["wrong_topic"])


async def test_unsigned_pushes_are_taken_only_where_that_is_allowed() -> None:
    emit, counted = Recorder(), list[str]()
    async with receiving(emit, counted) as client:
        assert await client.to(request(BODY, {})) == [403]
    assert counted == ["stale"]
    async with receiving(emit, verify=False) as client:
        assert await client.to(request(BODY, {})) == [204]
    assert emit.messages[0].attributes == {}


async def test_a_certificate_is_fetched_once_and_holds_up_nobody_else() -> None:
    emit = Recorder()
    async with certificate_host() as host:
        fields = {"certificate": None, "certificate_urls": (host.prefix,)}
        serving = source(**fields).serving(emit, lambda _: None)
        async with serving as (_, port), connected(port) as one, connected(port) as other:
            assert await one.to(push(url=host.prefix + "old.pem")) == [204]
            host.open = anyio.Event()
            one.writer.write(push(url=host.prefix + "new.pem") * 3)
            assert await other.to(*[push(url=host.prefix + "old.pem")] * 3) == [204] * 3
            host.open.set()
            assert [(await one.next())[0] for _ in range(3)] == [204] * 3
        assert host.asked == ["/certificates/old.pem", "/certificates/new.pem"]


async def test_a_certificate_that_cannot_be_fetched_is_503_and_not_asked_for_at_once_again() -> None:
    counted: list[str] = []
    async with certificate_host() as host:
        host.status = 404
        fields = {"certificate": None, "certificate_urls": (host.prefix,)}
        async with receiving(Recorder(), counted, **fields) as client:
            assert await client.to(*[push(url=host.prefix + "a.pem")] * 2) == [503, 503]
            assert await client.to(push(url=host.prefix + "a.pem")) == [503]
        assert len(host.asked) == 1
    assert counted == ["no_certificate"] * 3


@pytest.mark.parametrize("url", ["https://mnstest.oss-cn-hangzhou.aliyuncs.com.evil.example/a.pem", "", URL + "?x"])
async def test_a_certificate_from_elsewhere_is_403_and_never_fetched(url: str) -> None:
    counted: list[str] = []
    async with receiving(Recorder(), counted, certificate=None, certificate_urls=DOCUMENTED_URLS) as client:
        assert await client.to(push(url=url)) == [403]
    assert counted == ["wrong_certificate_url"]


async def test_cancelled_it_answers_what_it_has_and_stops() -> None:
    emit = Recorder()
    emit.open = anyio.Event()
    stopped = anyio.Event()
    ports: list[int] = []

    async def run() -> None:
        async with source().serving(emit, lambda _: None) as (_, port):
            ports.append(port)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        async with connected(ports[0]) as client:
            client.writer.write(push() * 2)
            await anyio.sleep(0.05)
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                emit.open.set()
                assert (await client.next())[0] == 204
                status, headers, _ = await client.next()
                assert (status, headers["connection"]) == (204, "close")
                stopped.set()
    assert stopped.is_set()
    assert len(emit.messages) == 2


async def test_an_error_of_the_engine_is_never_answered_204() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        async with receiving(Recorder(RuntimeError("broken"))) as client:
            await client.to(push())
    assert caught.group_contains(RuntimeError, match="broken")


async def test_run_says_when_it_is_ready() -> None:
    ready = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source().run, Recorder(), ready.set, lambda _: None)
        with anyio.fail_after(5):
            await ready.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("listen", "8080"),
        ("listen", "127.0.0.1:99999"),
        ("path", "notifications"),
        ("certificate_urls", ("https://mns-cert.oss-cn-{regoin}.aliyuncs.com/",)),
        ("topics", ("acs:mns:cn-hangzhou:*:topics/dm-{region}",)),
        ("path", "/n?secret=1"),
        ("topics", ("dm-*",)),
        ("certificate_urls", ("mnstest.oss-cn-hangzhou.aliyuncs.com",)),
        ("certificate_urls", ("https://user@host/",)),
        ("certificate_urls", ("https://host",)),
        ("certificate", PemFile.read(Path(__file__))),
        ("tls.certificate", Tls(certificate=PemFile.read(Path(__file__)), key=PemFile.read(Path(__file__)))),
        ("tls.key", Tls(certificate=CERTIFICATE, key=CERTIFICATE)),
        ("max_body", 0),
        ("idle_timeout", 0.0),
    ],
)
def test_a_bad_value_is_refused_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        source(**{field.partition(".")[0]: value}).check()
    assert caught.value.place == field


def test_its_yaml_is_its_fields() -> None:
    msgspec.convert({"listen": "[::1]:0", "path": Secret("/x"), "topics": ["acs:mns:*:*:topics/*"]}, MnsPush).check()
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"listen": "127.0.0.1:0", "topic": []}, MnsPush)


def test_the_secret_in_the_path_is_not_shown() -> None:
    assert "hush" not in repr(source(path=Secret("/hush")))


@pytest.mark.parametrize(
    ("path", "warns"),
    [
        ("/notifications", True),
        ("/notifications/cn-hangzhou-production", True),
        ("/notifications/3f9a1c52b7e04d68", False),
        ("/notifications/Zk3vQ9xT-r7Lw2YbA/x", False),
    ],
)
async def test_a_secret_in_the_path_is_missed_only_where_there_is_none(path: str, *, warns: bool) -> None:
    source, words = MnsPush(listen="127.0.0.1:0", path=Secret(path)), list[str]()

    async def emit(messages: object) -> None:
        raise AssertionError(messages)

    with capture_logs() as logs:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.run, emit, tasks.cancel_scope.cancel, words.append)
    assert any("put a secret into `path`" in log["event"] for log in logs) is warns

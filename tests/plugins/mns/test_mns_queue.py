"""The source `mns_queue`: messages are deleted when they are safe, and only then; no trouble stops it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import anyio
import msgspec
import pytest
from aiohttp import web
from servers.mns_pushes import Recorder
from servers.mns_queue_service import KEY, QueueService, document, error, queue_service

from router import ConfigError, Retry, Secret
from router_plugins.mns.queue import MnsQueue

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def source(endpoint: str, **fields: Any) -> MnsQueue:
    every: dict[str, Any] = {
        "endpoint": endpoint,
        "queue": "q",
        "access_key_id": KEY[0],
        "access_key_secret": Secret(KEY[1]),
        "wait_seconds": 1,
        "pause": 0.05,
        "slow_retry": 0.05,
        **fields,
    }
    return MnsQueue(**every)


async def until(condition: Callable[[], Any]) -> None:
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.002)


@asynccontextmanager
async def polling(emit: Recorder, counted: list[str] | None = None, **fields: Any) -> AsyncGenerator[QueueService]:
    counts = [] if counted is None else counted
    async with queue_service() as service, anyio.create_task_group() as tasks:
        ready = anyio.Event()
        tasks.start_soon(source(service.endpoint, **fields).run, emit, ready.set, counts.append)
        with anyio.fail_after(5):
            await ready.wait()
        yield service
        tasks.cancel_scope.cancel()


async def test_messages_are_handed_in_as_they_are_and_then_deleted() -> None:
    emit = Recorder()
    async with polling(emit) as service:
        service.put("env_id=1&err_msg=é<&>", "b")
        await until(lambda: len(service.deleted) == 2)
    assert [bytes(message.body) for message in emit.messages] == ["env_id=1&err_msg=é<&>".encode(), b"b"]
    assert emit.messages[0].attributes == {"message_id": "ID0", "queue": "q", "dequeue_count": "2"}


async def test_nothing_is_deleted_before_it_is_safe() -> None:
    emit = Recorder()
    emit.open = anyio.Event()
    async with polling(emit) as service:
        service.put("a")
        await until(lambda: service.hidden)
        await anyio.sleep(0.05)
        assert not any(request.startswith("DELETE") for request in service.requests)
        emit.open.set()
        await until(lambda: service.deleted)


async def test_a_backlog_is_taken_in_batches_of_16_by_several_pollers() -> None:
    emit = Recorder()
    async with polling(emit, pollers=3) as service:
        service.put(*[str(number) for number in range(160)])
        await until(lambda: len(service.deleted) == 160)
    assert max(len(batch) for batch in emit.batches) == 16
    assert sorted(int(bytes(message.body)) for message in emit.messages) == list(range(160))


async def test_an_empty_queue_is_polled_by_one_and_a_backlog_by_all() -> None:
    emit = Recorder()
    async with polling(emit, pollers=5, wait_seconds=1) as service:
        await until(lambda: len(service.requests) == 1)
        await anyio.sleep(0.2)
        assert len(service.requests) == 1
        emit.open = anyio.Event()
        emit.called = anyio.Event()
        service.put(*[str(number) for number in range(160)])
        await until(lambda: len(service.hidden) == 5 * 16)  # each has a batch that is being stored
        emit.open.set()
        await until(lambda: len(service.deleted) == 160)
        await anyio.sleep(1.5)  # the polls that were under way end
        asked = len(service.requests)
        await anyio.sleep(1.5)
        assert len(service.requests) - asked <= 3


async def test_what_could_not_be_stored_is_not_deleted_and_comes_again() -> None:
    emit, counted = Recorder(Retry("the disk is full", 0.01)), list[str]()
    async with polling(emit, counted) as service:
        service.put("a")
        await until(lambda: counted == ["unavailable"])
        assert service.deleted == []
        service.reappear()
        await until(lambda: service.deleted == ["a"])


async def test_after_retry_it_waits_as_long_as_it_was_told() -> None:
    emit = Recorder(Retry("the disk is full", 0.3))
    async with polling(emit, pollers=1) as service:
        service.put("a")
        await emit.called.wait()
        await anyio.sleep(0.15)
        assert len(service.requests) == 1
        await until(lambda: len(service.requests) == 2)


async def test_an_early_empty_answer_makes_it_pause() -> None:
    """Above the limit of long polls the service answers at once; asking again at once would be a storm."""
    counted: list[str] = []
    async with polling(Recorder(), counted, pollers=1, pause=0.1) as service:
        service.early = True
        service.arrived.set()
        await anyio.sleep(0.35)
        assert 2 <= len(service.requests) <= 5
    assert set(counted) == {"early_empty"}


async def test_an_answer_after_the_full_poll_is_followed_at_once() -> None:
    counted: list[str] = []
    async with polling(Recorder(), counted, pollers=1, pause=30.0) as service:
        await until(lambda: len(service.requests) == 2)
    assert counted == []


async def test_an_answer_a_little_before_the_full_poll_is_followed_at_once_too() -> None:
    """The real service does not wait quite as long as it is asked to."""
    counted: list[str] = []
    async with polling(Recorder(), counted, pollers=1, wait_seconds=1, pause=30.0) as service:
        service.part = 0.6
        await until(lambda: len(service.requests) == 2)
        asked = monotonic()
        await until(lambda: len(service.requests) == 3)
        assert monotonic() - asked < 0.85
    assert counted == []


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda _: error(404, "QueueNotExist"), "refused"),
        (lambda _: error(403, "AccessDenied"), "refused"),
        (lambda _: web.Response(text="no xml"), "unreadable"),
        (lambda _: document(200, "Messages", "<Message><MessageId>1</MessageId></Message>"), "unreadable"),
    ],
)
async def test_a_refusing_service_is_counted_and_asked_again_slowly(fault: Any, kind: str) -> None:
    emit, counted = Recorder(), list[str]()
    async with polling(emit, counted, pollers=1) as service:
        service.faults = [fault] * 2
        service.put("a")
        await until(lambda: service.deleted)
        assert len(service.requests) <= 6
    assert kind in counted
    assert len(emit.messages) == 1


async def test_an_expired_handle_is_counted_and_nothing_else() -> None:
    emit, counted = Recorder(), list[str]()
    emit.open = anyio.Event()
    async with polling(emit, counted) as service:
        service.put("a", "b")
        await until(lambda: len(service.hidden) == 2)
        service.hidden.pop(next(iter(service.hidden)))
        emit.open.set()
        await until(lambda: counted == ["lost_lease"])
        assert service.deleted == ["b"]
        service.put("c")
        await until(lambda: service.deleted == ["b", "c"])


async def test_a_failed_delete_is_counted_and_does_not_stop_it() -> None:
    emit, counted = Recorder(), list[str]()
    async with polling(emit, counted, pollers=1) as service:
        service.faults = [None, lambda _: error(403, "AccessDenied")]
        service.put("a")
        await until(lambda: counted == ["delete_failed"])
        service.reappear()
        await until(lambda: service.deleted == ["a"])


async def test_cancelled_it_deletes_what_is_safe_and_stops() -> None:
    emit = Recorder()
    emit.open = anyio.Event()
    async with queue_service() as service:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source(service.endpoint).run, emit, lambda: None, lambda _: None)
            service.put("a")
            await emit.called.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                emit.open.set()
        assert service.deleted == ["a"]


async def test_an_error_of_the_engine_is_not_taken_for_success() -> None:
    deleted = ["unknown"]

    async def poll() -> None:
        nonlocal deleted
        async with polling(Recorder(RuntimeError("broken"))) as service:
            deleted = service.deleted
            service.put("a")
            await anyio.sleep(5)

    with pytest.raises(ExceptionGroup) as caught:
        await poll()
    assert caught.group_contains(RuntimeError, match="broken")
    assert deleted == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoint", "123.mns.cn-hangzhou.aliyuncs.com"),
        ("endpoint", "https://host/queues"),
        ("queue", ""),
        ("queue", "a/b"),
        ("pause", 0.0),
    ],
)
def test_a_bad_value_of_a_queue_is_refused_with_its_field(field: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        msgspec.structs.replace(source("https://123.mns.cn-hangzhou.aliyuncs.com"), **{field: value}).check()
    assert caught.value.place == field


def test_the_secret_of_the_key_is_not_shown() -> None:
    assert KEY[1] not in repr(source("http://127.0.0.1"))


async def test_after_a_batch_that_cannot_be_read_messages_come_one_by_one() -> None:
    emit, counted = Recorder(), list[str]()
    async with polling(emit, counted, pollers=1) as service:
        service.faults = [lambda _: web.Response(text="<Messages><Message>\x01")]
        service.put("a", "b")
        await until(lambda: len(service.deleted) == 2)
    assert [len(batch) for batch in emit.batches] == [1, 1]
    assert counted == ["unreadable"]


@pytest.mark.parametrize("body", ["<Notification><Message>a</Message></Notification>", "a<b/>"])
async def test_a_message_that_is_no_text_stays_in_the_queue_and_holds_up_no_others(body: str) -> None:
    emit, counted = Recorder(), list[str]()
    async with polling(emit, counted, pollers=1) as service:
        service.unescaped = body
        service.put("a", body, "b")
        await until(lambda: counted == ["unreadable"])
        assert emit.messages == []
        service.reappear()
        await until(lambda: len(service.deleted) == 2 and counted.count("unreadable") == 2)
    assert sorted(bytes(message.body) for message in emit.messages) == [b"a", b"b"]
    assert list(service.hidden.values()) == [body]


async def test_many_messages_that_cannot_be_read_keep_nobody_waiting_who_is_behind_them() -> None:
    """Or they would be there again before it is their turn."""
    body = "a<b/>"
    counted = list[str]()
    async with polling(Recorder(), counted, pollers=1, pause=30.0, slow_retry=30.0) as service:
        service.unescaped = body
        service.put(*[body] * 12, "b")
        await until(lambda: counted == ["unreadable"])
        service.reappear()
        await until(lambda: len(service.deleted) == 1)
    assert counted == ["unreadable"] * 13


async def test_a_message_with_characters_that_xml_cannot_have_is_stored_byte_for_byte_with_the_others() -> None:
    emit, counted = Recorder(), list[str]()
    async with polling(emit, counted) as service:
        service.put("a", "550 \x07 no such user", "b")
        await until(lambda: len(service.deleted) == 3)
    assert [bytes(message.body) for message in emit.messages] == [b"a", b"550 \x07 no such user", b"b"]
    assert counted == []


async def test_the_next_batch_is_received_while_the_last_is_deleted() -> None:
    emit = Recorder()
    async with polling(emit, pollers=1, batch=1) as service:
        service.faults = [None, lambda _: error(500, "InternalError")]
        service.put("a", "b", "c")
        await until(lambda: len(service.deleted) == 3)
    assert [request.split()[0] for request in service.requests[:3]].count("GET") >= 2

"""Faults to order: each makes happen what it says, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from time import monotonic
from typing import Any

import anyio
import pytest
from mns.account import Account
from mns.mns_exception import MNSClientNetworkException, MNSServerException
from mns.queue import Message
from servers.push_endpoint import endpoint

from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.faults import Faults, happens

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),  # the SDK calls its own
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(rule_delay=0).serve() as running:
        running.create_queue("q")
        running.create_topic("t")
        yield running


@pytest.fixture
async def queue(service: Service) -> AsyncGenerator[Any]:
    account = Account(service.url, "testAccessKeyId", "testAccessKeySecret")
    queue = account.get_queue("q")
    queue.set_encoding(False)
    yield queue
    account.mns_client.close_connection()


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    return await anyio.to_thread.run_sync(partial(function, *arguments))


def put(service: Service, *bodies: str) -> None:
    for body in bodies:
        service.account.send(service.account.queue("q"), body)


async def test_errors_are_answered_500_and_nothing_is_carried_out(service: Service, queue: Any) -> None:
    service.faults = Faults(errors=1)
    with pytest.raises(MNSServerException) as caught:
        await call(queue.send_message, Message("x"))
    assert caught.value.type == "InternalError"
    assert service.account.queue("q").counts().active == 0
    service.faults = Faults()
    await call(queue.send_message, Message("x"))
    assert service.account.queue("q").counts().active == 1


async def test_a_lost_answer_was_carried_out(service: Service, queue: Any) -> None:
    service.faults = Faults(lost_answers=1)
    with pytest.raises(MNSClientNetworkException):
        await call(queue.send_message, Message("x"))
    assert service.account.queue("q").counts().active >= 1  # the SDK itself tries again when a connection ends


async def test_slow_delays_every_answer(service: Service, queue: Any) -> None:
    put(service, "x")
    service.faults = Faults(slow=0.2)
    started = monotonic()
    assert (await call(queue.receive_message)).message_body == "x"
    assert 0.2 <= monotonic() - started < 2


async def test_an_expired_handle_deletes_nothing_and_its_message_comes_again(service: Service, queue: Any) -> None:
    put(service, "x")
    got = await call(queue.receive_message)
    service.faults = Faults(expired_handles=1)
    with pytest.raises(MNSServerException) as caught:
        await call(queue.delete_message, got.receipt_handle)
    assert caught.value.type == "MessageNotExist"
    service.faults = Faults()
    again = await call(queue.receive_message)
    assert (again.message_id, again.dequeue_count) == (got.message_id, 2)


async def test_in_a_batch_each_expired_handle_is_named(service: Service, queue: Any) -> None:
    put(service, "a", "b")
    got = await call(queue.batch_receive_message, 16)
    service.faults = Faults(expired_handles=1)
    with pytest.raises(MNSServerException) as caught:
        await call(queue.batch_delete_message, [m.receipt_handle for m in got])
    assert [e["ErrorCode"] for e in caught.value.sub_errors] == ["MessageNotExist"] * 2


async def test_a_skewed_clock_refuses_clients_and_dates_messages(service: Service, queue: Any) -> None:
    put(service, "before")
    service.faults = Faults(clock_skew=1200)
    put(service, "after")
    with pytest.raises(MNSServerException) as caught:
        await call(queue.receive_message)
    assert caught.value.type == "TimeExpired"
    before, after = service.account.queue("q").peek(2)
    assert 1200 <= after.message.enqueued - before.message.enqueued < 1205


async def test_duplicates_of_a_queue_have_the_same_id_and_each_must_be_deleted(service: Service, queue: Any) -> None:
    service.faults = Faults(duplicates=1)
    await call(queue.send_message, Message("x"))
    service.faults = Faults()
    got = await call(queue.batch_receive_message, 16)
    assert len({m.message_id for m in got}) == 1
    assert len({m.receipt_handle for m in got}) == 2
    await call(queue.batch_delete_message, [m.receipt_handle for m in got])
    with pytest.raises(MNSServerException, match="MessageNotExist"):
        await call(queue.receive_message)


async def test_reordering_lets_messages_of_a_queue_overtake_others_and_loses_none(service: Service) -> None:
    service.faults = Faults(reordering=0.5)
    sent = [str(number) for number in range(300)]
    put(service, *sent)
    got = [lease.message.body for lease in service.account.queue("q").receive(1000)]
    assert got != sent
    assert sorted(got) == sorted(sent)
    assert max(abs(place - int(body)) for place, body in enumerate(got)) <= 100


async def test_reordering_lets_pushes_overtake_others_and_loses_none(service: Service) -> None:
    service.faults = Faults(reordering=0.5)
    sent = [str(number).encode() for number in range(40)]
    async with endpoint() as there:
        service.subscribe("t", "s", there.url)
        for body in sent:
            service.publish("t", body.decode())
        got = [pushed.body for pushed in await there.wait(40)]
    assert got != sent
    assert sorted(got) == sorted(sent)


def test_a_share_of_one_always_happens_and_of_none_never() -> None:
    class Low:
        def random(self) -> float:
            return 0.0

    assert not happens(0, Low())  # type: ignore[arg-type]
    assert happens(0.01, Low())  # type: ignore[arg-type]

"""A topic that does not confirm, as one without a leader, holds up no other; what it has is not sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiokafka.errors import TopicAuthorizationFailedError

from router import Batch, Deliver, Partial, Reject, Retry
from router.testing import make_event
from router_plugins.kafka import session as kafka_session
from router_plugins.kafka import sink as kafka_sink
from router_plugins.kafka.sink import Kafka

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Records(list[str]):
    """A batch of ids, five at most."""

    def append(self, *, headers: Any, **_: Any) -> Any:  # type: ignore[override]
        if len(self) == 5:
            return None
        super().append(dict(headers)["id"].decode())
        return True


class Brokers:
    """A producer, its client and its cluster in one: topics of one partition, some of which do not confirm."""

    def __init__(self) -> None:
        self.client = self.cluster = self
        self.there = {"good", "other", "stuck"}
        self.asked: set[str] = set()
        self.answers = True
        self.updates = 0
        self.producers = 0
        self.held: dict[str, list[tuple[asyncio.Future[object], Records]]] = {}
        self.forbidden: set[str] = set()
        self.stored: list[tuple[str, str]] = []

    @asynccontextmanager
    async def producing(self, _: Any, __: Any) -> AsyncGenerator[Any]:
        self.producers += 1
        yield self

    def topics(self) -> set[str]:
        return self.there & self.asked

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return {0} if topic in self.topics() else None

    def add_topic(self, topic: str) -> None:
        self.asked.add(topic)

    def set_topics(self, topics: set[str]) -> None:
        self.asked = set(topics)

    async def force_metadata_update(self) -> bool:
        self.updates += 1
        await asyncio.sleep(0)
        return self.answers

    def create_batch(self) -> Records:
        return Records()

    async def send_batch(self, batch: Records, topic: str, *, partition: int) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if topic in self.forbidden:
            future.set_exception(TopicAuthorizationFailedError(topic))
        elif topic in self.held:
            self.held[topic].append((future, batch))
        else:
            self.confirm(topic, future, batch)
        return future

    def confirm(self, topic: str, future: asyncio.Future[object], batch: Records) -> None:
        self.stored += [(topic, name) for name in batch]
        future.set_result(None)

    def release(self, topic: str) -> None:
        for future, batch in self.held.pop(topic):
            self.confirm(topic, future, batch)


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    made = Brokers()
    monkeypatch.setattr(kafka_session, "producing", made.producing)
    monkeypatch.setattr(kafka_sink, "STRAGGLERS", 0.05)
    return made


@asynccontextmanager
async def opened(patience: float = 30.0) -> AsyncGenerator[Deliver]:
    async with Kafka(servers=["x:1"], topic="{topic}", key="topic", request_timeout=patience).open() as deliver:
        yield deliver


async def outcomes(deliver: Deliver, batch: Batch) -> Sequence[Retry | Reject | None]:
    try:
        await deliver(batch)
    except Retry as error:
        return [error] * len(batch)
    except Partial as error:
        return [error.errors.get(index) for index in range(len(batch))]
    return [None] * len(batch)


def some(number: int, *topics: str) -> Batch:
    return [make_event(topic=topic, number=str(number)) for topic in topics]


async def test_one_that_does_not_confirm_costs_the_others_no_request_s_timeout_and_has_its_events_once(
    brokers: Brokers,
) -> None:
    brokers.held["stuck"] = []
    batches = [some(number, "good", "stuck", "other") for number in range(20)]
    async with opened() as deliver:
        with anyio.fail_after(15):  # a request's timeout is 30 s
            for batch in batches:
                good, stuck, other = await outcomes(deliver, batch)
                assert (good, other) == (None, None)
                assert "stuck/0 has not confirmed" in str(stuck) or "did not confirm in time" in str(stuck)
        brokers.release("stuck")
        left = [batch[1] for batch in batches]
        assert await outcomes(deliver, left) == [None] * len(left)
    expected = [(event.get("topic"), event.id) for batch in batches for event in batch]
    assert sorted(brokers.stored) == sorted(expected)


async def test_where_nothing_confirms_a_request_has_all_of_its_time(brokers: Brokers) -> None:
    brokers.held = {"good": [], "stuck": []}
    async with opened(patience=0.2) as deliver, anyio.create_task_group() as tasks:
        started = anyio.current_time()
        tasks.start_soon(_later, 1.0, brokers)
        assert await outcomes(deliver, some(1, "good", "stuck")) == [None, None]
        assert anyio.current_time() - started >= 0.9


async def _later(seconds: float, brokers: Brokers) -> None:
    await anyio.sleep(seconds)
    for topic in list(brokers.held):
        brokers.release(topic)


async def test_many_records_have_time_for_as_long_as_some_arrive(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch takes most of what stragglers have, and there are many of them."""

    async def slow(batch: Records, topic: str, *, partition: int) -> asyncio.Future[object]:
        await asyncio.sleep(0.02 if topic == "other" else 0)
        return await original(batch, topic, partition=partition)

    original = brokers.send_batch
    monkeypatch.setattr(brokers, "send_batch", slow)
    monkeypatch.setattr(kafka_sink, "STRAGGLERS", 0.2)
    batch = [*some(1, "good"), *(make_event(topic="other", number=str(number)) for number in range(100))]
    async with opened() as deliver:
        assert await outcomes(deliver, batch) == [None] * 101


async def test_a_missing_topic_is_asked_for_seldom_and_never_waited_for(brokers: Brokers) -> None:
    async with opened() as deliver:
        for number in range(200):
            good, missing = await outcomes(deliver, some(number, "good", "none"))
            assert good is None
            assert "there is no topic none" in str(missing)
    assert brokers.updates <= 8
    assert brokers.asked == {"good"}
    assert brokers.producers == 1


async def test_a_topic_of_which_no_broker_speaks_is_not_remembered_as_missing(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_plugins.kafka.topics.FIND", 0.1)
    brokers.answers = False
    brokers.there.clear()
    async with opened() as deliver:
        [error] = await outcomes(deliver, some(1, "good"))
        assert "no broker says where the topic good is" in str(error)
        brokers.answers = True
        brokers.there.add("good")
        assert await outcomes(deliver, some(1, "good")) == [None]


async def test_a_topic_that_may_not_be_written_replaces_the_producer_seldom(brokers: Brokers) -> None:
    brokers.forbidden.add("stuck")
    async with opened() as deliver:
        for number in range(100):
            good, forbidden = await outcomes(deliver, some(number, "good", "stuck"))
            assert good is None
            assert isinstance(forbidden, Retry)
        assert "may not write to the topic stuck" in str(forbidden)
    assert brokers.producers <= 3
    assert len(brokers.stored) == 100

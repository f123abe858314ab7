"""One topic of a template that is missing, gone or stuck is the affair of its own events, and of no other."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from anyio import to_thread
from servers.daemon import post, running
from servers.kafka_broker import Broker

from router import Batch, Deliver, Partial, Reject, Retry
from router.testing import make_event
from router_plugins.kafka import sink as kafka_sink
from router_plugins.kafka.producer import Settings, make_producer
from router_plugins.kafka.sink import Kafka

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="aiokafka")


@asynccontextmanager
async def admin_of(broker: Broker) -> AsyncGenerator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create(broker: Broker, name: str) -> None:
    async with admin_of(broker) as admin:
        with anyio.fail_after(30):
            while (await admin.create_topics([NewTopic(name, 4, 1)])).topic_errors[0][1] not in {0, 36}:
                await anyio.sleep(0.1)
            while not all(
                part["leader"] >= 0
                for part in (await admin.describe_topics([name]))[0]["partitions"] or [{"leader": -1}]
            ):
                await anyio.sleep(0.05)


async def ids_in(broker: Broker, name: str) -> list[str]:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(name, number) for number in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[str] = []
        with anyio.fail_after(20):
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [dict(record.headers)["id"].decode() for record in records]
        return found
    finally:
        await consumer.stop()


async def outcomes(deliver: Deliver, batch: Batch) -> Sequence[Retry | Reject | None]:
    """Deliver once; return what became of each."""
    try:
        await deliver(batch)
    except Retry as error:
        return [error] * len(batch)
    except Partial as error:
        return [error.errors.get(index) for index in range(len(batch))]
    return [None] * len(batch)


def both(number: str, other: str, count: int) -> Batch:
    return [make_event(number=number, text=str(count)), make_event(number=other, text=str(count))]


async def test_a_missing_topic_costs_the_others_no_time(broker: Broker, topic: str) -> None:
    number = topic.removeprefix("topic.")
    batches = [both(number, "none", count) for count in range(30)]
    async with Kafka(servers=[broker.bootstrap], topic="topic.{number}").open() as deliver:
        with anyio.fail_after(30):
            for batch in batches:
                good, bad = await outcomes(deliver, batch)
                assert good is None
                assert "there is no topic topic.none" in str(bad)
    assert sorted(await ids_in(broker, topic)) == sorted(batch[0].id for batch in batches)


async def test_a_topic_that_is_made_later_is_found_within_seconds(broker: Broker, topic: str) -> None:
    late = f"{topic}.late"
    event = make_event(number=late.removeprefix("topic."))
    async with Kafka(servers=[broker.bootstrap], topic="topic.{number}").open() as deliver:
        for _ in range(40):  # by now it is asked for seldom
            assert isinstance((await outcomes(deliver, [event]))[0], Retry)
            await anyio.sleep(0.02)
        await create(broker, late)
        with anyio.fail_after(15):
            while await outcomes(deliver, [event]) != [None]:
                await anyio.sleep(0.05)
    assert await ids_in(broker, late) == [event.id]


async def test_any_number_of_missing_topics_is_not_asked_for_for_ever(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def make(settings: Settings) -> Any:
        made.append(make_producer(settings))
        return made[-1]

    monkeypatch.setattr("router_plugins.kafka.producer.make_producer", make)
    number = topic.removeprefix("topic.")
    async with Kafka(servers=[broker.bootstrap], topic="topic.{number}").open() as deliver:
        await deliver([make_event(number=number)])
        for start in range(0, 300, 100):
            some = [make_event(number=f"none.{start + more}") for more in range(100)]
            good, *bad = await outcomes(deliver, [make_event(number=number, text=str(start)), *some])
            assert good is None
            assert all(isinstance(each, Retry) for each in bad)
        assert made[0].client._topics == {topic}


async def test_a_topic_that_is_deleted_meanwhile_holds_up_no_other(
    broker: Broker, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_sink, "STRAGGLERS", 0.3)
    gone = f"{topic}.gone"
    await create(broker, gone)
    number = topic.removeprefix("topic.")
    async with Kafka(servers=[broker.bootstrap], topic="topic.{number}", request_timeout=2.0).open() as deliver:
        assert await outcomes(deliver, both(number, gone.removeprefix("topic."), 0)) == [None, None]
        async with admin_of(broker) as admin:
            await admin.delete_topics([gone])
        with anyio.fail_after(15):
            for count in range(1, 20):
                good, bad = await outcomes(deliver, both(number, gone.removeprefix("topic."), count))
                assert good is None
                assert isinstance(bad, Retry)
    assert len(await ids_in(broker, topic)) == 20


async def test_with_a_missing_topic_in_a_daemon_all_others_arrive(broker: Broker, topic: str, tmp_path: Path) -> None:
    """As typed: 810 results, a third of them for a topic that nobody made."""
    other = f"{topic}.4"
    await create(broker, f"{topic}.0")
    await create(broker, other)
    departments = f"""
  a:
    accounts: ["*"]
    subscriptions:
      k: {{to: {{type: kafka, servers: ["{broker.bootstrap}"], topic: "{topic}.{{status}}"}}}}
"""
    answered: dict[int, int] = {}
    with running(tmp_path, departments) as daemon:
        for number in range(0, 810, 30):
            for part, status in enumerate((0, 4, 2)):
                first = number + 10 * part
                await post(daemon.url, range(first, first + 10), answered, status=status)
        assert set(answered.values()) == {204}
        with anyio.fail_after(20):
            while len({*await ids_in(broker, f"{topic}.0"), *await ids_in(broker, other)}) < 540:
                await anyio.sleep(0.2)
        await to_thread.run_sync(daemon.kill)

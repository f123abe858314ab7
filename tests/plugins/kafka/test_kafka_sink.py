"""The Kafka sink against a real broker: nothing lost, nothing twice, in order, whatever happens to the broker."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any
from zlib import crc32

import anyio
import anyio.to_thread
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from servers.kafka_broker import Broker

from router import Batch, Deliver, Partial, Reject, Retry, Secret
from router.testing import SinkSuite, make_event, make_events
from router_plugins.kafka.producer import Sasl
from router_plugins.kafka.sink import Kafka

pytestmark = [pytest.mark.anyio, pytest.mark.kafka]


async def read_back(broker: Broker, topic: str) -> list[Any]:
    """Return all records of a topic, one partition after the other, each in its order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(4)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: dict[TopicPartition, list[Any]] = defaultdict(list)
        with anyio.fail_after(20):
            while any([await consumer.position(each) < ends[each] for each in partitions]):
                for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                    found[partition] += records
        return [record for partition in partitions for record in found[partition]]
    finally:
        await consumer.stop()


def ids(records: Sequence[Any]) -> list[str]:
    return [dict(record.headers)["id"].decode() for record in records]


@contextmanager
def frozen(broker: Broker) -> Generator[None]:
    broker.freeze()
    try:
        yield
    finally:
        broker.thaw()


async def deliver_until_it_works(deliver: Deliver, batch: Batch) -> int:
    """Deliver as the engine does; return how many tries it took."""
    for tries in range(1, 1000):
        try:
            await deliver(batch)
        except Retry:
            await anyio.sleep(0.05)
        except Partial as error:
            if rejected := [each for each in error.errors.values() if isinstance(each, Reject)]:
                raise rejected[0] from error
            batch = [batch[index] for index in sorted(error.errors)]
        else:
            return tries
    raise AssertionError("never")


class OneTopic:
    """A topic with one key, so that all is in order; the broker is down when it is frozen."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self.broker = broker
        self.topic = topic
        self.sink = Kafka(servers=[broker.bootstrap], topic=topic, key="account", request_timeout=2.0)

    async def arrived(self) -> Sequence[str]:
        return ids(await read_back(self.broker, self.topic))

    async def take_down(self) -> None:
        self.broker.freeze()

    async def bring_back(self) -> None:
        self.broker.thaw()


class TestKafkaSuite(SinkSuite):
    @pytest.fixture
    async def destination(self, broker: Broker, topic: str) -> AsyncGenerator[OneTopic]:
        yield OneTopic(broker, topic)
        broker.thaw()


async def test_a_record_is_the_json_under_its_key_with_id_and_type(broker: Broker, topic: str) -> None:
    event = make_event(rcpt="bob@example.com")
    async with Kafka(servers=[broker.bootstrap], topic=topic, key="rcpt").open() as deliver:
        await deliver([event])
    (record,) = await read_back(broker, topic)
    assert record.value == event.json()
    assert record.key == b"bob@example.com"
    assert record.headers == (("id", event.id.encode()), ("type", b"Sample"))
    assert record.partition == crc32(b"bob@example.com") % 4


async def test_raw_values_are_the_bytes_as_they_came(broker: Broker, topic: str) -> None:
    async with Kafka(servers=[broker.bootstrap], topic=topic, form="raw").open() as deliver:
        await deliver([make_event(raw=b"env_id=1&\xff")])
    assert [record.value for record in await read_back(broker, topic)] == [b"env_id=1&\xff"]


async def test_the_topic_is_made_of_fields_with_harmless_characters(broker: Broker, topic: str) -> None:
    sink = Kafka(servers=[broker.bootstrap], topic="topic.{number}")
    number = topic.removeprefix("topic.")
    async with sink.open() as deliver:
        await deliver([make_event(number=number)])
    assert len(await read_back(broker, topic)) == 1


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_can_be_read_back(broker: Broker, topic: str, compression: Any) -> None:
    events = make_events(50)
    async with Kafka(servers=[broker.bootstrap], topic=topic, key="account", compression=compression).open() as deliver:
        await deliver(events)
    assert ids(await read_back(broker, topic)) == [event.id for event in events]


async def test_murmur2_puts_keys_where_java_does(broker: Broker, topic: str) -> None:
    """Values of Java's own test: murmur2("21") is -973932308, murmur2("foobar") is -790332482."""
    async with Kafka(servers=[broker.bootstrap], topic=topic, key="k", partitioner="murmur2").open() as deliver:
        await deliver([make_event(k="21"), make_event(k="foobar")])
    places = {record.key: record.partition for record in await read_back(broker, topic)}
    assert places == {b"21": (-973932308 & 0x7FFFFFFF) % 4, b"foobar": (-790332482 & 0x7FFFFFFF) % 4}


async def test_events_of_one_key_stay_in_order_over_batches_larger_than_a_request(broker: Broker, topic: str) -> None:
    events = [make_event(number=str(number), k=str(number % 7), text="x" * 1000) for number in range(1500)]
    async with Kafka(servers=[broker.bootstrap], topic=topic, key="k").open() as deliver:
        for start in range(0, len(events), 500):
            await deliver(events[start : start + 500])
    arrived = ids(await read_back(broker, topic))
    assert len(arrived) == len(events)
    for key in range(7):
        mine = [event.id for event in events if event.get("k") == str(key)]
        assert [each for each in arrived if each in set(mine)] == mine


async def test_a_broker_that_is_killed_and_comes_back_has_everything_once(broker: Broker, topic: str) -> None:
    """Tries end while the broker is away; what was under way is not sent a second time."""
    events = [make_event(number=str(number), k=str(number % 7)) for number in range(3000)]
    tries: list[int] = []

    async def stream(deliver: Deliver) -> None:
        for start in range(0, len(events), 20):
            tries.append(await deliver_until_it_works(deliver, events[start : start + 20]))  # noqa: PERF401 - a log

    async with (
        Kafka(servers=[broker.bootstrap], topic=topic, key="k", request_timeout=0.5).open() as deliver,
        anyio.create_task_group() as group,
    ):
        group.start_soon(stream, deliver)
        await anyio.sleep(0.05)
        await anyio.to_thread.run_sync(broker.stop)
        await anyio.to_thread.run_sync(broker.start)
    arrived = ids(await read_back(broker, topic))
    assert sorted(arrived) == sorted(event.id for event in events)
    assert max(tries) > 1, "the broker was never away"


async def test_a_frozen_broker_that_wakes_up_has_everything_once(broker: Broker, topic: str) -> None:
    """The request is in the broker's socket and will be executed, though its delivery was given up on."""
    events = make_events(10)
    async with Kafka(servers=[broker.bootstrap], topic=topic, request_timeout=0.4).open() as deliver:
        await deliver_until_it_works(deliver, events[:2])
        with frozen(broker), pytest.raises(Retry, match="did not confirm"):
            await deliver(events[2:])
        await deliver_until_it_works(deliver, events[2:])
    assert sorted(ids(await read_back(broker, topic))) == sorted(event.id for event in events)


async def test_what_was_confirmed_late_counts_when_it_is_delivered_again_later(broker: Broker, topic: str) -> None:
    """Other events in between do not make the sink forget what it knows, and a replay afterwards is not held back."""
    first, second = make_events(2)
    async with Kafka(servers=[broker.bootstrap], topic=topic, key="account", request_timeout=0.4).open() as deliver:
        await deliver_until_it_works(deliver, [make_event(number="warm")])
        with frozen(broker), pytest.raises(Retry):
            await deliver([first])
        for event in (second, first, first):
            await deliver_until_it_works(deliver, [event])
    assert ids(await read_back(broker, topic))[1:] == [first.id, second.id, first.id]


async def test_closing_while_the_broker_does_not_answer_takes_bounded_time(broker: Broker, topic: str) -> None:
    async with AsyncExitStack() as stack:
        deliver = await stack.enter_async_context(
            Kafka(servers=[broker.bootstrap], topic=topic, request_timeout=0.4).open()
        )
        await deliver(make_events(1))
        with frozen(broker), anyio.fail_after(5):
            with pytest.raises(Retry):
                await deliver(make_events(50, start=1))
            await stack.aclose()


@pytest.mark.parametrize(
    ("user", "password", "mechanism"), [("alice", "alice-secret", "PLAIN"), ("bob", "bob-secret", "SCRAM-SHA-512")]
)
async def test_it_logs_in(broker: Broker, topic: str, user: str, password: str, mechanism: Any) -> None:
    sasl = Sasl(username=user, password=Secret(password), mechanism=mechanism)
    async with Kafka(servers=[broker.sasl], topic=topic, sasl=sasl).open() as deliver:
        await deliver(make_events(1))
    assert len(await read_back(broker, topic)) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_password_is_named_and_not_shown(broker: Broker, topic: str, mechanism: Any) -> None:
    sasl = Sasl(username="bob", password=Secret("hunter2-wrong"), mechanism=mechanism)
    sink = Kafka(servers=[broker.sasl], topic=topic, sasl=sasl)
    async with sink.open() as deliver:
        with pytest.raises(Retry, match=r"(?i)authentication") as caught:
            await deliver(make_events(1))
    assert "hunter2" not in f"{caught.value!r} {caught.value} {sink!r}"


async def test_an_unknown_topic_holds_up_no_other(broker: Broker, topic: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="aiokafka")
    number = topic.removeprefix("topic.")
    sink = Kafka(servers=[broker.bootstrap], topic="topic.{number}", request_timeout=0.7)
    async with sink.open() as deliver:
        with pytest.raises(Partial) as caught:
            await deliver([make_event(number="none"), make_event(number=number)])
    assert {index: str(error) for index, error in caught.value.errors.items()} == {
        0: "there is no topic topic.none, or this user may not see it"
    }
    assert len(await read_back(broker, topic)) == 1


async def test_a_record_over_the_limit_is_refused_alone(broker: Broker, topic: str) -> None:
    async with Kafka(servers=[broker.bootstrap], topic=topic).open() as deliver:
        with pytest.raises(Partial) as caught:
            await deliver([make_event(number="1"), make_event(text="x" * 1024 * 1024), make_event(number="2")])
    assert {index: type(error) for index, error in caught.value.errors.items()} == {1: Reject}
    assert len(await read_back(broker, topic)) == 2


async def test_a_record_over_the_topics_own_limit_is_refused_alone(broker: Broker, topic: str) -> None:
    """The broker refuses the whole batch, and the producer of it is of no more use: all that is dealt with inside."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        limit = ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": "5000"})
        await admin.alter_configs([limit])
    finally:
        await admin.close()
    batch: list[Any] = [make_event(number=str(number)) for number in range(20)]
    batch[7] = make_event(text="x" * 9000)
    rejected: list[Any] = []
    async with Kafka(servers=[broker.bootstrap], topic=topic, key="account").open() as deliver:
        rest = list(batch)
        for _ in range(10):
            try:
                await deliver(rest)
                break
            except Retry:
                continue
            except Partial as error:
                rejected += [rest[index] for index, each in error.errors.items() if isinstance(each, Reject)]
                rest = [rest[index] for index, each in sorted(error.errors.items()) if isinstance(each, Retry)]
    assert rejected == [batch[7]]
    assert ids(await read_back(broker, topic)) == [event.id for event in batch if event is not batch[7]]

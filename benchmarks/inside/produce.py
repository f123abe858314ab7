"""Produce results to Kafka and say what each cost: `python produce.py HOW SERVER TOPIC COUNT`.

HOW is `sink`, the router's own; `send`, aiokafka's `send()` for each record and one wait for a thousand of them; or
`batches`, nothing but `append()` and `send_batch()`, for records that were made before. The records and their
partitions are the same. Prints the seconds, and those of CPU; the events are made before.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, NamedTuple
from zlib import crc32

import aiokafka
import uvloop

from router.event import Event, Message
from router.intake import event_of
from router_plugins.directmail.decoder import DirectMail
from router_plugins.kafka.sink import Kafka

AT_ONCE = 1000
PARTITIONS = 6


def events(count: int) -> list[Event]:
    decoder, lines = DirectMail(), (line.rstrip(b"\n") for line in sys.stdin.buffer)
    return [event_of(decoder, Message(line, time.time()), "push") for line in islice(lines, count)]


def producer(server: str, linger_ms: int) -> Any:
    made: Any = aiokafka.AIOKafkaProducer(
        bootstrap_servers=server, enable_idempotence=True, max_batch_size=128 * 1024, linger_ms=linger_ms
    )
    return made


@asynccontextmanager
async def sending(server: str, topic: str) -> Any:
    """Yield what sends a batch record by record."""
    made = producer(server, 5)

    async def send(batch: Sequence[Event]) -> None:
        waits: list[Awaitable[Any]] = []
        for event in batch:
            key = event.get("rcpt").encode()
            headers = [("id", event.id.encode()), ("type", event.type.encode())]
            number = crc32(key) % PARTITIONS
            waits.append(await made.send(topic, event.json(), key, partition=number, headers=headers))
        await asyncio.gather(*waits)

    async with made:
        yield send


class Row(NamedTuple):
    """A record as Kafka takes it, and its partition."""

    partition: int
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


def row(event: Event) -> Row:
    key = event.get("rcpt").encode()
    headers = [("id", event.id.encode()), ("type", event.type.encode())]
    return Row(crc32(key) % PARTITIONS, key, event.json(), headers)


@asynccontextmanager
async def in_batches(server: str, topic: str) -> Any:
    """Yield what sends rows with one batch for each partition."""
    made = producer(server, 0)

    async def send(rows: Sequence[Row]) -> None:
        builders = [made.create_batch() for _ in range(PARTITIONS)]
        for partition, key, value, headers in rows:
            full = builders[partition].append(key=key, value=value, timestamp=None, headers=headers) is None
            assert not full
        some = [(number, builder) for number, builder in enumerate(builders) if builder.record_count()]
        await asyncio.gather(*[await made.send_batch(builder, topic, partition=number) for number, builder in some])

    async with made:
        yield send


WAYS: Mapping[str, Callable[[str, str], Any]] = {
    "sink": lambda server, topic: Kafka(servers=[server], topic=topic, key="rcpt").open(),
    "send": sending,
    "batches": in_batches,
}


async def produce(how: str, server: str, topic: str, count: int) -> tuple[float, float]:
    some: list[Any] = events(count)
    if how == "batches":
        some = [row(event) for event in some]
    batches = deque([some[first : first + AT_ONCE] for first in range(1, count, AT_ONCE)])
    async with WAYS[how](server, topic) as deliver:
        call: Callable[[Sequence[Any]], Awaitable[None]] = deliver
        await call(some[:1])  # connects
        some.clear()  # what is delivered is forgotten, as in the router, and its memory used again
        began, used = time.perf_counter(), time.process_time()
        while batches:
            await call(batches.popleft())
        return time.perf_counter() - began, time.process_time() - used


if __name__ == "__main__":
    _, how, server, topic, count = sys.argv
    print(*uvloop.run(produce(how, server, topic, int(count))))

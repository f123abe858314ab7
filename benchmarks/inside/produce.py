"""Produce results to Kafka and say what each cost: `python produce.py HOW SERVER TOPIC COUNT`.

HOW is `sink`, the router's own, or `send`, aiokafka's `send()` for each record and one wait for a thousand of them,
with the same records in the same partitions. Prints the seconds, and those of CPU; the events are made before.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any
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


@asynccontextmanager
async def sending(server: str, topic: str) -> Any:
    """Yield what sends a batch record by record."""
    made: Any = aiokafka.AIOKafkaProducer(
        bootstrap_servers=server, enable_idempotence=True, max_batch_size=128 * 1024, linger_ms=5
    )

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


async def produce(how: str, server: str, topic: str, count: int) -> tuple[float, float]:
    some = events(count)
    opened = Kafka(servers=[server], topic=topic, key="rcpt").open() if how == "sink" else sending(server, topic)
    async with opened as deliver:
        call: Callable[[Sequence[Event]], Awaitable[None]] = deliver
        await call(some[:1])  # connects
        began, used = time.perf_counter(), time.process_time()
        for first in range(1, count, AT_ONCE):
            await call(some[first : first + AT_ONCE])
        return time.perf_counter() - began, time.process_time() - used


if __name__ == "__main__":
    _, how, server, topic, count = sys.argv
    print(*uvloop.run(produce(how, server, topic, int(count))))

"""The way into one partition: batches go one after the other, and each is known by what became of it.

A wait for the broker that ends early (a timeout, a cancelled delivery) leaves a batch *under way*: the producer goes on
trying it, and will succeed. Sending its records again would make duplicates. So the lane remembers the batch, waits for
it before anything else, and takes its records as confirmed when they are delivered again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

import anyio
import msgspec
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from router import Reject, Retry
from router_plugins.kafka.causes import Way, explain
from router_plugins.kafka.producer import Builder, Producer
from router_plugins.kafka.records import Outcomes, Record

LATE = 0.2
"""Seconds that a call waits for what an earlier one left under way: that one has waited as long as is right."""


class _Shipment(msgspec.Struct, frozen=True):
    """A batch under way: its records, and what will tell that it arrived."""

    records: Sequence[Record]
    future: asyncio.Future[object]


class Lane:
    """Delivers into one partition with one producer.

    `confirmed` are ids that are at the broker although their delivery was not told so; all lanes of a sink share them.
    With `singly`, its batches have one record until all of a call's records got through.
    """

    def __init__(
        self, producer: Producer, topic: str, partition: int, confirmed: set[str], way: Way, *, singly: bool
    ) -> None:
        self.broken = False
        """Whether a batch failed: then the producer must be replaced, and this lane with it."""
        self.too_large = False
        """Whether that was for its size: then the next lane sends its records one by one, to find the culprit."""
        self.forbidden = False
        """Whether that was for want of a right to write to the topic."""
        self._producer = producer
        self._topic = topic
        self._way = way
        self._partition = partition
        self._name = f"{topic}/{partition}"
        self._confirmed = confirmed
        self._under_way: _Shipment | None = None
        self._singly = singly
        self._alone = anyio.Lock()

    async def send(self, records: Sequence[Record], outcomes: Outcomes, arrived: Callable[[], object]) -> None:
        """Send the records in order and note their outcomes; call `arrived` for each batch that did.

        When a batch fails, those behind it are not sent, which keeps the order; nor is anything while one of an earlier
        call is not confirmed. When this is cancelled, records without an outcome may be under way.
        """
        async with self._alone:
            try:
                if not await self._settle():
                    late = Retry(f"{self._name} has not confirmed what was sent before")
                    outcomes.update(dict.fromkeys([record.index for record in records], late))
                    return
            except KafkaError as error:
                self._give_up(records, outcomes, error)
                return
            rest = self._collect(records, outcomes) if self._confirmed else records
            for batch, builder in self._batches(rest):
                try:
                    await self._ship(batch, builder)
                except KafkaError as error:
                    self.too_large = isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError))
                    if self.too_large and len(batch) == 1:
                        outcomes[batch[0].index] = Reject(f"larger than topic {self._topic} allows")
                    self._give_up(rest, outcomes, error)
                    return
                outcomes.update(dict.fromkeys([record.index for record in batch]))
                arrived()
            self._singly = False

    async def _ship(self, batch: Sequence[Record], builder: Builder) -> None:
        """Send a batch and wait for it; when this is cancelled, it stays under way."""
        future = await self._producer.send_batch(builder, self._topic, partition=self._partition)
        future.add_done_callback(_retrieve)
        self._under_way = _Shipment(batch, future)
        await asyncio.wait([future])  # awaiting it would cancel it with us
        self._under_way = None
        future.result()

    async def _settle(self) -> bool:
        """Confirm what a call before left under way, and say whether that could be done; raise what it failed with."""
        if self._under_way is None:
            return True
        await asyncio.wait([self._under_way.future], timeout=LATE)
        if not self._under_way.future.done():
            return False
        shipment, self._under_way = self._under_way, None
        shipment.future.result()
        self._confirmed.update([record.id for record in shipment.records])
        return True

    def _collect(self, records: Sequence[Record], outcomes: Outcomes) -> Sequence[Record]:
        """Note as delivered what is confirmed; return the rest."""
        arrived = [record for record in records if record.id in self._confirmed]
        outcomes.update(dict.fromkeys([record.index for record in arrived]))
        rest = [record for record in records if record.id not in self._confirmed]
        self._confirmed.difference_update([record.id for record in arrived])
        return rest

    def _give_up(self, records: Sequence[Record], outcomes: Outcomes, error: KafkaError) -> None:
        """Leave what has no outcome yet to another try, with another producer."""
        self.broken = True
        self.forbidden = isinstance(error, TopicAuthorizationFailedError)
        retry = Retry(f"{self._name}: {explain(error, self._way)}")
        for record in records:
            outcomes.setdefault(record.index, retry)

    def _batches(self, records: Sequence[Record]) -> Iterator[tuple[Sequence[Record], Builder]]:
        """Cut the records into batches as large as the producer takes."""
        first, builder = 0, self._producer.create_batch()
        for number, record in enumerate(records):
            if (self._singly and number > first) or not _fits(builder, record):
                yield records[first:number], builder
                first, builder = number, self._producer.create_batch()
                _fits(builder, record)
        if records:
            yield records[first:], builder


def _fits(builder: Builder, record: Record) -> bool:
    """Add the record to the batch, unless the batch is full; the first one always fits."""
    headers = [("id", record.id.encode()), record.type]  # aiokafka takes no other sequence
    return builder.append(timestamp=None, key=record.key, value=record.value, headers=headers) is not None


def _retrieve(future: asyncio.Future[object]) -> None:
    """Look at the error of a batch that nobody waits for any more, or asyncio would complain."""
    if not future.cancelled():
        future.exception()

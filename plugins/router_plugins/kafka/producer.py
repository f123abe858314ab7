"""aiokafka's producer, behind a typed face: how it is made, started, and ended for good.

Facts about aiokafka 0.14 that this file is built on:
* It has no types, and must be made inside a running asyncio loop.
* Why a connection failed (a wrong password, say) is only in its log: its error says "Unable to bootstrap". What it
  logs is told apart by the context of the task, which the tasks that a producer starts inherit.
* An idempotent producer tries a batch again without end while the broker is away, and no duplicate comes of that. A
  batch that does fail has used up its sequence number: the partition answers OutOfOrderSequenceNumber from then on
  (aio-libs/aiokafka issue 1017). So a producer of which one batch failed is ended, and another one made; and batches
  may not expire, as they do after a request's timeout when a partition has no leader.
* `start()` that is cancelled leaves a connection open. So it runs in a task of its own, and callers come and go.
* `stop()` waits for its batches without end while the broker is away.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Protocol, TypeAlias, cast

import aiokafka
import aiokafka.errors
import anyio
import msgspec

from router import Retry, Secret
from router_plugins.kafka.causes import Way, explain

BATCH_BYTES = 128 * 1024
"""More is no faster, less is slower."""
PATIENCE = 5.0
"""Seconds that a producer which is to end has for what is under way."""
START = 10
"""Requests' timeouts that connecting may take, with several servers and steps; aiokafka ends each step by itself."""


Heard: TypeAlias = "deque[str]"
"""What aiokafka said last of what is wrong."""
_mine: ContextVar[Heard | None] = ContextVar("heard", default=None)


class Builder(Protocol):
    """A batch of records for one partition, in the making."""

    def append(
        self, *, timestamp: int | None, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> object | None:
        """Add a record; None when the batch has no room for it. The first one always fits."""
        ...


class Cluster(Protocol):
    """What is used of `aiokafka.cluster.ClusterMetadata`."""

    def topics(self) -> set[str]:
        """Return the topics that are there, of those that were asked for."""
        ...

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        """Return the numbers of a topic's partitions, None where it is not known."""
        ...


class Client(Protocol):
    """What is used of `aiokafka.client.AIOKafkaClient`."""

    @property
    def cluster(self) -> Cluster:
        """What brokers said last."""
        ...

    def add_topic(self, topic: str) -> object:
        """Ask for a topic, too, from the next update on."""
        ...

    def set_topics(self, topics: set[str]) -> object:
        """Ask for these topics from the next update on."""
        ...

    def force_metadata_update(self) -> asyncio.Future[bool]:
        """Ask now; the answer is whether a broker answered."""
        ...


class Producer(Protocol):
    """What is used of `aiokafka.AIOKafkaProducer`."""

    @property
    def client(self) -> Client:
        """What it knows brokers by."""
        ...

    async def start(self) -> None:
        """Connect; raises `KafkaConnectionError`."""
        ...

    async def stop(self) -> None:
        """Send what waits, and disconnect."""
        ...

    async def flush(self) -> None:
        """Wait until every batch has succeeded or failed."""
        ...

    def create_batch(self) -> Builder:
        """Return an empty batch."""
        ...

    async def send_batch(self, batch: Builder, topic: str, *, partition: int) -> asyncio.Future[object]:
        """Queue a batch; the future is done when all in-sync replicas have it."""
        ...


class Sasl(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to log in."""

    username: str
    password: Secret
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a producer is made of; `timeout` is in seconds."""

    servers: Sequence[str]
    tls: ssl.SSLContext | None
    sasl: Sasl | None
    compression: str | None
    timeout: float
    idempotence: bool = True

    @property
    def way(self) -> Way:
        """How brokers are spoken to."""
        return Way(self.tls is not None, self.sasl.mechanism if self.sasl else "", self.idempotence)


def make_producer(settings: Settings) -> Producer:
    """Return a producer that is not connected yet; call it inside an asyncio loop."""
    security = ("SASL_" if settings.sasl else "") + ("SSL" if settings.tls else "PLAINTEXT")
    login: dict[str, str] = {}
    if settings.sasl:
        login = {
            "sasl_mechanism": settings.sasl.mechanism,
            "sasl_plain_username": settings.sasl.username,
            "sasl_plain_password": str(settings.sasl.password),
        }
    made = cast("Any", aiokafka).AIOKafkaProducer(
        bootstrap_servers=list(settings.servers),
        client_id="directmail-router",
        enable_idempotence=settings.idempotence,
        acks="all",
        max_batch_size=BATCH_BYTES,
        linger_ms=0,  # the batches are already made
        compression_type=settings.compression,
        request_timeout_ms=round(settings.timeout * 1000),
        security_protocol=security,
        ssl_context=settings.tls,
        **login,
    )
    made._message_accumulator._batch_ttl = math.inf  # noqa: SLF001 - no public setting
    return cast("Producer", made)


@asynccontextmanager
async def producing(settings: Settings, heard: Heard) -> AsyncGenerator[Producer]:
    """Make a producer and keep it connected for as long as the block; raise `Retry` when it cannot be."""
    with _hearing(settings.way, heard):
        producer = make_producer(settings)
        try:
            try:
                async with asyncio.timeout(settings.timeout * START):
                    await producer.start()
            except (aiokafka.errors.KafkaError, OSError, ValueError, AssertionError) as error:
                raise Retry(
                    f"no connection to {', '.join(settings.servers)}: {_cause(error, settings, heard)}"
                ) from error
            heard.clear()
            yield producer
        finally:
            with anyio.CancelScope(shield=True):
                await _end(producer, min(settings.timeout, PATIENCE))


def _cause(error: Exception, settings: Settings, heard: Heard) -> str:
    """Say why no producer could start: what its error means, or what was logged before."""
    said = explain(error, settings.way)
    if isinstance(error, aiokafka.errors.KafkaConnectionError | TimeoutError) and heard:
        return causes(heard)
    return said if str(error).strip() else "no answer"


def causes(heard: Heard) -> str:
    """Return what was heard, each once."""
    return "; ".join(dict.fromkeys(heard))


@contextmanager
def _hearing(way: Way, heard: Heard) -> Generator[None]:
    """Collect what aiokafka logs in this task and those that it starts, which says why a connection failed."""
    token = _mine.set(heard)

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if _mine.get() is heard and (said := _said(record, way)):
                heard.append(said)

    ear = Ear(logging.WARNING)
    logger = logging.getLogger("aiokafka")
    logger.addHandler(ear)
    try:
        yield
    finally:
        logger.removeHandler(ear)
        _mine.reset(token)


def _said(record: logging.LogRecord, way: Way) -> str:
    """Return what a line of aiokafka's log means; nothing of what is no error."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    error = next((one for one in arguments if isinstance(one, BaseException)), None)
    if error is not None:
        where = ":".join(str(one) for one in arguments if one is not error)
        return f"{where}: {explain(error, way)}"
    return record.getMessage() if record.levelno >= logging.ERROR else ""


async def _end(producer: Producer, patience: float) -> None:
    """Disconnect; what the broker has not confirmed after `patience` seconds is given up on."""
    try:
        async with asyncio.timeout(patience):
            await producer.flush()
    except TimeoutError:
        await _give_up(producer)
    await producer.stop()


async def _give_up(producer: Producer) -> None:
    """Fail all batches that wait, so that `stop` has nothing to wait for; aiokafka has no public way to do this.

    The sender goes first, as it does not bear to find its batches failed. It waits for its requests when it is
    cancelled, and ends them when it is cancelled again.
    """
    inside = cast("Any", producer)
    sender: asyncio.Task[None] | None = inside._sender.sender_task  # noqa: SLF001 - see above
    while sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait([sender], timeout=0.1)
    accumulator = inside._message_accumulator  # noqa: SLF001 - see above
    waiting = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001 - for another try
    for batch in waiting:
        batch.drain_ready()  # or the error is set for somebody who looks at it, and asyncio complains that nobody does
    accumulator._pending_batches.update(waiting)  # noqa: SLF001 - they are taken out of here, whether they are in or not
    accumulator.fail_all(aiokafka.errors.ProducerClosed())

"""Events to Kafka topics: acknowledged by all in-sync replicas, in order per key, and once.

The record's value is the event's flat JSON (or with `form: raw` the bytes as they came), its key a field, its headers
`id` and `type`. The partition follows from the key, or without one from the event's id.

With `idempotence: false`, for clusters that refuse idempotent producers, an answer that is lost makes duplicates, too:
its batch goes out again, before those behind it, so that what is seen first keeps its order.

Otherwise an outage of the broker makes no duplicates, however long it lasts; a crash of the router can (its last
unconfirmed batches go out again), and so can a producer that must be replaced while a batch's fate is unknown. The
header `id` tells them apart.

What is wrong with one topic, or one partition, is a matter of its own events: the others of the batch arrive, and the
next batch waits for it no more.
"""

from __future__ import annotations

import re
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, cast
from zlib import crc32

import anyio
import msgspec
from aiokafka import codec, partitioner
from anyio.abc import TaskGroup

from router import Batch, ConfigError, Deliver, FieldName, FieldTemplate, PemFile, Retry, Secret, Sink
from router.units import Duration, Size
from router_plugins.failures import raise_for
from router_plugins.kafka.lane import Lane
from router_plugins.kafka.producer import Producer, Sasl, Settings, causes
from router_plugins.kafka.records import LONGEST_TOPIC, UNSAFE, Outcomes, Record, Recorder
from router_plugins.kafka.session import Session
from router_plugins.kafka.topics import Topics, partitions_of
from router_plugins.template import parse
from router_plugins.tls import check_pair, client_context, warn_of_expiry

STRAGGLERS = 3.0
"""Seconds that a delivery waits on when some of it has arrived and nothing more does: one topic that has no leader, or
too few replicas, keeps the others waiting no longer."""
GRACE = 1.0
"""Seconds by which a delivery outlasts a request, so that aiokafka's own word on what is wrong comes first."""
_SERVER = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")


class Kafka(Sink, frozen=True, kw_only=True):
    """Produce a record for every event."""

    batch: ClassVar[int] = 2000
    reads_only: ClassVar[bool] = True

    servers: Annotated[list[str], msgspec.Meta(min_length=1)]
    """host:port of some brokers."""
    topic: FieldTemplate
    """A template: `mail.{region}`. In a field's value, what a topic's name cannot have becomes `_`."""
    key: FieldName = ""
    """The field that is the record's key; events of one key stay in order."""
    partitioner: Literal["crc32", "murmur2"] = "crc32"
    """How a key gives the partition: murmur2 as Java's producers do, crc32 for less work."""
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    tls: bool = False
    ca: PemFile | None = msgspec.field(default_factory=PemFile.system)
    """File with the certificates that are trusted, instead of the system's; also of X.509 version 1."""
    verify_hostname: bool = True
    """Whether the broker's certificate must be for its name in `servers` and in the cluster."""
    certificate: PemFile | None = None
    """The certificate that this side shows, with its chain."""
    private_key: PemFile | None = None
    """Its key, where that is not in the same file."""
    private_key_password: Secret | None = None
    """What the key is encrypted with."""
    sasl: Sasl | None = None
    idempotence: bool = True
    """Whether the broker drops what comes twice; most instances of ApsaraMQ refuse such producers. Without it, a lost
    answer doubles a batch; all in-sync replicas confirm it as before."""
    request_timeout: Duration = 30.0
    """Seconds to wait for the broker's confirmation; then the events are tried again, without doubling them."""
    max_record: Size = 1024 * 1024
    """Bytes of a record; a larger one is refused, as the broker would (`max.message.bytes`)."""
    form: Literal["json", "raw"] = "json"

    def check(self) -> None:
        """Refuse addresses, a topic or certificates that cannot be used."""
        for server in self.servers:
            if not _SERVER.fullmatch(server):
                raise ConfigError("servers", f"{server!r} is no host:port", "such as kafka.example.com:9092")
        sample = parse(self.topic, "topic").sample("x")
        if UNSAFE.search(sample):
            raise ConfigError("topic", "has a character that no topic has", "letters, digits and . _ -")
        if sample in {".", ".."}:
            raise ConfigError("topic", "is a name that no topic has")
        if len(sample) > LONGEST_TOPIC:
            raise ConfigError("topic", f"is longer than {LONGEST_TOPIC} characters")
        if self.compression != "none" and not _CODECS[self.compression]():
            raise ConfigError("compression", f"{self.compression} needs the package cramjam", "pip install cramjam")
        if self.request_timeout <= 0:
            raise ConfigError("request_timeout", "must be more than 0")
        _check_tls(self)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Deliver]:
        """Connect at the first delivery, and again whenever the producer must be replaced."""
        if self.certificate is not None:
            warn_of_expiry(self.certificate, "shown to Kafka")
        connection = _Connection(self)
        try:
            yield connection.deliver
        finally:
            with anyio.CancelScope(shield=True):
                await connection.close()


class _Connection:
    """The session in use, and what must outlive it."""

    def __init__(self, sink: Kafka) -> None:
        self._settings = Settings(
            servers=sink.servers,
            tls=_tls(sink),
            sasl=sink.sasl,
            compression=None if sink.compression == "none" else sink.compression,
            timeout=sink.request_timeout,
            idempotence=sink.idempotence,
        )
        self._recorder = Recorder(sink.topic, sink.key, raw=sink.form == "raw", max_record=sink.max_record)
        self._partition_of = _PARTITIONERS[sink.partitioner]
        self._session: Session | None = None
        self._confirmed: set[str] = set()
        self._singly: set[str] = set()
        self._topics = Topics()
        self._replacing = anyio.Lock()

    async def deliver(self, batch: Batch) -> None:
        """Send a batch to all its partitions at once; raise for what is not confirmed in time."""
        outcomes: Outcomes = {}
        by_topic = self._recorder.records(batch, outcomes)
        if by_topic:
            await self._send_all(by_topic, outcomes)
        if len(outcomes) == len(batch) and not any(outcomes.values()):
            return
        why = f": {causes(self._session.heard)}" if self._session and self._session.heard else ""
        late = Retry(f"{self._settings.servers[0]} did not confirm in time{why}")
        errors = {index: error for index in range(len(batch)) if (error := outcomes.get(index, late)) is not None}
        raise_for(errors, len(batch))

    async def _send_all(self, by_topic: Mapping[str, Sequence[Record]], outcomes: Outcomes) -> None:
        """Send all topics' records at once, until all have an outcome, the time is over, or nothing more arrives."""
        session = await self._current()
        producer = await session.producer()
        most = anyio.current_time() + self._settings.timeout + GRACE
        with anyio.CancelScope(deadline=most) as scope:

            def arrived() -> None:
                session.heard.clear()
                scope.deadline = min(most, anyio.current_time() + STRAGGLERS)

            async with anyio.create_task_group() as group:
                send = partial(self._send, group, session, producer, outcomes, arrived)
                unknown = {topic: some for topic, some in by_topic.items() if not send(topic, some)}
                if unknown:
                    await self._topics.find(producer.client, unknown)
                for topic, some in unknown.items():
                    if not send(topic, some):
                        nowhere = Retry(f"no broker says where the topic {topic} is")
                        outcomes.update(dict.fromkeys([record.index for record in some], nowhere))

    async def close(self) -> None:
        """Disconnect."""
        if self._session is not None:
            await self._session.end()

    async def _current(self) -> Session:
        """Return the session, or another one when that is over."""
        async with self._replacing:
            if self._session is not None and self._session.is_over:
                await self._session.end()
                self._singly = {topic for (topic, _), lane in self._session.lanes.items() if lane.too_large}
                for (topic, _), lane in self._session.lanes.items():
                    if lane.forbidden:
                        self._topics.refuse(topic, f"this user may not write to the topic {topic}")
                self._session = None
            if self._session is None:
                self._session = Session(self._settings)
            return self._session

    def _send(
        self, group: TaskGroup, session: Session, producer: Producer, outcomes: Outcomes, arrived: Callable[[], None],
        topic: str, records: Sequence[Record],
    ) -> bool:  # fmt: skip
        """Send one topic's records, each partition's in a task of the group's; say whether it is known what to do."""
        if reason := self._topics.absent(topic):
            missing = Retry(reason)
            outcomes.update(dict.fromkeys([record.index for record in records], missing))
            return True
        partitions = partitions_of(producer.client, topic)
        by_partition: dict[int, list[Record]] = defaultdict(list)
        partition_of, count = self._partition_of, len(partitions)
        for record in records if partitions else ():
            by_partition[partition_of(record.key or record.id.encode()) % count].append(record)
        for number, some in by_partition.items():
            partition = partitions[number]
            lane = session.lanes.get((topic, partition))
            if lane is None:
                lane = Lane(
                    producer, topic, partition, self._confirmed, self._settings.way, singly=topic in self._singly
                )
                session.lanes[topic, partition] = lane
            group.start_soon(lane.send, some, outcomes, arrived)
        return bool(partitions)


def _java_hash(key: bytes) -> int:
    """Return the number that Java's producer, and all that follow it, take the partition from."""
    number: int = cast("Any", partitioner).murmur2(key)
    return number & 0x7FFFFFFF


_PARTITIONERS: Mapping[str, Callable[[bytes], int]] = {"crc32": crc32, "murmur2": _java_hash}


_CODECS: Mapping[str, Callable[[], bool]] = {
    "gzip": codec.has_gzip,
    "snappy": codec.has_snappy,
    "lz4": codec.has_lz4,
    "zstd": codec.has_zstd,
}


def _check_tls(sink: Kafka) -> None:
    """Raise `ConfigError` for certificates that cannot be used, or not without TLS."""
    idle = [field for field in ("certificate", "private_key", "private_key_password") if getattr(sink, field)]
    idle += [] if sink.ca is None or sink.ca.is_system else ["ca"]
    idle += [] if sink.verify_hostname else ["verify_hostname"]
    if idle and not sink.tls:
        raise ConfigError(idle[0], "has no meaning without tls", "add tls: true")
    check_pair(sink.certificate, sink.private_key, sink.private_key_password)
    _tls(sink)


def _tls(sink: Kafka) -> ssl.SSLContext | None:
    """Make the TLS settings; raise `ConfigError` when the certificates cannot be used."""
    if not sink.tls:
        return None
    return client_context(
        sink.ca, sink.certificate, sink.private_key, sink.private_key_password, verify_hostname=sink.verify_hostname
    )

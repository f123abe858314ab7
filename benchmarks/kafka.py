"""How many events a second one core produces to Kafka, and what each costs: the sink against a real broker."""

from __future__ import annotations

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple

import aiokafka
import anyio
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.backlog import copied, state_with
from benchmarks.ledger import numbers_of, reconcile
from benchmarks.messages import body
from benchmarks.process import SERVER_CORE
from benchmarks.question import LEDGER, Benchmark, Column, Ground
from benchmarks.router import router
from benchmarks.tree import INSIDE, ROOT

TOPIC = "results"
PARTITIONS = 6


class Case(NamedTuple):
    """`how`: `router`, or what `inside/produce.py` knows."""

    events: int
    how: str


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--events", type=int, default=200_000)


def cases(options: Namespace) -> Mapping[str, Case]:
    return {
        "journal to 1 topic": Case(options.events, "router"),
        "the sink alone": Case(options.events, "sink"),
        "bare send_batch": Case(options.events, "batches"),
        "aiokafka's send()": Case(options.events, "send"),
    }


def measure(case: Case, ground: Ground) -> Mapping[str, float]:
    with broker(ground) as server:
        if case.how != "router":
            figures = produced(case, ground, server)
        else:
            to = {"type": "kafka", "servers": [server], "topic": TOPIC, "key": "rcpt"}
            subscriptions = {"all": {"to": to}}
            state = copied(state_with(ground, "state", subscriptions, case.events), ground.folder)
            with router(ground, subscriptions, state=state) as daemon:
                before, began, start = daemon.process.cpu_seconds(), monotonic(), daemon.pending()
                daemon.wait_settled(pause=0.1)
                took, used = monotonic() - began, daemon.process.cpu_seconds() - before
            figures = {"events/s": start / took, "CPU us an event": used / start * 1e6}
        ledger = reconcile(range(1, case.events + 1), [anyio.run(arrived, server)])
    return {**figures, **ledger.figures()}


def produced(case: Case, ground: Ground, server: str) -> Mapping[str, float]:
    """Measure one way to produce in a process of its own."""
    command = ground.tree.python(INSIDE / "produce.py", case.how, server, TOPIC, str(case.events))
    text = b"".join([body(number) + b"\n" for number in range(1, case.events + 1)])
    pinned = ["taskset", "-c", str(SERVER_CORE), *command]
    said = subprocess.run(pinned, input=text, capture_output=True, check=True, env=ground.tree.environment()).stdout
    took, used = map(float, said.split())
    return {"events/s": case.events / took, "CPU us an event": used / case.events * 1e6}


@contextmanager
def broker(ground: Ground) -> Generator[str]:
    """Run a real broker with one topic on the load's core; the one of the tests."""
    if (tests := str(ROOT / "tests")) not in sys.path:
        sys.path.append(tests)
    from servers.kafka_broker import missing, running_broker  # noqa: PLC0415 - in the tests' folder

    if reason := missing():
        raise SystemExit(reason)
    home = ground.folder / "broker"
    home.mkdir()
    with running_broker(home) as running:
        anyio.run(make_topic, running.bootstrap)
        yield running.bootstrap


async def make_topic(server: str) -> None:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=server)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])
        assert answer.topic_errors[0][1] == 0, answer
    finally:
        await admin.close()


async def arrived(server: str) -> list[int]:
    """Return the numbers of all results in the topic, read from its beginning to its end."""
    consumer: Any = aiokafka.AIOKafkaConsumer(bootstrap_servers=server, auto_offset_reset="earliest")
    numbers: list[int] = []
    async with consumer:
        parts = [aiokafka.TopicPartition(TOPIC, number) for number in range(PARTITIONS)]
        consumer.assign(parts)
        ends = await consumer.end_offsets(parts)
        while any([await consumer.position(part) < ends[part] for part in parts]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                numbers += numbers_of(b"\n".join([record.value for record in records]))
    return numbers


BENCHMARK = Benchmark(
    question="How many events a second does one core produce to Kafka?",
    how=(
        "A real broker (KRaft, one node, no fsync an append) on the load's core, a topic of six partitions, records "
        "keyed by rcpt, with headers, idempotent. `journal to 1 topic`: the journal is filled first, and what is still "
        "pending when the router answers is timed. `the sink alone`, `bare send_batch` and `aiokafka's send()`: the "
        "same records, a thousand at a time, in a process that does nothing else; for `bare send_batch` they are made "
        "before, and only put into batches. All ids are read back and counted."
    ),
    columns=(Column("events/s"), Column("CPU us an event", 1), *LEDGER),
    arguments=arguments,
    cases=cases,
    measure=measure,
    tiny="--events 2000",
)

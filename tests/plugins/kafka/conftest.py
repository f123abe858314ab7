"""One broker for all Kafka tests of a run, and a fresh topic for each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from itertools import count

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from servers.kafka_broker import Broker, missing, running_broker

NUMBERS = count()
FENCED = 38
"""The broker has just missed a heartbeat to itself, as it may on a busy machine: there is nowhere to put a topic."""


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Generator[Broker]:
    if reason := missing():
        pytest.skip(reason)
    with running_broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def topic(broker: Broker) -> AsyncGenerator[str]:
    """Make a topic of four partitions and give its name."""
    name = f"topic.{next(NUMBERS)}"
    with anyio.fail_after(60):
        admin = await connected(broker)
    try:
        with anyio.fail_after(60):
            while (answer := await admin.create_topics([NewTopic(name, 4, 1)])).topic_errors[0][1] == FENCED:
                await anyio.sleep(0.2)
        assert answer.topic_errors[0][1] == 0, answer
        with anyio.fail_after(60):
            while not await is_known(admin, name):
                await anyio.sleep(0.1)
        yield name
    finally:
        await admin.close()


async def connected(broker: Broker) -> AIOKafkaAdminClient:
    """Return a client that knows the broker; one that was stopped for a while does not tell of itself at first."""
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        with suppress(KafkaError):
            if (await admin.describe_cluster())["brokers"]:
                return admin
        await admin.close()
        await anyio.sleep(0.2)


async def is_known(admin: AIOKafkaAdminClient, topic: str) -> bool:
    """Say whether the broker tells clients of a topic and of who leads its partitions: a moment after it was made."""
    [found] = await admin.describe_topics([topic])
    return found["error_code"] == 0 and all(part["leader"] >= 0 for part in found["partitions"])

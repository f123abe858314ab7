"""One broker for all Kafka tests of a run, and a fresh topic for each."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from itertools import count

import anyio
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
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
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        await admin.start()
        with anyio.fail_after(60):
            while (answer := await admin.create_topics([NewTopic(name, 4, 1)])).topic_errors[0][1] == FENCED:
                await anyio.sleep(0.2)
        assert answer.topic_errors[0][1] == 0, answer
        yield name
    finally:
        await admin.close()

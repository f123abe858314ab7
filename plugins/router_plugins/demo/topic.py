"""The demo's Kafka subscription: what is added to the config for it, and what arrived in its topic."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from router_plugins.demo.receiver import Key

NAME = "statistics/kafka"
_PARTITIONS = 3


def topic_of(run: str) -> str:
    """Name the topic of one run of the demo."""
    return f"dm-demo-{run}"


def subscription(servers: str, run: str) -> str:
    """Return the YAML of the subscription, to stand last in the config, under those of statistics."""
    listed = orjson.dumps(servers.split(",")).decode()
    return f"""      kafka:
        steps: [{{type: mask, fields: [rcpt], key: demo-mask-key-0123456789}}]
        to: {{type: kafka, servers: {listed}, topic: {topic_of(run)}, key: rcpt}}
"""


async def create(servers: str, run: str) -> None:
    """Create the topic of a run."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic_of(run), _PARTITIONS, 1)])
    finally:
        await admin.close()


async def read(servers: str, run: str) -> Counter[Key]:
    """Count what the topic holds."""
    partitions = [TopicPartition(topic_of(run), n) for n in range(_PARTITIONS)]
    found: Counter[Key] = Counter()
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest", enable_auto_commit=False)
    async with consumer:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        left = {p for p in partitions if ends[p]}
        while left:
            for partition, records in (await consumer.getmany(timeout_ms=1000, max_records=5000)).items():
                for record in records:
                    fields = orjson.loads(record.value)
                    found[fields["env_id"], fields["rcpt"]] += 1
                if records[-1].offset + 1 >= ends[partition]:
                    left.discard(partition)
    return found

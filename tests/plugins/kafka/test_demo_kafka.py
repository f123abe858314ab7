"""The demo with a Kafka subscription, against a real broker."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from servers.kafka_broker import Broker

pytestmark = pytest.mark.kafka


def test_the_demo_reconciles_a_kafka_topic(broker: Broker) -> None:
    """Every result is in the topic, under its pseudonym, once."""
    done = subprocess.run(
        [sys.executable, "-m", "router", "demo", "--results", "1500", "--json", "--kafka", broker.bootstrap],
        capture_output=True, text=True, check=False, timeout=110,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["subscriptions"]}
    assert rows["statistics/kafka"] == {
        "name": "statistics/kafka", "expected": 1500, "arrived": 1500, "missing": 0, "duplicates": 0, "unexpected": 0,
    }  # fmt: skip

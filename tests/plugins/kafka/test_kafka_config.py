"""The Kafka sink's settings, and what needs no broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import ConfigError, PemFile, Reject, Retry
from router.testing import make_event, make_events
from router_plugins.kafka.records import LONGEST_TOPIC, harmless
from router_plugins.kafka.sink import Kafka


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"servers": ["kafka"]}, "servers"),
        ({"servers": ["kafka:9092", "kafka.example.com:port"]}, "servers"),
        ({"servers": ["http://kafka:9092"]}, "servers"),
        ({"topic": ""}, "topic"),
        ({"topic": "mail results"}, "topic"),
        ({"topic": "mail/{region}"}, "topic"),
        ({"topic": "mail.{region"}, "topic"),
        ({"topic": "mail.{time:%Y/%m}"}, "topic"),
        ({"topic": "mail.{time:%H:%M}"}, "topic"),
        ({"topic": "x" * 250}, "topic"),
        ({"topic": ".."}, "topic"),
        ({"ca": PemFile(Path("/etc/ssl/ca.pem"))}, "ca"),
        ({"tls": True, "ca": PemFile(Path("empty.pem"))}, "ca"),
        ({"request_timeout": 0}, "request_timeout"),
    ],
)
def test_what_cannot_work_is_a_config_error(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Kafka(**{"servers": ["kafka:9092"], "topic": "mail", **fields}).check()
    assert caught.value.place == place


def test_a_file_that_holds_no_certificate_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(ConfigError, match="holds no certificate"):
        Kafka(servers=["kafka:9092"], topic="mail", tls=True, ca=PemFile.read(tmp_path / "ca.pem")).check()


def test_good_settings_are_accepted() -> None:
    Kafka(servers=["kafka:9092", "10.0.0.1:9092", "[::1]:9092"], topic="mail.{region}-{time:%Y-%m}", tls=True).check()


@given(st.text())
def test_a_value_becomes_a_piece_of_a_topics_name(value: str) -> None:
    piece = harmless(value)
    assert piece
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in piece)


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["x" * (LONGEST_TOPIC + 1), ".", ".."])
async def test_an_event_whose_topic_cannot_be_is_refused_at_once(name: str) -> None:
    """No broker takes it, so there is no need to ask one."""
    async with Kafka(servers=["127.0.0.1:9"], topic="{name}").open() as deliver:
        with pytest.raises(Reject, match="cannot be the name of a topic"):
            await deliver([make_event(name=name)])


@pytest.mark.anyio
async def test_a_broker_that_is_not_there_is_retry_and_says_why() -> None:
    async with Kafka(servers=["127.0.0.1:9"], topic="t").open() as deliver:
        for _ in range(2):
            with pytest.raises(Retry, match=r"127\.0\.0\.1:9.*Connect call failed"):
                await deliver(make_events(1))

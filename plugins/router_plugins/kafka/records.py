"""Events as records: topic, key, value and headers, and which events no broker takes.

This runs once an event and is most of what the sink adds to aiokafka's own work, so it is one loop.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

import msgspec

from router import Batch, Event, Reject, Retry
from router_plugins.template import parse

LONGEST_TOPIC = 249
"""Characters; a limit of the broker."""
_OVERHEAD = 100
"""Bytes around one record alone in a batch: 61 for the batch, 21 for the record, the rest for its headers' lengths."""
UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
"""What no topic's name has."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One event as Kafka takes it; `index` is its place in the delivery's batch.

    `type` is a header. The list of headers is only made when a record is sent: a thousand of them at a time would be
    work for the garbage collector.
    """

    index: int
    id: str
    type: tuple[str, bytes]
    key: bytes | None
    value: bytes


Outcomes: TypeAlias = dict[int, Retry | Reject | None]
"""What became of records, by index; None is delivered. A record without outcome is not known to be delivered."""


class Recorder:
    """Makes records. `topic` is a template, `key` the name of a field or empty; a `raw` value is as it came."""

    def __init__(self, topic: str, key: str, *, raw: bool, max_record: int) -> None:
        self._template = parse(topic, "topic")
        self._constant = self._template.constant
        self._clean = lru_cache(1024)(harmless)
        self._key = key
        self._raw = raw
        self._most = max_record - _OVERHEAD
        self._header = lru_cache(1024)(_type_header)

    def records(self, batch: Batch, outcomes: Outcomes) -> Mapping[str, Sequence[Record]]:
        """Return the batch's records by topic; what cannot be one is refused in `outcomes`."""
        by_topic: dict[str, list[Record]] = defaultdict(list)
        name, header = self._key, self._header
        for index, event in enumerate(batch):
            value = bytes(event.raw) if self._raw else event.json()
            key = str(event.get(name) or "").encode() if name else b""
            if len(key) + len(value) > self._most:
                outcomes[index] = Reject(f"larger than max_record, {self._most + _OVERHEAD} bytes")
                continue
            topic = self._constant or self._topic_of(event)
            if topic is None:
                outcomes[index] = Reject(f"{self._render(event)[:LONGEST_TOPIC]} cannot be the name of a topic")
                continue
            by_topic[topic].append(Record(index, event.id, header(event.type), key or None, value))
        return by_topic

    def _topic_of(self, event: Event) -> str | None:
        """Return a topic's name; None when no topic can have it."""
        topic = self._render(event)
        return None if len(topic) > LONGEST_TOPIC or topic in {".", ".."} else topic

    def _render(self, event: Event) -> str:
        return self._template.render(event, self._clean)


def harmless(value: str) -> str:
    """Return a value as a piece of a topic's name; what it cannot have becomes `_`, and so does nothing."""
    return UNSAFE.sub("_", value) or "_"


def _type_header(type_: str) -> tuple[str, bytes]:
    return "type", type_.encode()

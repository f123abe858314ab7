"""What `--state` keeps: queues with their messages, topics, subscriptions, rules and those of the bus, in one file.

Leases, pushes under way and campaigns' books are not kept: after a restart, received messages are visible again.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from router import RouterError
from router_plugins.emulator.account import Account
from router_plugins.emulator.bus import BusRule, EventBus
from router_plugins.emulator.event_rules import EventRules
from router_plugins.emulator.queued import QueueAttributes, Stored
from router_plugins.emulator.rules import Rule
from router_plugins.emulator.topic import Subscription, TopicAttributes

FILE = "account.msgpack"


class KeptQueue(msgspec.Struct, frozen=True):
    """A queue; each message with the Unix seconds from when it can be received."""

    name: str
    attributes: QueueAttributes
    messages: list[tuple[Stored, float]]


class KeptTopic(msgspec.Struct, frozen=True):
    """A topic and its subscriptions."""

    name: str
    attributes: TopicAttributes
    subscriptions: list[Subscription]


class Snapshot(msgspec.Struct, frozen=True):
    """All that is kept."""

    queues: list[KeptQueue]
    topics: list[KeptTopic]
    rules: list[Rule]
    bus: list[BusRule] = []


def taken(account: Account, rules: EventRules, bus: EventBus) -> bytes:
    """Return the account as bytes."""
    queues = [KeptQueue(q.name, q.attributes, q.contents()) for q in account.queues.values()]
    topics = [KeptTopic(t.name, t.attributes, list(t.subscriptions.values())) for t in account.topics.values()]
    return msgspec.msgpack.encode(Snapshot(queues, topics, list(rules.by_name.values()), list(bus.by_name.values())))


def save(folder: Path, content: bytes) -> None:
    """Replace the file in the folder by `content` in one step; a crash leaves the old one."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{FILE}.new"
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / FILE)


def load(folder: Path, account: Account, rules: EventRules, bus: EventBus) -> None:
    """Fill a new account from the folder's file, if there is one; raises `RouterError` if it is damaged."""
    file = folder / FILE
    if not file.exists():
        return
    try:
        kept = msgspec.msgpack.decode(file.read_bytes(), type=Snapshot)
    except msgspec.DecodeError as error:
        raise RouterError(f"{file} is damaged ({error}); delete it to begin anew") from error
    for queue in kept.queues:
        account.create_queue(queue.name, queue.attributes)
        account.queue(queue.name).restore(queue.messages)
    for topic in kept.topics:
        account.create_topic(topic.name, topic.attributes)
        account.topic(topic.name).subscriptions.update({s.name: s for s in topic.subscriptions})
    rules.by_name.update({rule.name: rule for rule in kept.rules})
    bus.by_name.update({rule.name: rule for rule in kept.bus})

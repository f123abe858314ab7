"""Event rules as in DirectMail's console."""

from __future__ import annotations

import pytest
from fakes.clock import Clock

from router_plugins.emulator.account import Account
from router_plugins.emulator.campaign import Plan
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.event_rules import EventRules
from router_plugins.emulator.ledger import CampaignLedger, Origin
from router_plugins.emulator.queued import QueueAttributes
from router_plugins.emulator.rules import RuleOrder
from router_plugins.emulator.topic import TopicAttributes

QUEUE = "acs:mns:cn-hangzhou:123:queues/q"


@pytest.fixture
def clock() -> Clock:
    return Clock(1_492_141_488.0)


@pytest.fixture
def account(clock: Clock) -> Account:
    made = Account("123", "cn-hangzhou", clock)
    made.create_queue("q", QueueAttributes())
    made.create_topic("t", TopicAttributes())
    return made


@pytest.fixture
def rules(account: Account, clock: Clock) -> EventRules:
    return EventRules(account, clock)


@pytest.fixture
def origin() -> Origin:
    return Origin(CampaignLedger("c1", Plan(results=1)), 0)


def received(account: Account) -> list[str]:
    return [lease.message.body for lease in account.queue("q").receive(16)]


def test_a_rule_takes_effect_after_about_ten_minutes(
    account: Account, rules: EventRules, clock: Clock, origin: Origin
) -> None:
    rules.create(RuleOrder(name="r", types=("Deliver:SendFailed",), endpoints=(QUEUE,)))
    clock.now += 599
    rules.publish("early", rules.wanting("Deliver:SendFailed", "cn-hangzhou"), origin)
    clock.now += 1
    rules.publish("late", rules.wanting("Deliver:SendFailed", "cn-hangzhou"), origin)
    assert received(account) == ["late"]


def test_fast_divides_the_delay_of_a_rule(account: Account, clock: Clock) -> None:
    rule = EventRules(account, clock, fast=100).create(
        RuleOrder(name="r", types=("Deliver:SendFailed",), endpoints=(QUEUE,))
    )
    assert rule.active_from == clock.now + 6


@pytest.mark.parametrize(
    ("event_type", "region", "wanted"),
    [
        ("Deliver:SendFailed", "cn-hangzhou", True),
        ("Deliver:SendSuccessfully", "cn-hangzhou", False),
        ("Deliver:SendFailed", "ap-southeast-1", False),
        ("Trace:Open", "cn-hangzhou", True),
    ],
)
def test_a_rule_publishes_its_event_types_of_its_region_only(
    account: Account, rules: EventRules, origin: Origin, event_type: str, region: str, *, wanted: bool
) -> None:
    types = ("dm:Deliver:Fail", "Deliver:Open")
    rules.create(RuleOrder(name="r", types=types, endpoints=(QUEUE,), delay=0))
    wanting = rules.wanting(event_type, region)
    assert [rule.name for rule in wanting] == (["r"] if wanted else [])
    rules.publish("body", wanting, origin)
    assert received(account) == (["body"] if wanted else [])


def test_endpoints_get_a_topic_and_subscriptions_of_their_own_that_go_with_the_rule(
    account: Account, rules: EventRules
) -> None:
    endpoints = ("http://127.0.0.1:1/a", QUEUE)
    rule = rules.create(RuleOrder(name="r", types=("Deliver:SendFailed",), endpoints=endpoints))
    assert rule.topic == "mns-en-topics-dm-r-1492141488000"
    subscriptions = account.topic(rule.topic).subscriptions
    assert [(name, s.attributes.endpoint) for name, s in subscriptions.items()] == [
        ("mns-en-subs-dm-r-0-1492141488000", endpoints[0]),
        ("mns-en-subs-dm-r-1-1492141488000", endpoints[1]),
    ]
    rules.delete("r")
    assert list(account.topics) == ["t"]


def test_a_rule_with_a_topic_leaves_the_topic_alone_when_it_is_deleted(account: Account, rules: EventRules) -> None:
    rules.create(RuleOrder(name="r", types=("Deliver:SendFailed",), topic="t"))
    rules.delete("r")
    assert list(account.topics) == ["t"]


def test_results_for_a_topic_that_does_not_exist_are_counted_and_lost(
    account: Account, rules: EventRules, origin: Origin
) -> None:
    rules.create(RuleOrder(name="r", types=("Deliver:SendFailed",), topic="missing", delay=0))
    assert rules.publish("body", rules.wanting("Deliver:SendFailed", "cn-hangzhou"), origin) == []
    assert account.undeliverable == 1


@pytest.mark.parametrize(
    ("topic", "endpoints", "types"),
    [
        (None, (), ("Deliver:SendFailed",)),
        ("t", (QUEUE,), ("Deliver:SendFailed",)),
        ("sms.x", (), ("Deliver:SendFailed",)),
        ("t", (), ("Deliver:Nonsense",)),
        (None, ("ftp://127.0.0.1/",), ("Deliver:SendFailed",)),
        (None, ("acs:mns:cn-beijing:123:queues/q",), ("Deliver:SendFailed",)),
        (None, ("http://[::1",), ("Deliver:SendFailed",)),
    ],
)
def test_what_the_console_refuses_is_refused_and_leaves_nothing_behind(
    account: Account, rules: EventRules, topic: str | None, endpoints: tuple[str, ...], types: tuple[str, ...]
) -> None:
    with pytest.raises(ServiceError) as caught:
        rules.create(RuleOrder(name="r", types=types, topic=topic, endpoints=endpoints))
    assert caught.value.code == "InvalidArgument"
    assert (list(account.topics), rules.by_name) == (["t"], {})


def test_a_rule_with_an_underscore_has_a_topic_by_the_rule_for_names(account: Account, rules: EventRules) -> None:
    rule = rules.create(RuleOrder(name="a_b", types=("Deliver:SendFailed",), endpoints=(QUEUE,)))
    assert rule.topic.startswith("mns-en-topics-dm-a-b-")
    assert next(iter(account.topic(rule.topic).subscriptions)).startswith("mns-en-subs-dm-a-b-0-")


def test_a_rule_cannot_be_modified(rules: EventRules) -> None:
    rules.create(RuleOrder(name="r", types=("Deliver:SendFailed",), topic="t"))
    with pytest.raises(ServiceError) as caught:
        rules.create(RuleOrder(name="r", types=("Deliver:SendSuccessfully",), topic="t"))
    assert caught.value.code == "RuleAlreadyExist"

"""Groups and dead letters of queues: what is received in which order, and what is set aside."""

from __future__ import annotations

from collections import defaultdict

import pytest
from fakes.clock import Clock
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.emulator import snapshot
from router_plugins.emulator.account import Account
from router_plugins.emulator.bus import EventBus
from router_plugins.emulator.campaign import Plan
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.event_rules import EventRules
from router_plugins.emulator.ledger import CampaignLedger, Origin
from router_plugins.emulator.properties import Property
from router_plugins.emulator.queue import Queue
from router_plugins.emulator.queued import Counts, DlqPolicy, QueueAttributes
from router_plugins.emulator.topic import Push, SubscriptionAttributes, TopicAttributes

DEAD = DlqPolicy(enabled=True, dead_letter_target_queue="dead", max_receive_count=2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def account(clock: Clock) -> Account:
    made = Account("123", "cn-hangzhou", clock)
    made.create_queue("dead", QueueAttributes())
    made.create_queue("q", QueueAttributes(dlq_policy=DEAD))
    return made


def bodies(queue: Queue, count: int = 16) -> list[str]:
    return [lease.message.body for lease in queue.receive(count)]


def test_of_a_group_one_message_is_under_way_at_a_time_and_the_next_follows_its_deletion(clock: Clock) -> None:
    queue = Queue("q", QueueAttributes(), clock)
    for body in ("a1", "a2", "b1", "free", "a3"):
        queue.send(body, group=body[0] if body != "free" else "", priority=1 if body == "a3" else 8)
    first, *_ = leases = queue.receive(16)
    assert [lease.message.body for lease in leases] == ["a1", "b1", "free"]
    assert queue.counts() == Counts(2, 3, 0)
    queue.delete(first.handle)
    assert bodies(queue) == ["a2"]


def test_a_message_that_comes_again_comes_before_those_behind_it_in_its_group(clock: Clock) -> None:
    queue = Queue("q", QueueAttributes(), clock)
    queue.send("a1", group="a")
    queue.send("a2", group="a")
    assert bodies(queue) == ["a1"]
    clock.now += 30
    assert bodies(queue) == ["a1"]


def test_a_delayed_message_holds_up_its_group_only(clock: Clock) -> None:
    queue = Queue("q", QueueAttributes(), clock)
    queue.send("a1", group="a", delay=10)
    queue.send("a2", group="a")
    queue.send("a3", group="a", delay=60)
    queue.send("b1", group="b")
    assert queue.counts() == Counts(2, 0, 2)
    assert bodies(queue) == ["b1"]
    clock.now += 10
    (lease,) = queue.receive(16)
    assert lease.message.body == "a1"


def test_a_group_goes_on_when_its_first_message_is_too_old(clock: Clock) -> None:
    queue = Queue("q", QueueAttributes(message_retention_period=60), clock)
    queue.send("a1", group="a")
    clock.now += 59
    queue.send("a2", group="a")
    clock.now += 1
    assert bodies(queue) == ["a2"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.integers(1, 16)), max_size=40), st.data())
def test_whatever_is_sent_each_group_is_consumed_in_the_order_of_sending(
    sent: list[tuple[str, int, int]], data: st.DataObject
) -> None:
    clock = Clock()
    queue = Queue("q", QueueAttributes(visibility_timeout=5), clock)
    for number, (group, delay, priority) in enumerate(sent):
        queue.send(str(number), group=group, delay=delay, priority=priority)
    consumed: dict[str, list[int]] = defaultdict(list)
    for _ in range(500):
        for lease in queue.receive(data.draw(st.integers(1, 16))):
            if data.draw(st.booleans()):
                queue.delete(lease.handle)
                consumed[lease.message.group].append(int(lease.message.body))
        clock.now += data.draw(st.integers(0, 10))
        if queue.counts() == Counts(0, 0, 0):
            break
    for group, numbers in consumed.items():
        assert numbers == [n for n, order in enumerate(sent) if order[0] == group][: len(numbers)]


def test_groups_outlive_a_restart(account: Account, clock: Clock, tmp_path: object) -> None:
    rules = EventRules(account, clock)
    for body in ("a1", "a2"):
        account.send(account.queue("q"), body, group="a")
    account.queue("q").receive()
    again = Account("123", "cn-hangzhou", clock)
    snapshot.save(tmp_path, snapshot.taken(account, rules, EventBus(account, clock)))  # type: ignore[arg-type]
    snapshot.load(tmp_path, again, EventRules(again, clock), EventBus(again, clock))  # type: ignore[arg-type]
    assert bodies(again.queue("q")) == []
    clock.now += 30
    assert bodies(again.queue("q")) == ["a1"]
    assert again.queue("q").attributes.dlq_policy == DEAD


def test_a_message_received_too_often_is_moved_with_its_age_and_where_it_came_from(
    account: Account, clock: Clock
) -> None:
    origin = Origin(CampaignLedger("c1", Plan(results=1)), 0)
    account.put("q", "poison", origin)
    for _ in range(2):
        assert bodies(account.queue("q")) == ["poison"]
        clock.now += 30
    assert bodies(account.queue("q")) == []
    (lease,) = account.queue("dead").receive()
    assert (lease.message.body, lease.message.enqueued) == ("poison", 1000)
    assert Property("DLQSourceArn", "acs:mns:cn-hangzhou:123:/queues/q") in lease.message.properties.system
    assert origin.ledger.progress().backlog == 1
    account.queue("dead").delete(lease.handle)
    assert origin.ledger.progress().backlog == 0


def test_a_dead_letter_lets_its_group_go_on(account: Account, clock: Clock) -> None:
    for body in ("a1", "a2"):
        account.send(account.queue("q"), body, group="a")
    for _ in range(2):
        account.queue("q").receive()
        clock.now += 30
    assert bodies(account.queue("q")) == ["a2"]


def test_a_dead_letter_without_a_place_stays_where_it_is(account: Account, clock: Clock) -> None:
    account.send(account.queue("q"), "poison")
    account.delete_queue("dead")
    for _ in range(5):
        assert bodies(account.queue("q")) == ["poison"]
        clock.now += 30


def test_what_a_subscription_gives_up_on_names_its_topic_message(account: Account) -> None:
    account.create_topic("t", TopicAttributes())
    account.subscribe("t", "s", SubscriptionAttributes(endpoint="http://127.0.0.1:1/", dlq_policy=DEAD))
    message, [push] = account.publish("t", "unwanted")
    account.bury(push, account.subscription("t", "s"))
    letter = account.queue("dead").peek()[0].message
    assert letter.body == "unwanted"
    assert Property("DLQOriginMessageId", message.message_id) in letter.properties.system
    none = SubscriptionAttributes(endpoint="http://127.0.0.1:1/")
    account.subscribe("t", "without", none)
    account.bury(Push(message, push.subscription), account.subscription("t", "without"))
    assert account.queue("dead").counts().active == 1


@pytest.mark.parametrize("target", ["", "q"])
def test_a_policy_needs_another_queue_than_its_own(account: Account, target: str) -> None:
    policy = DlqPolicy(enabled=True, dead_letter_target_queue=target)
    with pytest.raises(ServiceError, match="DeadLetterTargetQueue"):
        account.change_queue("q", QueueAttributes(dlq_policy=policy))
    account.create_topic("t", TopicAttributes())
    endpoint = "acs:mns:cn-hangzhou:123:queues/q"
    with pytest.raises(ServiceError, match="DeadLetterTargetQueue"):
        account.subscribe("t", "s", SubscriptionAttributes(endpoint=endpoint, dlq_policy=policy))

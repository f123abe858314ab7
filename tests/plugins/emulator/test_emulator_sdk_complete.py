"""No operation of the official Python SDK is left out, and what it cannot set it can still read."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Mapping
from email.utils import formatdate
from functools import wraps
from typing import Any

import aiohttp
import anyio
import mns.mns_exception
import pytest
from mns.account import Account, AccountMeta
from mns.queue import Message, Queue, QueueMeta
from mns.subscription import Subscription, SubscriptionMeta
from mns.topic import Topic, TopicMessage, TopicMeta

from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.credentials import AccessKey
from router_plugins.mns.signing import sign_v2

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),  # the SDK calls its own
]
CLASSES = (Account, Queue, Topic, Subscription)
LOCAL = {
    "Account.set_debug", "Account.set_log_level", "Account.close_log", "Account.set_client", "Account.get_client",
    "Account.get_queue", "Account.get_topic", "Account.get_subscription", "Account.debuginfo",
    "Queue.set_debug", "Queue.set_encoding", "Queue.debuginfo",
    "Topic.set_debug", "Topic.get_subscription", "Topic.debuginfo",
    "Subscription.set_debug", "Subscription.debuginfo",
}  # fmt: skip
"""Public methods that ask the service nothing."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    keys = (AccessKey("testAccessKeyId", "testAccessKeySecret"), AccessKey("STS.id", "secret", "token"))
    async with Emulator(access_keys=keys).serve() as running:
        yield running


@pytest.fixture
def account(service: Service) -> Account:
    return Account(service.url, "testAccessKeyId", "testAccessKeySecret")


@pytest.fixture
async def closed(account: Account) -> AsyncGenerator[None]:
    yield
    account.mns_client.close_connection()


def operations() -> Mapping[str, tuple[type, Callable[..., Any]]]:
    found = {
        f"{kind.__name__}.{name}": (kind, function)
        for kind in CLASSES
        for name, function in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }
    assert set(found) >= LOCAL
    return {name: entry for name, entry in found.items() if name not in LOCAL}


def everything(account: Account, url: str) -> None:
    """Run every operation once at least, each of which must succeed."""
    account.set_attributes(AccountMeta("logs"))
    assert account.get_attributes().logging_bucket == "logs"
    assert account.open_service().oder_id
    queue = account.get_queue("q")
    queue.create(QueueMeta())
    queue.set_attributes(QueueMeta(vis_timeout=60))
    assert queue.get_attributes().visibility_timeout == 60
    assert account.list_queue()[0] == [f"{url}/queues/q"]
    queue.send_message(Message("one"))
    queue.batch_send_message([Message(f"m{n}") for n in range(5)])
    assert queue.peek_message().message_body == b"one"
    assert queue.peek_message_with_str_body().message_body == "one"
    assert len(queue.batch_peek_message(16)) == len(queue.batch_peek_message_with_str_body(16)) == 6
    first = queue.receive_message()
    changed = queue.change_message_visibility(first.receipt_handle, 100)
    queue.delete_message(changed.receipt_handle)
    second = queue.receive_message_with_str_body(1)
    some = queue.batch_receive_message(2, 1)
    rest = queue.batch_receive_message_with_str_body(16)
    assert (second.message_body, some[0].message_body, rest[1].message_body) == ("m0", b"m1", "m4")
    queue.batch_delete_message([m.receipt_handle for m in (second, *some, *rest)])
    topic = account.get_topic("t")
    topic.create(TopicMeta())
    topic.set_attributes(TopicMeta(4096))
    assert topic.get_attributes().maximum_message_size == 4096
    assert account.list_topic()[0] == [f"{url}/topics/t"]
    subscription = topic.get_subscription("s")
    subscription.subscribe(SubscriptionMeta("http://127.0.0.1:9/n", "BACKOFF_RETRY", "JSON", "tag"))
    subscription.set_attributes(SubscriptionMeta("", "EXPONENTIAL_DECAY_RETRY"))
    assert subscription.get_attributes().notify_strategy == "EXPONENTIAL_DECAY_RETRY"
    assert topic.list_subscription()[0] == [f"{url}/topics/t/subscriptions/s"]
    assert topic.publish_message(TopicMessage("to nobody", "other")).message_id
    subscription.unsubscribe()
    topic.delete()
    queue.delete()


@pytest.mark.usefixtures("closed")
async def test_every_operation_that_the_sdk_has_is_run(
    service: Service, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: set[str] = set()

    def recording(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def recorded(*arguments: Any, **named: Any) -> Any:
            result = function(*arguments, **named)
            run.add(name)
            return result

        return recorded

    for name, (kind, function) in operations().items():
        monkeypatch.setattr(kind, function.__name__, recording(name, function))
    await anyio.to_thread.run_sync(everything, account, service.url)
    assert run == set(operations())


def in_order(account: Account) -> list[str]:
    queue = account.get_queue("q")
    queue.set_encoding(False)
    queue.create(QueueMeta())
    sent = queue.send_message(Message("a1", message_group_id="a"))
    queue.batch_send_message([Message("a2", message_group_id="a"), Message("b1", message_group_id="b")])
    assert sent.message_id
    first = queue.batch_receive_message(16)
    assert [m.message_group_id for m in first] == ["a", "b"]
    queue.delete_message(first[0].receipt_handle)
    return [m.message_body for m in (*first, queue.receive_message())]


@pytest.mark.usefixtures("closed")
async def test_messages_of_a_group_come_in_order(account: Account) -> None:
    assert await anyio.to_thread.run_sync(in_order, account) == ["a1", "b1", "a2"]


async def put(service: Service, target: str, body: str) -> int:
    """Make a request that the SDK has no words for."""
    headers = {"date": formatdate(usegmt=True), "x-mns-version": "2015-06-06", "content-type": "text/xml"}
    signature = sign_v2("testAccessKeySecret", "PUT", target, headers)
    headers["authorization"] = f"MNS testAccessKeyId:{signature}"
    async with aiohttp.request("PUT", service.url + target, data=body, headers=headers) as answer:
        return answer.status


POLICY = "<DlqPolicy><Enabled>true</Enabled><DeadLetterTargetQueue>dead</DeadLetterTargetQueue>{more}</DlqPolicy>"


@pytest.mark.usefixtures("closed")
async def test_a_policy_for_dead_letters_is_set_through_the_api_and_read_past_by_the_sdk(
    service: Service, account: Account
) -> None:
    service.create_queue("dead")
    service.create_topic("t")
    policy = POLICY.format(more="<MaxReceiveCount>3</MaxReceiveCount>")
    assert await put(service, "/queues/q", f"<Queue>{policy}</Queue>") == 201
    assert await put(service, "/queues/q", f"<Queue>{policy}</Queue>") == 204
    assert await put(service, "/queues/q", "<Queue/>") == 409
    wanted = f"<Subscription><Endpoint>http://127.0.0.1:9/</Endpoint>{POLICY.format(more='')}</Subscription>"
    assert await put(service, "/topics/t/subscriptions/s", wanted) == 201
    assert service.account.queue("q").attributes.dlq_policy.max_receive_count == 3
    assert service.account.subscription("t", "s").attributes.dlq_policy.queue == "dead"
    queue, subscription = account.get_queue("q"), account.get_subscription("t", "s")
    assert (await anyio.to_thread.run_sync(queue.get_attributes)).visibility_timeout == 30
    assert (await anyio.to_thread.run_sync(subscription.get_attributes)).endpoint == "http://127.0.0.1:9/"
    off = "<Queue><DlqPolicy><Enabled>false</Enabled></DlqPolicy></Queue>"
    assert await put(service, "/queues/q?metaoverride=true", off) == 204
    assert not service.account.queue("q").attributes.dlq_policy.enabled
    nowhere = "<Queue><DlqPolicy><Enabled>true</Enabled></DlqPolicy></Queue>"
    assert await put(service, "/queues/q?metaoverride=true", nowhere) == 400


async def test_temporary_credentials_of_the_sdk_work_with_their_token_only(service: Service) -> None:
    good = Account(service.url, "STS.id", "secret", "token")
    assert await anyio.to_thread.run_sync(good.list_queue) == ([], "")
    good.mns_client.close_connection()
    stale = Account(service.url, "STS.id", "secret", "yesterday's")
    with pytest.raises(mns.mns_exception.MNSServerException) as caught:
        await anyio.to_thread.run_sync(stale.list_queue)
    assert caught.value.type == "AccessDenied"
    stale.mns_client.close_connection()

"""The judge: the official Python SDK runs every operation that it has against the emulator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any

import anyio
import mns.mns_exception
import pytest
from mns.account import Account, AccountMeta
from mns.message_property import MessagePropertyValue, PropertyType
from mns.queue import Message, QueueMeta
from mns.subscription import SubscriptionMeta
from mns.topic import TopicMessage, TopicMeta

from router_plugins.emulator import Emulator, Service

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),  # the SDK calls its own
]
KEYS = ("testAccessKeyId", "testAccessKeySecret")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(rule_delay=0).serve() as running:
        yield running


class Sdk:
    """The SDK, called in a thread: it is synchronous."""

    def __init__(self, service: Service, keys: tuple[str, str] = KEYS) -> None:
        self.account = Account(service.url, *keys)

    def queue(self, name: str) -> Any:
        queue = self.account.get_queue(name)
        queue.set_encoding(False)
        return queue

    def close(self) -> None:
        self.account.mns_client.close_connection()


@pytest.fixture
async def sdk(service: Service) -> AsyncGenerator[Sdk]:
    made = Sdk(service)
    yield made
    made.close()


async def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return await anyio.to_thread.run_sync(partial(function, *arguments, **named))


async def refusal(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    with pytest.raises(mns.mns_exception.MNSServerException) as caught:
        await call(function, *arguments, **named)
    return caught.value


async def test_a_queue_is_made_described_changed_and_deleted(sdk: Sdk, service: Service) -> None:
    queue = sdk.queue("results")
    assert await call(queue.create, QueueMeta(vis_timeout=45)) == f"{service.url}/queues/results"
    assert await call(queue.create, QueueMeta(vis_timeout=45)) == f"{service.url}/queues/results"
    assert (await refusal(queue.create, QueueMeta(vis_timeout=46))).type == "QueueAlreadyExist"
    meta = await call(queue.get_attributes)
    assert (meta.queue_name, meta.visibility_timeout, meta.maximum_message_size) == ("results", 45, 65536)
    await call(queue.set_attributes, QueueMeta(polling_wait_sec=3, logging_enabled=True))
    meta = await call(queue.get_attributes)
    assert (meta.polling_wait_seconds, meta.visibility_timeout, meta.logging_enabled) == (3, 45, True)
    await call(queue.delete)
    assert (await refusal(queue.get_attributes)).type == "QueueNotExist"


async def test_a_message_goes_through_send_peek_receive_change_and_delete(sdk: Sdk) -> None:
    queue = sdk.queue("results")
    await call(queue.create, QueueMeta())
    body = "env_id=1&rcpt=a+b@例え.jp&err_msg=550 <x>\n&lt; 收件人"
    sent = await call(queue.send_message, Message(body, priority=3))
    peeked = await call(queue.peek_message)
    got = await call(queue.receive_message)
    assert got.message_body == peeked.message_body == body
    assert (got.message_id, got.message_body_md5, got.priority, got.dequeue_count) == (
        sent.message_id, sent.message_body_md5, 3, 1,
    )  # fmt: skip
    assert got.next_visible_time - got.first_dequeue_time == 30000
    changed = await call(queue.change_message_visibility, got.receipt_handle, 60)
    assert changed.receipt_handle != got.receipt_handle
    assert (await refusal(queue.delete_message, got.receipt_handle)).type == "MessageNotExist"
    await call(queue.delete_message, changed.receipt_handle)
    error = await refusal(queue.receive_message)
    assert (error.type, error.message) == ("MessageNotExist", "Message not exist.")
    assert error.request_id
    assert error.host_id


async def test_a_carriage_return_survives_the_way_out(sdk: Sdk, service: Service) -> None:
    service.create_queue("results")
    service.account.send(service.account.queue("results"), "550-a\r\n550 b")
    assert (await call(sdk.queue("results").receive_message)).message_body == "550-a\r\n550 b"


async def test_batches_are_sent_received_peeked_and_deleted(sdk: Sdk) -> None:
    queue = sdk.queue("results")
    await call(queue.create, QueueMeta())
    assert len(await call(queue.batch_send_message, [Message(f"m{n}") for n in range(16)])) == 16
    assert len(await call(queue.batch_peek_message, 16)) == 16
    got = await call(queue.batch_receive_message, 16, 1)
    assert {m.message_body for m in got} == {f"m{n}" for n in range(16)}
    await call(queue.batch_delete_message, [m.receipt_handle for m in got[:15]])
    error = await refusal(queue.batch_delete_message, [got[0].receipt_handle, got[15].receipt_handle, "nonsense"])
    assert [(e["ErrorCode"], e["ReceiptHandle"]) for e in error.sub_errors] == [
        ("MessageNotExist", got[0].receipt_handle),
        ("ReceiptHandleError", "nonsense"),
    ]
    assert (await call(queue.get_attributes)).inactive_messages == 0


async def test_a_batch_in_which_one_message_is_refused_names_it_and_sends_the_others(sdk: Sdk) -> None:
    queue = sdk.queue("results")
    await call(queue.create, QueueMeta())
    error = await refusal(queue.batch_send_message, [Message("a"), Message("b", priority=17), Message("c")])
    assert [e.get("ErrorCode") for e in error.sub_errors] == [None, "InvalidArgument", None]
    assert len(await call(queue.batch_receive_message, 16)) == 2
    assert (await refusal(queue.batch_send_message, [Message("x")] * 17)).type == "InvalidArgument"


async def test_properties_and_base64_come_back_as_they_were_sent(sdk: Sdk) -> None:
    queue = sdk.account.get_queue("encoded")
    await call(queue.create, QueueMeta())
    message = Message("täxt & more")
    message.add_user_property("kind", MessagePropertyValue(PropertyType.STRING, "a<b"))
    await call(queue.send_message, message)
    got = await call(queue.receive_message)
    assert got.message_body.decode() == "täxt & more"
    assert got.get_user_properties()["kind"].get_string_value_by_type() == "a<b"


async def test_a_long_poll_ends_when_a_message_arrives(sdk: Sdk, service: Service) -> None:
    queue = sdk.queue("results")
    await call(queue.create, QueueMeta())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_send_soon, service)
        with anyio.fail_after(5):
            assert (await call(queue.receive_message, 30)).message_body == "at last"


async def _send_soon(service: Service) -> None:
    await anyio.sleep(0.1)
    service.account.send(service.account.queue("results"), "at last")


async def test_topics_and_subscriptions_are_made_described_changed_listed_and_deleted(
    sdk: Sdk, service: Service
) -> None:
    topic = sdk.account.get_topic("results")
    assert await call(topic.create, TopicMeta(2048)) == f"{service.url}/topics/results"
    assert (await refusal(topic.create, TopicMeta(4096))).type == "TopicAlreadyExist"
    await call(topic.set_attributes, TopicMeta(4096))
    meta = await call(topic.get_attributes)
    assert (meta.topic_name, meta.maximum_message_size, meta.message_count) == ("results", 4096, 0)
    subscription = topic.get_subscription("to-http")
    wanted = SubscriptionMeta("http://127.0.0.1:1/n", "BACKOFF_RETRY", "SIMPLIFIED", "tag")
    assert (await call(subscription.subscribe, wanted)).endswith("/topics/results/subscriptions/to-http")
    wanted.filter_tag = "other"
    assert (await refusal(subscription.subscribe, wanted)).type == "SubscriptionAlreadyExist"
    await call(subscription.set_attributes, SubscriptionMeta("", "EXPONENTIAL_DECAY_RETRY"))
    meta = await call(subscription.get_attributes)
    assert (meta.endpoint, meta.notify_strategy, meta.notify_content_format, meta.filter_tag, meta.topic_owner) == (
        "http://127.0.0.1:1/n", "EXPONENTIAL_DECAY_RETRY", "SIMPLIFIED", "tag", "1234567890123456",
    )  # fmt: skip
    urls, marker = await call(topic.list_subscription)
    assert (len(urls), marker) == (1, "")
    await call(subscription.unsubscribe)
    assert (await refusal(subscription.get_attributes)).type == "SubscriptionNotExist"
    await call(topic.delete)
    assert (await refusal(topic.get_attributes)).type == "TopicNotExist"
    assert (await refusal(topic.publish_message, TopicMessage("x"))).type == "TopicNotExist"


async def test_a_published_message_arrives_in_a_subscribed_queue_in_the_chosen_form(sdk: Sdk, service: Service) -> None:
    topic, queue = sdk.account.get_topic("t"), sdk.queue("q")
    await call(topic.create, TopicMeta())
    await call(queue.create, QueueMeta())
    for form in ("XML", "JSON", "SIMPLIFIED"):
        meta = SubscriptionMeta(service.queue_endpoint("q"), "BACKOFF_RETRY", form)
        await call(topic.get_subscription(form).subscribe, meta)
    published = await call(topic.publish_message, TopicMessage("a=1&b=<2>", "tag"))
    bodies = {m.message_body for m in await call(queue.batch_receive_message, 16)}
    assert "a=1&b=<2>" in bodies
    assert any('"MessageTag":"tag"' in body and f'"MessageId":"{published.message_id}"' in body for body in bodies)
    assert any("<Message>a=1&amp;b=&lt;2&gt;</Message>" in body for body in bodies)


async def test_lists_come_in_pages(sdk: Sdk) -> None:
    for n in range(5):
        await call(sdk.queue(f"page-{n}").create, QueueMeta())
        await call(sdk.account.get_topic(f"page-{n}").create, TopicMeta())
    await call(sdk.queue("other").create, QueueMeta())
    for listing in (sdk.account.list_queue, sdk.account.list_topic):
        seen, marker = [], ""
        while True:
            urls, marker = await call(listing, "page-", 2, marker)
            seen += [url.rpartition("/")[2] for url in urls]
            if not marker:
                break
        assert seen == [f"page-{n}" for n in range(5)]


async def test_account_attributes_and_opening_the_service(sdk: Sdk) -> None:
    await call(sdk.account.set_attributes, AccountMeta("logs"))
    assert (await call(sdk.account.get_attributes)).logging_bucket == "logs"
    assert (await call(sdk.account.open_service)).oder_id


@pytest.mark.parametrize(
    ("keys", "code"),
    [(("nobody", "x"), "InvalidAccessKeyId"), (("testAccessKeyId", "wrong"), "SignatureDoesNotMatch")],
)
async def test_wrong_keys_are_refused(service: Service, keys: tuple[str, str], code: str) -> None:
    stranger = Sdk(service, keys)
    assert (await refusal(stranger.account.list_queue)).type == code
    stranger.close()


async def test_beyond_the_limit_of_long_polls_a_poll_returns_at_once() -> None:
    async with Emulator(long_polls=0).serve() as service:
        sdk = Sdk(service)
        await call(sdk.queue("q").create, QueueMeta())
        with anyio.fail_after(2):
            assert (await refusal(sdk.queue("q").receive_message, 30)).type == "MessageNotExist"
        sdk.close()


async def test_queues_rules_and_messages_outlive_a_restart_with_state(tmp_path: Any) -> None:
    settings = Emulator(state=tmp_path / "state")
    async with settings.serve() as service:
        certificate = service.certificate_pem
        service.create_queue("kept")
        service.create_topic("t")
        service.subscribe("t", "s", service.queue_endpoint("kept"))
        service.publish("t", "still here")
    async with settings.serve() as service:
        sdk = Sdk(service)
        assert (await call(sdk.queue("kept").receive_message)).message_body == "still here"
        assert service.certificate_pem == certificate
        service.publish("t", "and subscribed")
        assert (await call(sdk.queue("kept").receive_message)).message_body == "and subscribed"
        sdk.close()

"""What the emulator writes is what the service was recorded to write (PROTOCOL 8.1), in the words of its documents."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import AsyncGenerator
from email.utils import formatdate
from hashlib import md5
from time import monotonic
from typing import NamedTuple

import aiohttp
import pytest
from yarl import URL

from router import Secret
from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.queued import DlqPolicy, QueueAttributes
from router_plugins.emulator.topic import SubscriptionAttributes
from router_plugins.mns.client import open_queue
from router_plugins.mns.credentials import Credentials
from router_plugins.mns.signing import sign_v2

pytestmark = pytest.mark.anyio
PROPERTIES = (
    "<UserProperties><PropertyValue><Name>case</Name><Value>a&lt;b</Value><Type>STRING</Type></PropertyValue>"
    "</UserProperties><SystemProperties><SystemPropertyValue><Name>traceparent</Name><Value>00-1</Value>"
    "<Type>STRING</Type></SystemPropertyValue></SystemProperties>"
)
HANDLE = re.compile("([0-9A-F]{32})-([A-Za-z0-9+/]+={1,2})")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator().serve() as running:
        running.create_queue("q")
        running.create_topic("t")
        yield running


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str

    def of(self, name: str) -> str:
        """Return the text of the first element of this name."""
        found = re.search(f"<{name}>([^<]*)</{name}>", self.text)
        assert found is not None, self.text
        return found[1]


async def ask(service: Service, method: str, target: str, body: str = "", **more: str) -> Answer:
    headers = {"x-mns-version": "2015-06-06", "Date": formatdate(usegmt=True), "Content-Type": "text/xml"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    lowered = {name.lower(): value for name, value in headers.items()}
    headers["Authorization"] = f"MNS testAccessKeyId:{sign_v2('testAccessKeySecret', method, target, lowered)}"
    url = URL(service.url + target, encoded=True)
    async with aiohttp.request(method, url, headers=headers, data=body.encode() or None) as answer:
        return Answer(answer.status, dict(answer.headers), await answer.text())


async def test_an_error_is_written_as_the_service_writes_it(service: Service) -> None:
    answer = await ask(service, "GET", "/queues/q/messages")
    request_id = answer.headers["x-mns-request-id"]
    assert answer.status == 404
    assert answer.headers["x-mns-response-format"] == "xml"
    assert answer.text == (
        '<?xml version="1.0" ?>\n<Error xmlns="http://mns.aliyuncs.com/doc/v1">\n  <Code>MessageNotExist</Code>\n'
        f"  <Message>Message not exist.</Message>\n  <RequestId>{request_id}</RequestId>\n"
        f"  <HostId>{service.url}</HostId>\n</Error>"
    )


async def test_a_queue_is_written_with_its_attributes_in_the_order_of_the_service(service: Service) -> None:
    answer = await ask(service, "GET", "/queues/q")
    assert answer.text.startswith(
        '<?xml version="1.0" ?>\n<Queue xmlns="http://mns.aliyuncs.com/doc/v1">\n  <QueueName>'
    )
    assert re.findall(r"^  <(\w+)>", answer.text, re.MULTILINE) == [
        "QueueName", "DelaySeconds", "MaximumMessageSize", "MessageRetentionPeriod", "VisibilityTimeout", "CreateTime",
        "LastModifyTime", "PollingWaitSeconds", "ActiveMessages", "InactiveMessages", "DelayMessages", "LoggingEnabled",
        "MessageType", "EnableSSE",
    ]  # fmt: skip
    assert answer.of("LoggingEnabled") == "False"


async def test_a_received_message_has_its_elements_in_order_system_properties_before_those_of_users(
    service: Service,
) -> None:
    sent = await ask(
        service, "POST", "/queues/q/messages", f"<Message><MessageBody>x</MessageBody>{PROPERTIES}</Message>"
    )
    answer = await ask(service, "GET", "/queues/q/messages?numOfMessages=16")
    assert re.findall(r"^    <(\w+)>", answer.text, re.MULTILINE) == [
        "MessageId", "MessageBodyMD5", "MessageBody", "ReceiptHandle", "EnqueueTime", "FirstDequeueTime",
        "NextVisibleTime", "DequeueCount", "Priority", "SystemProperties", "UserProperties",
    ]  # fmt: skip
    assert (
        "    <UserProperties>\n      <PropertyValue>\n        <Name>case</Name>\n        <Value>a&lt;b</Value>\n"
        "        <Type>STRING</Type>\n      </PropertyValue>\n    </UserProperties>\n  </Message>\n</Messages>"
    ) in answer.text
    message_id, note = HANDLE.fullmatch(answer.of("ReceiptHandle")).groups()  # type: ignore[union-attr]
    assert message_id == answer.of("MessageId") == sent.of("MessageId")
    assert b64decode(note, validate=True)


async def test_a_body_with_lines_of_its_own_is_not_indented(service: Service) -> None:
    await ask(service, "POST", "/queues/q/messages", "<Message><MessageBody>a\n  b\n</MessageBody></Message>")
    assert "<MessageBody>a\n  b\n</MessageBody>" in (await ask(service, "GET", "/queues/q/messages")).text


async def test_the_digest_of_a_message_with_user_properties_is_not_its_bodys(service: Service) -> None:
    plain = await ask(service, "POST", "/queues/q/messages", "<Message><MessageBody>x</MessageBody></Message>")
    assert plain.of("MessageBodyMD5") == md5(b"x").hexdigest().upper()
    body = f"<Message><MessageBody>x</MessageBody>{PROPERTIES}</Message>"
    for target in ("/queues/q/messages", "/topics/t/messages"):
        assert (await ask(service, "POST", target, body)).of("MessageBodyMD5") != plain.of("MessageBodyMD5")
    async with open_queue(service.url, "q", Credentials("testAccessKeyId", Secret("testAccessKeySecret"))) as client:
        assert [message.body for message in await client.receive(16, 0)] == ["x", "x"]


async def test_user_properties_go_from_a_topic_to_its_queues(service: Service) -> None:
    service.subscribe("t", "s", service.queue_endpoint("q"))
    await ask(service, "POST", "/topics/t/messages", f"<Message><MessageBody>x</MessageBody>{PROPERTIES}</Message>")
    got = (await ask(service, "GET", "/queues/q/messages")).text
    assert "<Name>case</Name>" in got
    assert "<Name>traceparent</Name>" in got


async def test_a_dead_letter_keeps_its_properties_and_has_those_of_the_service_beside_them(service: Service) -> None:
    service.create_queue("dead")
    policy = DlqPolicy(enabled=True, dead_letter_target_queue="dead", max_receive_count=1)
    service.account.change_queue("q", QueueAttributes(dlq_policy=policy))
    await ask(service, "POST", "/queues/q/messages", f"<Message><MessageBody>x</MessageBody>{PROPERTIES}</Message>")
    await ask(service, "GET", "/queues/q/messages")
    service.account.queue("q").expire()
    await ask(service, "GET", "/queues/q/messages")
    text = (await ask(service, "GET", "/queues/dead/messages")).text
    assert text.count("<SystemProperties>") == text.count("<UserProperties>") == 1
    assert text.index("traceparent") < text.index("DLQMessageType") < text.index("<UserProperties>")


@pytest.mark.parametrize("of", ["message", "queue"])
async def test_a_delayed_send_is_answered_with_a_handle_that_is_good_until_it_is_received(
    service: Service, of: str
) -> None:
    delay = "<DelaySeconds>600</DelaySeconds>"
    if of == "queue":
        await ask(service, "PUT", "/queues/q?metaoverride=true", f"<Queue>{delay}</Queue>")
        delay = ""
    sent = await ask(service, "POST", "/queues/q/messages", f"<Message><MessageBody>x</MessageBody>{delay}</Message>")
    handle = sent.of("ReceiptHandle")
    assert HANDLE.fullmatch(handle)
    counts = service.account.queue("q").counts
    assert (counts().delayed, counts().inactive) == (1, 0)
    changed = await ask(service, "PUT", f"/queues/q/messages?ReceiptHandle={handle}&VisibilityTimeout=300")
    assert (counts().delayed, counts().inactive) == (1, 0)
    assert (await ask(service, "DELETE", f"/queues/q/messages?ReceiptHandle={handle}")).of("Code") == "MessageNotExist"
    gone = await ask(service, "DELETE", f"/queues/q/messages?ReceiptHandle={changed.of('ReceiptHandle')}")
    assert (gone.status, counts().delayed, counts().inactive) == (204, 0, 0)


async def test_a_batch_names_a_handle_only_for_what_is_delayed(service: Service) -> None:
    messages = "".join(
        f"<Message><MessageBody>x</MessageBody><DelaySeconds>{delay}</DelaySeconds></Message>" for delay in (0, 600, 0)
    )
    answer = await ask(service, "POST", "/queues/q/messages", f"<Messages>{messages}</Messages>")
    assert [("ReceiptHandle" in one) for one in answer.text.split("</Message>")[:3]] == [False, True, False]


@pytest.mark.parametrize(
    ("target", "elements"),
    [
        ("/queues", ("QueueURL", "QueueName", "VisibilityTimeout", "ActiveMessages")),
        ("/topics", ("TopicURL", "TopicName", "MaximumMessageSize", "MessageCount")),
        ("/topics/t/subscriptions", ("SubscriptionURL", "SubscriptionName", "Endpoint", "NotifyStrategy")),
    ],
)
async def test_a_list_has_the_attributes_where_they_are_asked_for(
    service: Service, target: str, elements: tuple[str, ...]
) -> None:
    service.subscribe("t", "s", service.queue_endpoint("q"))
    assert f"<{elements[1]}>" not in (await ask(service, "GET", target)).text
    for asked in ("true", "True"):
        listed = await ask(service, "GET", target, x_mns_with_meta=asked)
        assert re.findall("|".join(f"    <({name})>" for name in elements), listed.text)
        assert all(f"<{name}>" in listed.text for name in elements)


async def test_an_empty_account_keeps_what_is_there(service: Service) -> None:
    target = "/?accountmeta=true"
    for body, kept in (
        ("<Account><LoggingBucket>logs</LoggingBucket></Account>", "logs"),
        ("<Account/>", "logs"),
        ('<Account xmlns="http://mns.aliyuncs.com/doc/v1/"></Account>', "logs"),
        ("", "logs"),
        ("<Account><LoggingBucket></LoggingBucket></Account>", ""),
    ):
        assert (await ask(service, "PUT", target, body)).status == 204
        assert (await ask(service, "GET", target)).of("LoggingBucket") == kept


QUEUE, TOPIC = "<Queue/>", "<Topic/>"
HTTP = "<Subscription><Endpoint>http://127.0.0.1:1/</Endpoint></Subscription>"


@pytest.mark.parametrize(
    ("target", "body", "code"),
    [
        *((f"/queues/{name}", QUEUE, "InvalidQueueName") for name in ("a_b", "a.b", "-a", "%E6%94%B6", "%2Ba")),
        ("/queues/" + "q" * 121, QUEUE, "QueueNameLengthError"),
        *((f"/topics/{name}", TOPIC, "TopicNameInvalid") for name in ("a_b", "a.b", "-a", "%E6%94%B6", "a%20b")),
        ("/topics/" + "t" * 121, TOPIC, "TopicNameLengthError"),
        *((f"/topics/t/subscriptions/{name}", HTTP, "SubscriptionNameInvalid") for name in ("a_b", "a.b", "-a")),
        ("/topics/t/subscriptions/" + "s" * 121, HTTP, "SubscriptionNameLengthError"),
        *(
            ("/topics/t/subscriptions/s", f"<Subscription>{end}</Subscription>", "EndpointInvalid")
            for end in (
                "", "<Endpoint/>", "<Endpoint>nowhere</Endpoint>", "<Endpoint>ftp://127.0.0.1/</Endpoint>",
                "<Endpoint>http://</Endpoint>", "<Endpoint>http://[::1</Endpoint>",
                "<Endpoint>acs:mns:cn-hangzhou:999:queues/q</Endpoint>",
                "<Endpoint>acs:mns:cn-beijing:1234567890123456:queues/q</Endpoint>",
                "<Endpoint>acs:mns:cn-hangzhou:1234567890123456:queues/a_b</Endpoint>",
                "<Endpoint>acs:mns:cn-hangzhou:1234567890123456:queues/</Endpoint>",
                "<Endpoint>acs:mns:cn-hangzhou:1234567890123456:topics/t</Endpoint>",
            )
        ),
    ],
)  # fmt: skip
async def test_names_and_endpoints_are_refused_by_codes_of_their_own(
    service: Service, target: str, body: str, code: str
) -> None:
    answer = await ask(service, "PUT", target, body)
    assert (answer.status, answer.of("Code")) == (400, code)
    assert (list(service.account.queues), list(service.account.topics)) == (["q"], ["t"])
    assert not service.account.topic("t").subscriptions


@pytest.mark.parametrize("name", ["a", "1", "1-2", "A--", "q" * 120])
async def test_names_by_the_rule_are_taken(service: Service, name: str) -> None:
    for target, body in (
        (f"/queues/{name}", QUEUE),
        (f"/topics/{name}", TOPIC),
        (f"/topics/t/subscriptions/{name}", HTTP),
    ):
        assert (await ask(service, "PUT", target, body)).status == 201


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("127.0.0.1:6060", "acs:mns:0:127:queues/q"),
        ("127.0.0.1:6060", "acs:mns:cn-hangzhou:127:queues/q"),
        ("127.0.0.1", "acs:mns::127:queues/q"),
        ("localhost:6060", "acs:mns:null:localhost:queues/q"),
        ("localhost", "acs:mns:cn-hangzhou:localhost:queues/q"),
        ("localhost:6060", "acs:mns::localhost:6060:queues/q"),
        ("[::1]:6060", "acs:mns:cn-hangzhou:[::1]:queues/q"),
        ("4711.mns.cn-shanghai.emulator.test:6060", "acs:mns:cn-shanghai:4711:queues/q"),
    ],
)
async def test_endpoints_that_sdks_generate_from_the_host_are_taken(service: Service, host: str, endpoint: str) -> None:
    wanted = f"<NotifyContentFormat>SIMPLIFIED</NotifyContentFormat><Endpoint>{endpoint}</Endpoint>"
    body = f"<Subscription>{wanted}</Subscription>"
    made = await ask(service, "PUT", "/topics/t/subscriptions/s", body, Host=host)
    assert (made.status, made.headers["Location"]) == (201, f"{host}/topics/t/subscriptions/s")
    assert (await ask(service, "GET", "/topics/t/subscriptions/s")).of("Endpoint") == endpoint
    service.publish("t", "hello")
    assert (await ask(service, "GET", "/queues/q/messages")).of("MessageBody") == "hello"


@pytest.mark.parametrize("endpoint", ["mail:directmail:a@example.com", "sms:directsms:anonymous", "push:app"])
async def test_what_is_sent_to_mailboxes_and_phones_goes_nowhere_and_is_counted(
    service: Service, endpoint: str
) -> None:
    service.account.subscribe("t", "s", SubscriptionAttributes(endpoint=endpoint))
    service.publish("t", "hello")
    assert (service.pushes.pending(), service.account.undeliverable) == (0, 1)


@pytest.mark.parametrize(
    ("method", "target", "body", "words"),
    [
        ("PUT", "/queues/a_b", QUEUE, "The queue name you provided is invalid. QueueName should start with"),
        ("PUT", "/topics/a_b", TOPIC, "The topic name you provided is invalid. TopicName should start with"),
        ("PUT", "/queues/x", "<Queue><VisibilityTimeout>0</VisibilityTimeout></Queue>",
         "The value of VisibilityTimeout should between 1 and 43200 seconds."),
        ("PUT", "/queues/x", "<Queue><MaximumMessageSize>1</MaximumMessageSize></Queue>",
         "The value of MaximumMessageSize should between 1024 and 65536 bytes."),
        ("PUT", "/queues/x", "<Queue><DelaySeconds>soon</DelaySeconds></Queue>", "The value of DelaySeconds should"),
        ("PUT", "/queues/x", "<Queue><LoggingEnabled>perhaps</LoggingEnabled></Queue>",
         "The XML you provided did not validate against our published schema, cause by LoggingEnabled"),
        ("POST", "/queues/q/messages", "<Message/>",
         "The XML you provided did not validate against our published schema, cause by MessageBody."),
        ("PUT", "/queues/x", "<Queue", "The XML you provided was not well-formed."),
        ("GET", "/queues/q/messages?waitseconds=31", "",
         'Http request URL contains invalid querystring item "waitseconds".'),
        ("GET", "/queues/nowhere", "", "The queue name you provided is not exist."),
    ],
)  # fmt: skip
async def test_mistakes_are_told_in_the_words_of_the_documents(
    service: Service, method: str, target: str, body: str, words: str
) -> None:
    assert words in (await ask(service, method, target, body)).text.replace("&quot;", '"')


async def test_an_empty_long_poll_lasts_as_long_as_was_asked(service: Service) -> None:
    began = monotonic()
    await ask(service, "GET", "/queues/q/messages?waitseconds=1")
    assert 1.0 <= monotonic() - began < 10

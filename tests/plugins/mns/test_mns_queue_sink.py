"""The sink `mns_queue`: what arrives is what the official SDK reads, and each Code has its outcome."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import anyio
import anyio.to_thread
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from mns.account import Account
from servers.hook import answering
from servers.mns_queue_service import document, error

from router import Batch, ConfigError, Partial, Reject, Retry, Secret
from router.testing import SinkSuite, make_event, make_events
from router_plugins.emulator import Emulator, Service
from router_plugins.emulator.faults import Faults
from router_plugins.emulator.queued import QueueAttributes
from router_plugins.mns.queue_sink import LARGEST, MnsQueueSink, _parts

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning"),  # the SDK calls its own
]
KEY = {"access_key_id": "testAccessKeyId", "access_key_secret": Secret("testAccessKeySecret")}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def sink(endpoint: str, **fields: Any) -> MnsQueueSink:
    every: dict[str, Any] = {"endpoint": endpoint, "queue": "q"} | KEY
    return MnsQueueSink(**every | fields)


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator().serve() as running:
        running.create_queue("q")
        yield running


async def outcome(sink: MnsQueueSink, batch: Batch) -> Exception | None:
    async with sink.open() as deliver:
        try:
            await deliver(batch)
        except (Retry, Reject, Partial) as problem:
            return problem
    return None


def bodies(service: Service) -> list[str]:
    return [lease.message.body for lease in service.account.queue("q").peek(10_000)]


class Scripted:
    """A service that takes messages, and refuses as told: the answers from `after` on, or documents with `poison`."""

    def __init__(self) -> None:
        self.url = ""
        self.sent: list[str] = []
        self.calls = 0
        self.poison = ""
        self.after = sys.maxsize
        self.refusal = (500, "InternalError")

    async def answer(self, request: web.Request) -> web.Response:
        self.calls += 1
        text = await request.text()
        if self.calls > self.after:
            return error(*self.refusal)
        if self.poison and self.poison in text:
            return error(400, "MalformedXML")
        found = [element.text or "" for element in ET.fromstring(text).iter() if "MessageBody" in element.tag]
        self.sent += found
        return document(201, "Messages", "<Message><MessageId>ID</MessageId></Message>" * len(found))


@asynccontextmanager
async def scripted() -> AsyncGenerator[Scripted]:
    made = Scripted()
    async with answering(made.answer, path="/queues/q/messages", shutdown_timeout=0.1) as made.url:
        yield made


class FailingService:
    """A queue whose service fails with 500 while it is down."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.sink = sink(service.url)

    async def arrived(self) -> Sequence[str]:
        return [json.loads(body)["id"] for body in bodies(self.service)]

    async def take_down(self) -> None:
        self.service.faults = Faults(errors=1)

    async def bring_back(self) -> None:
        self.service.faults = Faults()


class MissingQueue(FailingService):
    """A queue that somebody deletes, and makes again with what was in it."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.sink = sink(service.url, signature="v4", region="cn-hangzhou", base64=True)
        self.kept = service.account.queue("q").contents()

    async def arrived(self) -> Sequence[str]:
        return [json.loads(base64.b64decode(body))["id"] for body in bodies(self.service)]

    async def take_down(self) -> None:
        self.kept = self.service.account.queue("q").contents()
        self.service.account.delete_queue("q")

    async def bring_back(self) -> None:
        self.service.create_queue("q")
        self.service.account.queue("q").restore(self.kept)


class TestFailingServiceSuite(SinkSuite):
    @pytest.fixture
    def destination(self, service: Service) -> FailingService:
        return FailingService(service)


class TestMissingQueueSuite(SinkSuite):
    @pytest.fixture
    def destination(self, service: Service) -> MissingQueue:
        return MissingQueue(service)


ODD = 'müller 收件人 <&>"]]> \r\n\t\U0001f600'


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("form", ["json", "raw"])
async def test_the_official_sdk_reads_what_was_sent(service: Service, form: Any, *, encoded: bool) -> None:
    events = [make_event(number=str(number), text=ODD, raw=f"{number}{ODD}".encode()) for number in range(20)]
    assert await outcome(sink(service.url, form=form, base64=encoded), events) is None

    def read() -> list[str]:
        account = Account(service.url, KEY["access_key_id"], KEY["access_key_secret"])
        queue = account.get_queue("q")
        queue.set_encoding(encoded)
        messages = [*queue.batch_receive_message(16, 0), *queue.batch_receive_message(16, 0)]
        account.mns_client.close_connection()
        found = [message.message_body for message in messages]
        return [body.decode() if isinstance(body, bytes) else body for body in found]

    expected = [(event.json() if form == "json" else bytes(event.raw)).decode() for event in events]
    assert await anyio.to_thread.run_sync(read) == expected


async def test_delay_and_priority_are_those_of_the_config(service: Service) -> None:
    assert await outcome(sink(service.url, priority=9), make_events(1)) is None
    assert await outcome(sink(service.url, priority=2), make_events(1, start=1)) is None
    assert await outcome(sink(service.url, delay=100.0), make_events(1, start=2)) is None
    assert [json.loads(body)["number"] for body in bodies(service)] == ["1", "0"]
    assert service.account.queue("q").counts().delayed == 1


async def test_a_message_that_is_too_large_alone_is_a_dead_letter(service: Service) -> None:
    events = [*make_events(2), make_event(text="x" * LARGEST), *make_events(2, start=2)]
    problem = await outcome(sink(service.url), events)
    assert isinstance(problem, Partial)
    assert {index: type(each) for index, each in problem.errors.items()} == {2: Reject}
    assert len(bodies(service)) == 4


async def test_what_the_queue_itself_refuses_is_a_dead_letter_and_the_rest_arrives(service: Service) -> None:
    service.create_queue("small", QueueAttributes(maximum_message_size=1024))
    events = [*make_events(1), make_event(text="x" * 2000), *make_events(1, start=1)]
    problem = await outcome(sink(service.url, queue="small"), events)
    assert isinstance(problem, Partial)
    assert {index: type(each) for index, each in problem.errors.items()} == {1: Reject}
    assert "InvalidArgument" in str(problem.errors[1])
    assert service.account.queue("small").counts().active == 2


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"bell\x07", "\ufffe".encode(), b""])
async def test_what_no_message_can_hold_is_a_dead_letter_unless_it_is_encoded(service: Service, raw: bytes) -> None:
    event = make_event(raw=raw, number="1")
    assert isinstance(await outcome(sink(service.url, form="raw"), [event]), Reject)
    encoded = await outcome(sink(service.url, form="raw", base64=True), [event])
    assert isinstance(encoded, Reject) if not raw else encoded is None
    assert bodies(service) == ([base64.b64encode(raw).decode()] if raw else [])


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "InvalidArgument", Reject),
        (400, "MalformedXML", Reject),
        (403, "AccessDenied", Reject),
        (403, "SignatureDoesNotMatch", Reject),
        (404, "QueueNotExist", Reject),
        (403, "QpsLimitExceeded", Retry),
        (408, "TimeExpired", Retry),
        (500, "InternalError", Retry),
        (400, "SomethingNew", Retry),
    ],
)
async def test_each_code_has_its_outcome(status: int, code: str, kind: type[Exception]) -> None:
    async with scripted() as there:
        there.refusal, there.after = (status, code), 0
        problem = await outcome(sink(there.url), make_events(1))
    assert isinstance(problem, kind)
    assert code in str(problem)
    assert not isinstance(problem, Reject) or bool(problem.hold) == (status != 400), "what is about everything holds"


async def test_nothing_is_sent_after_a_refusal_of_everything(service: Service) -> None:
    """What was not tried is not refused."""
    problem = await outcome(sink(service.url, queue="no-such"), make_events(40))
    assert isinstance(problem, Partial)
    assert [isinstance(problem.errors[index], Reject) for index in (0, 15, 16, 39)] == [True, True, False, False]


async def test_the_one_message_that_spoils_its_batch_is_found() -> None:
    """A service that refuses a document as a whole does not say which message it is about."""
    async with scripted() as there:
        there.poison = "poison"
        events = [*make_events(3), make_event(text="poison"), *make_events(3, start=3)]
        problem = await outcome(sink(there.url), events)
        assert isinstance(problem, Partial)
        assert {index: type(each) for index, each in problem.errors.items()} == {3: Reject}
        assert [json.loads(body)["number"] for body in there.sent] == ["0", "1", "2", "3", "4", "5"]


async def test_nothing_is_sent_after_one_that_is_to_be_tried_again() -> None:
    async with scripted() as there:
        there.after = 1
        problem = await outcome(sink(there.url), make_events(40))
        assert isinstance(problem, Partial)
        assert sorted(problem.errors) == list(range(16, 40))
        assert all(isinstance(each, Retry) for each in problem.errors.values())
        assert len(there.sent) == 16
        assert there.calls == 2


async def test_a_lost_answer_is_tried_again_and_may_come_twice(service: Service) -> None:
    service.faults = Faults(lost_answers=1)
    assert isinstance(await outcome(sink(service.url), make_events(3)), Retry)
    service.faults = Faults()
    assert await outcome(sink(service.url), make_events(3)) is None
    assert len(bodies(service)) == 6


async def test_a_skewed_clock_is_set_by_the_first_try(service: Service) -> None:
    service.faults = Faults(clock_skew=7200)
    async with sink(service.url).open() as deliver:
        with pytest.raises(Retry, match="TimeExpired"):
            await deliver(make_events(1))
        await deliver(make_events(1))
    assert len(bodies(service)) == 1


@given(st.lists(st.integers(1, LARGEST), max_size=60))
def test_no_part_has_more_than_16_messages_or_64_kib(sizes: list[int]) -> None:
    parts = list(_parts({index: "x" * size for index, size in enumerate(sizes)}))
    assert [index for part in parts for index in part] == list(range(len(sizes)))
    assert all(len(part) <= 16 and sum(map(len, part.values())) <= LARGEST for part in parts)
    pairs = pairwise(parts)
    assert all(len(a) == 16 or sum(map(len, a.values())) + len(next(iter(b.values()))) > LARGEST for a, b in pairs)


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"endpoint": "127.0.0.1:6060"}, "endpoint"),
        ({"queue": "a/b"}, "queue"),
        ({"signature": "v4"}, "region"),
        ({"access_key_secret": Secret("")}, "access_key_id"),
        ({"delay": 604801.0}, "delay"),
        ({"delay": 0.5}, "delay"),
    ],
)
def test_a_bad_value_is_refused_with_its_field(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sink(fields.pop("endpoint", "http://127.0.0.1:1"), **fields).check()
    assert caught.value.place == place

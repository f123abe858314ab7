"""The queue client: signed to the letter, errors by their Code, and tries again only where that can help."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from aiohttp import web
from servers.mns_queue_service import KEY, QueueService, document, error, queue_service

from router import Secret
from router_plugins.mns import client as client_module
from router_plugins.mns import wire
from router_plugins.mns.client import QueueClient, Retries, open_queue
from router_plugins.mns.credentials import Credentials
from router_plugins.mns.errors import MnsError, MnsUnreachableError
from router_plugins.mns.pace import Pace
from router_plugins.mns.wire import Fault

pytestmark = pytest.mark.anyio
QUICK = Retries(attempts=3, shortest=0.01, longest=0.02)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def opened(queue: str = "q", **credentials: Any) -> AsyncGenerator[tuple[QueueService, QueueClient]]:
    given = Credentials(KEY[0], Secret(credentials.pop("secret", KEY[1])), **credentials)
    async with queue_service() as service, open_queue(service.endpoint, queue, given, retries=QUICK) as client:
        yield service, client


async def test_messages_are_received_as_they_were_sent() -> None:
    async with opened() as (service, client):
        body = 'env_id=1&err_msg=550 <no> such "user" é用户 ]]>'
        assert await client.send(body, delay=0, priority=1) == "SENT"
        [message] = await client.receive(16, 1)
        assert (message.body, message.dequeue_count, message.handle) == (body, 2, "1-0+/==")
        assert service.requests[1] == "GET /queues/q/messages?numOfMessages=16&waitseconds=1"


async def test_an_empty_queue_is_no_error() -> None:
    async with opened() as (_, client):
        assert await client.receive(16, 0) == []


async def test_a_handle_with_plus_and_slash_is_deleted_by_what_it_is() -> None:
    async with opened() as (service, client):
        service.put("a")
        [message] = await client.receive(1, 0)
        await client.delete(message.handle)
        assert service.deleted == ["a"]
        with pytest.raises(MnsError, match="ReceiptHandleError"):
            await client.delete(message.handle)


async def test_a_batch_delete_says_which_failed() -> None:
    async with opened() as (service, client):
        service.put("a", "b", "c")
        handles = [message.handle for message in await client.receive(16, 0)]
        service.hidden.pop(handles[1])
        [fault] = await client.delete_batch(handles)
        assert (fault.handle, fault.code) == (handles[1], "ReceiptHandleError")
        assert service.deleted == ["a", "c"]
        assert [each.handle for each in await client.delete_batch(handles)] == handles


async def test_a_message_can_be_hidden_longer_under_a_new_handle() -> None:
    async with opened() as (service, client):
        service.put("a")
        [message] = await client.receive(1, 0)
        handle = await client.change_visibility(message.handle, 60)
        assert handle != message.handle
        assert await client.delete_batch([handle]) == []


async def test_attributes_are_named_as_in_the_api() -> None:
    async with opened() as (_, client):
        assert await client.attributes() == {"QueueName": "q", "VisibilityTimeout": "30"}


async def test_the_token_of_a_temporary_key_goes_along_unsigned() -> None:
    async with opened(security_token=Secret("token")) as (service, client):
        await client.receive(1, 0)
        assert service.tokens == {"token"}


async def test_a_missing_queue_is_told_from_an_empty_one() -> None:
    async with opened("other") as (service, client):
        with pytest.raises(MnsError) as caught:
            await client.receive(16, 0)
        assert (caught.value.status, caught.value.code, caught.value.request_id) == (404, "QueueNotExist", "R1")
        assert len(service.requests) == 1


async def test_a_wrong_secret_is_not_tried_again_and_never_shown() -> None:
    async with opened(secret="wrong-secret") as (service, client):
        with pytest.raises(MnsError, match="SignatureDoesNotMatch") as caught:
            await client.receive(16, 0)
        assert len(service.requests) == 1
        assert "wrong-secret" not in str(caught.value)


def reset(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize(
    "fault",
    [
        lambda _: error(500, "InternalError"),
        lambda _: error(503, "ServiceUnavailable"),
        lambda _: error(429, "QpsLimitExceeded"),
        lambda _: web.Response(status=502, text="<html>bad gateway"),
        reset,
    ],
    ids=["500", "503", "limit", "proxy", "reset"],
)
async def test_what_may_pass_is_tried_again(fault: Any) -> None:
    async with opened() as (service, client):
        service.put("a")
        service.faults = [fault, fault]
        assert [message.body for message in await client.receive(16, 0)] == ["a"]
        assert len(service.requests) == 3


async def test_it_gives_up_after_some_tries() -> None:
    async with opened() as (service, client):
        service.faults = [lambda _: error(500, "InternalError")] * 5
        with pytest.raises(MnsError, match="InternalError"):
            await client.receive(16, 0)
        assert len(service.requests) == 3


async def test_a_service_that_is_not_there_is_unreachable() -> None:
    credentials = Credentials(*KEY[:1], Secret(KEY[1]))
    async with open_queue("http://127.0.0.1:1", "q", credentials, retries=QUICK) as client:
        with pytest.raises(MnsUnreachableError, match=r"127\.0\.0\.1:1"):
            await client.receive(16, 0)


async def test_a_redirect_is_not_followed() -> None:
    async with opened() as (service, client):
        service.faults = [lambda _: web.Response(status=302, headers={"Location": "/queues/other"})]
        with pytest.raises(MnsError) as caught:
            await client.receive(16, 0)
        assert caught.value.status == 302
        assert len(service.requests) == 1


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa">]><Messages><Message><MessageBody>&a;</MessageBody></Message></Messages>'


@pytest.mark.parametrize("answer", ["", "no xml", BOMB, "<Messages><Message/></Messages>", "<a>" * 50])
async def test_an_answer_that_makes_no_sense_is_as_good_as_none(answer: str) -> None:
    async with opened() as (service, client):
        service.faults = [lambda _: web.Response(text=answer)]
        with pytest.raises(MnsUnreachableError, match="makes no sense"):
            await client.receive(16, 0)


PARTS = {
    "MessageId": "<MessageId>1</MessageId>",
    "ReceiptHandle": "<ReceiptHandle>h</ReceiptHandle>",
    "MessageBody": "<MessageBody>a=b</MessageBody>",
    "NextVisibleTime": "<NextVisibleTime>1</NextVisibleTime>",
}
GOOD = f"<Message>{''.join(PARTS.values())}</Message>"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "written",
    [
        "",
        "<{0}><Notification><Message>a</Message></Notification></{0}>",
        "<{0}>1<b/></{0}>",
        "<{0}><b/>1</{0}>",
        "<{0}>1</{0}><{0}>2</{0}>",
        "<{0}>1</{0}><x:{0} xmlns:x='y'>2</x:{0}>",
    ],
    ids=["missing", "a document in it", "an element behind", "an element before", "twice", "twice in two namespaces"],
)
@pytest.mark.parametrize("spoilt", ["", "\x07"])
def test_a_message_of_which_a_part_is_no_text_cannot_be_read(part: str, written: str, spoilt: str) -> None:
    """Also where the document has to be mended; what would be stored is not to be guessed, for it is deleted."""
    inner = "".join((PARTS | {part: written.format(part)}).values())
    document = f"<Messages>{GOOD}<Message>{inner}<X>{spoilt}</X></Message></Messages>"
    with pytest.raises(ValueError, match=part):
        wire.messages_of(wire.read(document.encode()))


@pytest.mark.parametrize(
    ("written", "body"),
    [
        ("a<!-- no -->=<?no part?>b", "a=b"),
        ("<![CDATA[<b/>]]>&lt;c/>", "<b/><c/>"),
        ("", ""),
        (" a ", " a "),
    ],
)
def test_a_body_is_all_of_its_text(written: str, body: str) -> None:
    inner = "".join((PARTS | {"MessageBody": f"<MessageBody>{written}</MessageBody>"}).values())
    properties = "<UserProperties><PropertyValue><Name>n</Name></PropertyValue></UserProperties>"
    [message] = wire.messages_of(wire.read(f"<Message>{inner}{properties}</Message>".encode()))
    assert message.body == body


@pytest.mark.parametrize("document", ["<html><Message/></html>", "<Error><Code>C</Code></Error>", "<Queue/>"])
def test_what_holds_no_messages_is_no_empty_answer(document: str) -> None:
    with pytest.raises(ValueError, match="neither messages"):
        wire.messages_of(wire.read(document.encode()))


async def test_an_answer_without_end_is_cut_off() -> None:
    async with opened() as (service, client):
        service.faults = [lambda _: web.Response(body=b"x" * 9_000_000)] * 3
        with pytest.raises(MnsUnreachableError, match="more than"):
            await client.receive(16, 0)


def test_answers_are_read_whatever_their_namespace() -> None:
    for namespace in ("", ' xmlns="http://mns.aliyuncs.com/doc/v1"', ' xmlns="http://mns.aliyuncs.com/doc/v1/"'):
        [fault] = wire.faults_of(wire.read(f"<Error{namespace}><Code>C</Code></Error>".encode()))
        assert fault.code == "C"


def test_pauses_grow_with_jitter_up_to_the_longest() -> None:
    retries = Retries(shortest=1.0, longest=60.0)
    for failures, most in ((1, 1.0), (2, 2.0), (3, 4.0), (10, 60.0), (5000, 60.0)):
        pauses = {retries.pause(failures) for _ in range(50)}
        assert all(most / 2 <= pause <= most for pause in pauses)
        assert len(pauses) > 1


async def test_a_request_without_a_body_carries_no_content_type() -> None:
    """One that the HTTP library adds is not in the signature, and the service refuses it."""
    async with opened() as (service, client):
        service.put("a")
        [message] = await client.receive(1, 0)
        await client.change_visibility(message.handle, 60)
        assert service.content_types["PUT"] == ""


async def test_too_many_requests_slow_the_next_ones_down_for_a_while() -> None:
    pace = Pace()
    pace.slow_down()
    pace.slow_down()
    assert pace.pause == 0.1
    for _ in range(40):
        pace.succeed()
    assert pace.pause == 0


async def test_a_partly_refused_batch_is_not_sent_again() -> None:
    """Which status it has is not known, and sending it again would double what was accepted."""
    inner = "<Message><MessageId>1</MessageId></Message><Message><ErrorCode>E</ErrorCode></Message>"
    async with opened() as (service, client):
        service.faults = [lambda _: document(500, "Messages", inner)]
        assert await client.send_batch(["a", "b"]) == ["1", Fault("E")]
        assert len(service.requests) == 1


async def test_an_answer_is_waited_for_longer_than_a_long_poll_lasts_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A timeout at the length of the poll would break off every poll of an empty queue (PROTOCOL 1.6)."""
    monkeypatch.setattr(client_module, "_MARGIN", 0.4)
    async with opened() as (service, client):
        begun = anyio.current_time()
        assert await client.receive(16, 1) == []
        assert anyio.current_time() - begun >= 1
        assert len(service.requests) == 1
        service.hang = True
        with pytest.raises(MnsUnreachableError):
            await client.receive(16, 0)
        assert len(service.requests) == 4
        service.hang = False

"""What a push's headers say of its body: content codings, charsets, and the CloudEvent that it is the data of."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from hashlib import md5
from typing import Any

import anyio
import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from servers import eventbridge_pushes
from servers.eventbridge_pushes import TOKEN, URL
from servers.mns_pushes import BODY, CERTIFICATE, Answers, Recorder, certificate_host, connected, push, request

from router import Secret
from router_plugins.directmail.decoder import DirectMail
from router_plugins.mns.eventbridge_target import EventBridge
from router_plugins.mns.push import MnsPush

pytestmark = pytest.mark.anyio
TARGET = EventBridge(url=Secret(URL), token=Secret(TOKEN), certificate=CERTIFICATE)
DATA = {"env_id": "1", "account": "a@b.c", "rcpt": "r@d.com", "status": "4", "deliver_time": "2024-04-29T11:07:12"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def receiving(emit: Recorder, counted: list[str] | None = None, **fields: Any) -> AsyncGenerator[Answers]:
    every: dict[str, Any] = {"listen": "127.0.0.1:0", "certificate": CERTIFICATE, "eventbridge": TARGET, **fields}
    counts = [] if counted is None else counted
    async with MnsPush(**every).serving(emit, counts.append) as (_, port), connected(port) as client:
        yield client


def packed(coding: str, body: bytes = BODY) -> bytes:
    return gzip.compress(body) if "gzip" in coding.lower() else zlib.compress(body) if coding == "deflate" else body


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "deflate", "identity", " "])
async def test_a_packed_push_is_unpacked_and_its_signature_is_of_the_bytes_as_sent(coding: str) -> None:
    emit = Recorder()
    async with receiving(emit) as client:
        assert await client.to(push(packed(coding), unsigned={"content-encoding": coding})) == [204]
        plain = push(BODY, unsigned={"content-encoding": coding})
        [status] = await client.to(
            plain.replace(BODY, packed(coding)).replace(b"Length: 31", b"Length: %d" % len(packed(coding)))
        )
        assert status == (204 if packed(coding) == BODY else 403)
    assert {message.body for message in emit.messages} == {BODY}
    assert DirectMail().decode(emit.messages[0], "push").get("env_id") == "1"


async def test_eventbridge_may_pack_too() -> None:
    emit = Recorder()
    body = gzip.compress(eventbridge_pushes.BODY)
    async with receiving(emit) as client:
        assert await client.to(eventbridge_pushes.push(body, unsigned={"content-encoding": "gzip"})) == [204]
    assert emit.messages[0].body == eventbridge_pushes.BODY


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip, br", "aws-chunked", "compress", "x"])
@pytest.mark.parametrize("verify", [True, False])
async def test_any_other_coding_gets_415_with_those_that_are_taken(coding: str, *, verify: bool) -> None:
    emit = Recorder()
    async with receiving(emit, verify=verify) as client:
        client.writer.write(push(unsigned={"content-encoding": coding}))
        status, headers, reason = await client.next()
        assert (status, headers["accept-encoding"]) == (415, "gzip, deflate")
        assert "Content-Encoding" in reason
    assert emit.messages == []


async def test_two_lines_of_codings_are_two_codings() -> None:
    async with receiving(Recorder()) as client:
        twice = push(
            gzip.compress(gzip.compress(BODY)), unsigned={"content-encoding": "gzip\r\nContent-Encoding: gzip"}
        )
        assert await client.to(twice) == [415]


@pytest.mark.parametrize(
    ("coding", "body", "status"),
    [
        ("gzip", gzip.compress(BODY)[:-3], 400),
        ("gzip", BODY, 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(BODY) + b"x", 400),
        ("deflate", zlib.compress(BODY)[:-3], 400),
        ("gzip", gzip.compress(bytes(256 * 1024 + 1)), 413),
        ("deflate", zlib.compress(bytes(100_000_000), 9), 413),
        ("gzip", gzip.compress(bytes(256 * 1024)), 204),
    ],
)
async def test_what_cannot_be_read_later_is_never_answered_204(coding: str, body: bytes, status: int) -> None:
    emit, counted = Recorder(), list[str]()
    async with receiving(emit, counted) as client:
        assert await client.to(push(body, unsigned={"content-encoding": coding}), push()) == [status, 204]
    assert len(emit.messages) == 1 + (status == 204)
    assert counted == {400: ["bad_request"], 413: ["too_large"], 204: []}[status]


async def test_what_is_unpacked_counts_for_the_limit_of_what_waits() -> None:
    emit, counted = Recorder(), list[str]()
    emit.open = anyio.Event()
    bomb = push(gzip.compress(bytes(200_000)), unsigned={"content-encoding": "gzip"})
    async with receiving(emit, counted, max_unanswered=500_000) as client:
        client.writer.write(bomb * 8)
        await emit.called.wait()
        while not counted:
            await anyio.sleep(0.01)
        emit.open.set()
        statuses = [(await client.next())[0] for _ in range(8)]
    assert 204 in statuses
    assert 503 in statuses
    assert len(emit.messages) == statuses.count(204)


async def test_a_packed_push_may_wait_for_its_certificate() -> None:
    emit = Recorder()
    async with certificate_host() as host:
        fields: dict[str, Any] = {"certificate": None, "certificate_urls": (host.prefix,)}
        async with receiving(emit, **fields) as client:
            url = host.prefix + "a.pem"
            assert await client.to(push(gzip.compress(BODY), url=url, unsigned={"content-encoding": "gzip"})) == [204]
    assert emit.messages[0].body == BODY


@pytest.mark.parametrize("coding", ["", "gzip", "deflate"])
@pytest.mark.parametrize("end", ["", "\0"])
@pytest.mark.parametrize("form", ["xml gbk", "xml utf-16", "json", "json utf-16", "json odd"])
async def test_the_topic_of_an_envelope_is_seen_in_every_coding_and_charset(coding: str, end: str, form: str) -> None:
    kind, _, codec = form.partition(" ")
    text = "env_id=1&amp;rcpt=张三@b.c&amp;status=4&amp;event=deliver"
    xml = f"<Notification><TopicOwner>1</TopicOwner><TopicName>dm</TopicName><Message>{text}</Message></Notification>"
    in_json = json.dumps(
        {"TopicOwner": "1", "TopicName": "dm", "Message": text.replace("amp;", "")}, ensure_ascii=False
    )
    whole = (f'<?xml version="1.0" encoding="{codec}"?>{xml}' if kind == "xml" else in_json) + end
    body = (
        whole.replace("张", "\udcff").encode("utf-8", "surrogateescape")
        if codec == "odd"
        else whole.encode(codec or "utf-8")
    )
    names = {"x-mns-topic-name": "", "x-mns-topic-owner": ""}
    content_type = "text/xml" if kind == "xml" else "application/json"
    sent = bytes_as_sent(packed(coding, body), content_type, coding, names)
    emit = Recorder()
    async with receiving(emit, topics=("acs:mns:*:1:topics/dm",), verify=False) as client:
        assert await client.to(sent) == [204]
    event = DirectMail().decode(emit.messages[0], "push")
    assert event.get("rcpt") == ("\ufffd三@b.c" if codec == "odd" else "张三@b.c")


def bytes_as_sent(body: bytes, content_type: str, coding: str, more: dict[str, str]) -> bytes:
    digest = md5(body).hexdigest()
    headers = {"content-type": content_type, "content-encoding": coding, "content-md5": digest, **more}
    return request(body, headers)


def binary(**attributes: str) -> tuple[dict[str, str], bytes]:
    every = {
        "id": "1",
        "source": "acs:dm",
        "specversion": "1.0",
        "type": "dm:Deliver:Fail",
        "aliyunregionid": "cn-hangzhou",
    }
    message = to_binary_event(CloudEvent({**every, "datacontenttype": "application/json", **attributes}, dict(DATA)))
    return message.headers, message.body


async def test_eventbridges_binary_mode_is_kept_with_the_message_and_decoded() -> None:
    headers, body = binary(subject="ä%", aliyunmore="x")
    emit = Recorder()
    async with receiving(emit) as client:
        assert await client.to(eventbridge_pushes.push(body, unsigned=headers)) == [204]
    [message] = emit.messages
    assert message.body == body
    said = {name: value for name, value in headers.items() if name.startswith("ce-")}
    assert message.attributes == {"content_type": "application/json", "message_id": "1", **said}
    event = DirectMail().decode(message, "push")
    assert (event.type, event.get("region"), event.get("rcpt")) == ("Deliver:SendFailed", "cn-hangzhou", "r@d.com")


async def test_both_modes_of_the_official_sdk_are_one_event_on_their_way_through_the_listener() -> None:
    event = CloudEvent({"id": "1", "source": "acs:dm", "specversion": "1.0", "type": "dm:Trace:Open"}, dict(DATA))
    emit = Recorder()
    async with receiving(emit) as client:
        for message in (to_structured_event(event), to_binary_event(event)):
            sent = {"content-type": "application/json", **message.headers}
            assert await client.to(eventbridge_pushes.push(message.body, unsigned=sent)) == [204]
    one, other = (DirectMail().decode(message, "push") for message in emit.messages)
    assert (one.id, one.type, one.time, one.fields) == (other.id, "Trace:Open", other.time, other.fields)


async def test_mns_signs_no_headers_of_cloud_events_so_there_they_are_not_believed() -> None:
    headers, body = binary(type="dm:Deliver:Succeed")
    emit = Recorder()
    unsigned = {name: value for name, value in headers.items() if name.startswith("ce-")}
    async with receiving(emit) as client:
        assert await client.to(push(body, unsigned=unsigned), push(unsigned=unsigned)) == [204, 204]
    assert not [name for message in emit.messages for name in message.attributes if name.startswith("ce-")]
    assert DirectMail().decode(emit.messages[0], "push").type == "Deliver:SendFailed"


async def test_where_nothing_is_verified_they_are() -> None:
    headers, body = binary(type="dm:Trace:Open")
    emit = Recorder()
    async with receiving(emit, verify=False, eventbridge=None) as client:
        assert await client.to(request(body, headers)) == [204]
    assert DirectMail().decode(emit.messages[0], "push").type == "Trace:Open"


async def test_headers_of_cloud_events_are_bounded_as_all_headers_are() -> None:
    emit = Recorder()
    headers, body = binary()
    for more in ({f"ce-x{i}": "1" for i in range(200)}, {"ce-x": "x" * 60_000}):
        async with receiving(emit) as client:
            assert await client.to(eventbridge_pushes.push(body, unsigned=headers | more)) == [431]
    assert emit.messages == []


async def test_a_header_twice_is_no_type_of_directmail() -> None:
    headers, body = binary()
    emit = Recorder()
    twice = headers | {"ce-type": "dm:Deliver:Fail\r\nce-type: dm:Deliver:Succeed"}
    async with receiving(emit) as client:
        assert await client.to(eventbridge_pushes.push(body, unsigned=twice)) == [204]
    assert DirectMail().decode(emit.messages[0], "push").type not in {"Deliver:SendFailed", "Deliver:SendSuccessfully"}

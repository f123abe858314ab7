"""A small MNS queue on a loopback socket, which checks signatures and can be told to fail.

It shares no code with the emulator, so that the queue client is judged by two readings of the same documents.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import web

from router_plugins.mns.signing import body_matches, sign_v2
from servers.hook import answering

KEY = ("testAccessKeyId", "testAccessKeySecret")
XML = "http://mns.aliyuncs.com/doc/v1"
Fault: TypeAlias = Callable[[web.Request], web.StreamResponse | None]


def error(status: int, code: str, message: str = "as told") -> web.Response:
    inner = f"<Code>{code}</Code><Message>{message}</Message><RequestId>R1</RequestId><HostId>h</HostId>"
    return document(status, "Error", inner)


def document(status: int, name: str, inner: str) -> web.Response:
    text = f'<?xml version="1.0" ?><{name} xmlns="{XML}">{inner}</{name}>'
    return web.Response(status=status, text=text, headers={"Content-Type": "text/xml;charset=utf-8"})


@dataclass
class QueueService:
    """One queue `q`. `faults` are tried in turn, each for one request; None lets the request through."""

    endpoint: str = ""
    bodies: list[str] = field(default_factory=list[str])
    hidden: dict[str, str] = field(default_factory=dict[str, str])
    deleted: list[str] = field(default_factory=list[str])
    faults: list[Fault | None] = field(default_factory=list[Fault | None])
    requests: list[str] = field(default_factory=list[str])
    tokens: set[str] = field(default_factory=set[str])
    content_types: dict[str, str] = field(default_factory=dict[str, str])
    early: bool = False
    part: float = 1.0
    """What an empty poll lasts of what was asked: of one second, the service waited 0.87 (PROTOCOL 8.1)."""
    unescaped: str = ""
    """A body that stands in answers as it is."""
    hang: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def put(self, *bodies: str) -> None:
        self.bodies += bodies
        self.arrived.set()

    def reappear(self) -> None:
        """Let every lease run out."""
        self.bodies += self.hidden.values()
        self.hidden.clear()
        self.arrived.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(f"{request.method} {request.raw_path}")
        self.tokens.add(request.headers.get("security-token", ""))
        if self.hang:
            await asyncio.sleep(60)
        if self.faults:
            fault = self.faults.pop(0)
            told = None if fault is None else fault(request)
            if told is not None:
                return told
        refused = self.refusal(request, body)
        if refused is not None:
            return refused
        if request.path != "/queues/q/messages":
            if request.path == "/queues/q":
                return document(200, "Queue", "<QueueName>q</QueueName><VisibilityTimeout>30</VisibilityTimeout>")
            return error(404, "QueueNotExist")
        return await getattr(self, request.method.lower())(request, body)  # type: ignore[no-any-return]

    def refusal(self, request: web.Request, body: bytes) -> web.Response | None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        signature = sign_v2(KEY[1], request.method, request.raw_path, headers)
        if headers.get("authorization") != f"MNS {KEY[0]}:{signature}" or headers.get("x-mns-version") != "2015-06-06":
            return error(403, "SignatureDoesNotMatch")
        if body and not body_matches(headers.get("content-md5", ""), body):
            return error(400, "InvalidDigest")
        return None

    async def get(self, request: web.Request, _: bytes) -> web.Response:
        if not self.bodies and not self.early:
            self.arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.arrived.wait(), self.part * float(request.query["waitseconds"]))
        taken = [self.bodies.pop(0) for _ in range(min(len(self.bodies), int(request.query["numOfMessages"])))]
        if not taken:
            return error(404, "MessageNotExist", "Message not exist.")
        return document(200, "Messages", "".join(self.lease(body) for body in taken))

    def lease(self, body: str) -> str:
        handle = f"1-{next(self.numbers)}+/=="
        self.hidden[handle] = body
        written = body if body == self.unescaped else escape(body)
        return (
            f"<Message><MessageId>ID{handle[2:-4]}</MessageId><ReceiptHandle>{handle}</ReceiptHandle>"
            f"<MessageBody>{written}</MessageBody><NextVisibleTime>1492141518000</NextVisibleTime>"
            "<DequeueCount>2</DequeueCount></Message>"
        )

    async def delete(self, request: web.Request, body: bytes) -> web.Response:
        if not body:
            handle = request.rel_url.query["ReceiptHandle"]
            return web.Response(status=204) if self.drop(handle) else error(400, "ReceiptHandleError")
        handles = [element.text or "" for element in ET.fromstring(body)]
        failed = [handle for handle in handles if not self.drop(handle)]
        if not failed:
            return web.Response(status=204)
        code = "<ErrorCode>ReceiptHandleError</ErrorCode><ErrorMessage>not valid</ErrorMessage>"
        inner = "".join(f"<Error>{code}<ReceiptHandle>{handle}</ReceiptHandle></Error>" for handle in failed)
        return document(404, "Errors", inner)

    def drop(self, handle: str) -> bool:
        body = self.hidden.pop(handle, None)
        if body is not None:
            self.deleted.append(body)
        return body is not None

    async def put_visibility(self, request: web.Request) -> web.Response:
        body = self.hidden.pop(request.rel_url.query["ReceiptHandle"])
        handle = f"2-{next(self.numbers)}"
        self.hidden[handle] = body
        inner = f"<ReceiptHandle>{handle}</ReceiptHandle><NextVisibleTime>1</NextVisibleTime>"
        return document(200, "ChangeVisibility", inner)

    async def post(self, _: web.Request, body: bytes) -> web.Response:
        texts = {element.tag.rpartition("}")[2]: element.text or "" for element in ET.fromstring(body)}
        self.put(texts["MessageBody"])
        return document(201, "Message", "<MessageId>SENT</MessageId><MessageBodyMD5>X</MessageBodyMD5>")


@asynccontextmanager
async def queue_service() -> AsyncGenerator[QueueService]:
    service = QueueService()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "PUT":
            service.content_types["PUT"] = request.headers.get("Content-Type", "")
            service.requests.append(f"PUT {request.raw_path}")
            return await service.put_visibility(request)
        return await service.answer(request)

    async with answering(answer, shutdown_timeout=0.1, handler_cancellation=True) as service.endpoint:
        yield service

"""What the tests of the push source share: signed pushes, a place that serves certificates, a raw client."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import formatdate
from hashlib import md5
from pathlib import Path
from ssl import SSLContext
from typing import Any

import anyio
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from router import Message, PemFile
from router_plugins.mns.signing import sign_push
from servers.hook import answering

VECTORS = Path(__file__).parents[1] / "plugins" / "mns" / "vectors"
CERTIFICATE = PemFile.read(VECTORS / "push-test-cert.pem")
PUSHES: Sequence[dict[str, Any]] = json.loads((VECTORS / "mns.json").read_text())["http_push"]["vectors"]
BODY = b"env_id=1&status=0&event=deliver"
URL = "https://mnstest.oss-cn-hangzhou.aliyuncs.com/x509_public_certificate.pem"


def private_key() -> RSAPrivateKey:
    key = load_pem_private_key((VECTORS / "push-test-key.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


KEY = private_key()


def push(
    body: bytes = BODY,
    *,
    target: str = "/notifications",
    url: str = URL,
    headers: Mapping[str, str] | None = None,
    unsigned: Mapping[str, str] | None = None,
) -> bytes:
    """Write a SIMPLIFIED push, signed; `headers` are signed too, `unsigned` replace signed ones afterwards."""
    signed = {
        "content-md5": md5(body).hexdigest().upper(),
        "content-type": "text/plain;charset=utf-8",
        "date": formatdate(usegmt=True),
        "x-mns-version": "2015-06-06",
        "x-mns-request-id": "58F047D1B2E2C9335E000001",
        "x-mns-signing-cert-url": b64encode(url.encode()).decode(),
        "x-mns-message-id": "0D3A3C0C4B3A5F6E7D8C9BA0F1E2D3C4",
        "x-mns-topic-owner": "1234567890123456",
        "x-mns-topic-name": "dm-topic",
        "x-mns-subscription-name": "to-http",
        "x-mns-publish-time": "1492141488000",
        **(headers or {}),
    }
    signed["authorization"] = sign_push(KEY, "POST", target, signed)
    return request(body, signed | dict(unsigned or {}), target=target)


def request(body: bytes, headers: Mapping[str, str], *, target: str = "/notifications") -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if value]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


class Answers:
    """Sends requests on one connection and reads the answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def to(self, *requests: bytes) -> list[int]:
        """Send all at once; return the statuses."""
        self.writer.write(b"".join(requests))
        return [(await self.next())[0] for _ in requests]

    async def next(self) -> tuple[int, dict[str, str], str]:
        with anyio.fail_after(5):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:-2])}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body.decode()


@asynccontextmanager
async def connected(port: int, ssl: SSLContext | None = None) -> AsyncGenerator[Answers]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ssl)
    try:
        yield Answers(reader, writer)
    finally:
        writer.close()
        with anyio.CancelScope(shield=True), anyio.move_on_after(1):
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


class Recorder:
    """An emit that keeps what it was given, and fails as told, once for each error."""

    def __init__(self, *errors: Exception) -> None:
        self.batches: list[Sequence[Message]] = []
        self.errors = list(errors)
        self.called = anyio.Event()
        self.open = anyio.Event()
        self.open.set()

    @property
    def messages(self) -> list[Message]:
        return [message for batch in self.batches for message in batch]

    async def __call__(self, messages: Sequence[Message]) -> None:
        self.called.set()
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.batches.append(messages)


class CertificateHost:
    """Serves what it is told at any path, after `open` is set."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.body = CERTIFICATE.content
        self.status = 200
        self.headers: dict[str, str] = {}
        self.open = anyio.Event()
        self.open.set()
        self.prefix = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await self.open.wait()
        return web.Response(body=self.body, status=self.status, headers=self.headers)


@asynccontextmanager
async def certificate_host() -> AsyncGenerator[CertificateHost]:
    host = CertificateHost()
    async with answering(host.answer, shutdown_timeout=0.1) as url:
        host.prefix = f"{url}/certificates/"
        yield host

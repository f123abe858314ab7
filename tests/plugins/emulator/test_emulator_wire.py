"""The MNS API against callers that are wrong, hostile, or merely different."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import md5

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.emulator import Emulator, Service, xml
from router_plugins.emulator.errors import ServiceError
from router_plugins.emulator.wire import query_of
from router_plugins.mns.signing import authorization_v4, sign_v2, sign_v4

pytestmark = pytest.mark.anyio
SECRET = "testAccessKeySecret"
MESSAGE = b'<Message xmlns="http://mns.aliyuncs.com/doc/v1"><MessageBody>%b</MessageBody></Message>'
DEEP = b"<Message><MessageBody>x</MessageBody><UserProperties>%b</UserProperties></Message>" % (
    b"<a>" * 50_000 + b"</a>" * 50_000
)
BOMB = b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><Message><MessageBody>&c;</MessageBody></Message>'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async with Emulator(lost_lease="ReceiptHandleError").serve() as running:
        running.create_queue("q")
        yield running


def signed(method: str, target: str, body: bytes = b"", **changes: str | None) -> dict[str, str]:
    """Return headers with a version 2 signature, then changed: `None` takes a header away, `_` stands for a dash."""
    headers = {"date": format_datetime(datetime.now(UTC), usegmt=True), "x-mns-version": "2015-06-06"}
    headers |= {name.replace("_", "-"): value for name, value in changes.items() if value is not None}
    headers["authorization"] = f"MNS testAccessKeyId:{sign_v2(SECRET, method, target, headers)}"
    headers |= {name.replace("_", "-"): value for name, value in changes.items() if value is not None}
    return {name: value for name, value in headers.items() if changes.get(name.replace("-", "_"), "") is not None} | {
        "content-length": str(len(body))
    }


async def send(service: Service, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> str:
    """Make a request byte for byte; return all of the answer."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with await anyio.connect_tcp("127.0.0.1", int(service.url.rpartition(":")[2])) as stream:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n"
        await stream.send(head.encode("utf-8", "surrogateescape") + body)
        answer = b""
        with anyio.fail_after(5):
            async for part in stream:
                answer += part
    return answer.decode()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"x_mns_version": None}, "MissingVersionHeader"),
        ({"date": None}, "MissingDateHeader"),
        ({"date": "yesterday"}, "InvalidDateHeader"),
        ({"date": format_datetime(datetime.now(UTC) - timedelta(minutes=16), usegmt=True)}, "TimeExpired"),
        ({"authorization": None}, "MissingAuthorizationHeader"),
        ({"authorization": "Basic abc"}, "InvalidAuthorizationHeader"),
        ({"authorization": "MNS4-HMAC-SHA256 Credential=a/b,Signature=c"}, "InvalidAuthorizationHeader"),
        ({"authorization": "MNS testAccessKeyId:\udcff"}, "SignatureDoesNotMatch"),
        ({"content_md5": "nonsense"}, "InvalidDigest"),
    ],
)
async def test_wrong_headers_are_refused_by_their_code(service: Service, changes: dict[str, str], code: str) -> None:
    answer = await send(service, "GET", "/queues", signed("GET", "/queues", b"", **changes))
    assert f"<Code>{code}</Code>" in answer
    assert "Server: AliyunMQS" in answer


@pytest.mark.parametrize(
    ("method", "target", "body", "code"),
    [
        ("POST", "/queues/q/messages", b"<Message><Mess", "MalformedXML"),
        ("POST", "/queues/q/messages", BOMB, "MalformedXML"),
        ("POST", "/queues/q/messages", b"<Topic/>", "MalformedXML"),
        ("POST", "/queues/q/messages", DEEP, "MalformedXML"),
        ("PUT", "/queues/q?metaoverride=true", b"<Queue><DlqPolicy>x</DlqPolicy></Queue>", "InvalidArgument"),
        (
            "PUT",
            "/queues/q?metaoverride=true",
            b"<Queue><DelaySeconds><a>1</a></DelaySeconds></Queue>",
            "InvalidArgument",
        ),
        ("POST", "/queues/q/messages", b"<Message/>", "InvalidArgument"),
        ("POST", "/queues/q/messages", MESSAGE % (b"x" * 65537), "InvalidArgument"),
        ("POST", "/queues/q/messages", b"x" * 1_100_000, "InvalidArgument"),
        ("GET", "/queues/q/messages?numOfMessages=17", b"", "InvalidQueryString"),
        ("GET", "/queues/q/messages?waitseconds=31", b"", "InvalidQueryString"),
        ("GET", "/queues/q/messages?waitseconds=" + "9" * 5000, b"", "InvalidQueryString"),
        ("DELETE", "/queues/q/messages", b"", "MissingReceiptHandle"),
        ("DELETE", "/queues/q/messages?ReceiptHandle=8-1Zx", b"", "ReceiptHandleError"),
        ("PUT", "/queues/q/messages?ReceiptHandle=x", b"", "MissingVisibilityTimeout"),
        ("PUT", "/queues/q/messages?receiptHandle=x&visibilityTimeout=0", b"", "InvalidQueryString"),
        ("PUT", "/queues/q", b"<Queue><VisibilityTimeout>0</VisibilityTimeout></Queue>", "InvalidArgument"),
        ("PUT", "/queues/" + "q" * 121, b"<Queue/>", "QueueNameLengthError"),
        ("PUT", "/queues/%FF", b"<Queue/>", "InvalidQueueName"),
        ("GET", "/nowhere", b"", "InvalidRequestURL"),
        ("PATCH", "/queues/q", b"", "InvalidRequestURL"),
    ],
)
async def test_wrong_requests_are_refused_by_their_code(
    service: Service, method: str, target: str, body: bytes, code: str
) -> None:
    answer = await send(service, method, target, signed(method, target, body), body)
    assert f"<Code>{code}</Code>" in answer


async def test_a_signature_covers_the_target_as_it_was_sent(service: Service) -> None:
    target = "/queues/%71/messages?numOfMessages=16&waitseconds=0"
    assert "MessageNotExist" in await send(service, "GET", target, signed("GET", target))
    decoded = signed("GET", target.replace("%71", "q"))
    assert "SignatureDoesNotMatch" in await send(service, "GET", target, decoded)


async def test_a_version_4_signature_is_accepted_and_a_wrong_one_is_not(service: Service) -> None:
    now = datetime.now(UTC)
    utc = f"{now:%Y%m%dT%H%M%SZ}"
    headers = {"date": format_datetime(now, usegmt=True), "x-mns-version": "2015-06-06"}
    signature = sign_v4(SECRET, "GET", "/queues", headers, region="cn-hangzhou", utc=utc)
    headers["authorization"] = authorization_v4("testAccessKeyId", signature, region="cn-hangzhou", utc=utc)
    assert "200 OK" in await send(service, "GET", "/queues", headers)
    headers["authorization"] = headers["authorization"].replace(signature, "0" * 64)
    assert "SignatureDoesNotMatch" in await send(service, "GET", "/queues", headers)


@pytest.mark.parametrize("encode", [lambda d: d.hexdigest().upper().encode(), lambda d: b64encode(d.digest())])
async def test_content_md5_is_accepted_in_its_encodings(service: Service, encode: object) -> None:
    body = MESSAGE % "收件人".encode()
    digest = encode(md5(body)).decode()  # type: ignore[operator]
    target = "/queues/q/messages"
    assert "201 Created" in await send(service, "POST", target, signed("POST", target, body, content_md5=digest), body)


async def test_the_x_mns_date_header_may_stand_in_for_date(service: Service) -> None:
    now = format_datetime(datetime.now(UTC), usegmt=True)
    headers = signed("GET", "/queues", date=None, x_mns_date=now)
    assert "200 OK" in await send(service, "GET", "/queues", headers)


def test_a_plus_in_a_handle_is_a_plus_however_it_was_sent() -> None:
    assert query_of("/q?ReceiptHandle=1-a+b/c==&VisibilityTimeout=3") == {
        "receipthandle": "1-a+b/c==",
        "visibilitytimeout": "3",
    }
    assert query_of("/q?receiptHandle=1-a%2Bb%2Fc%3D%3D")["receipthandle"] == "1-a+b/c=="


@given(st.text())
def test_every_body_is_either_written_so_that_it_reads_back_or_refused(text: str) -> None:
    try:
        xml.check_writable(text)
    except ServiceError:
        return
    assert (xml.parse(xml.document("A", [xml.leaf("B", text)]), "A")[0].text or "") == text

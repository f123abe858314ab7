"""A message with characters that XML cannot have is received as it was sent, and holds up nobody."""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.mending import mended, original
from router_plugins.mns import wire

TEMPLATE = (
    b'<?xml version="1.0" ?><Messages xmlns="http://mns.aliyuncs.com/doc/v1/"><Message><MessageId>1</MessageId>'
    b"<ReceiptHandle>h</ReceiptHandle><MessageBody>%b</MessageBody><NextVisibleTime>1</NextVisibleTime></Message>"
    b"<Message><MessageId>2</MessageId><ReceiptHandle>i</ReceiptHandle><MessageBody>good</MessageBody>"
    b"<NextVisibleTime>1</NextVisibleTime></Message></Messages>"
)


def received(body: bytes) -> list[bytes]:
    messages = wire.messages_of(wire.read(TEMPLATE % body))
    return [message.body.encode("utf-8", "surrogateescape") for message in messages]


@pytest.mark.parametrize(
    ("written", "body"),
    [
        (b"550 \x07bell\x00", b"550 \x07bell\x00"),
        (b"550 \xd3\xca\xcf\xe4 gbk", b"550 \xd3\xca\xcf\xe4 gbk"),
        (b"\xef\xbf\xbe", b"\xef\xbf\xbe"),
        (b"a&#1;b&#x1F;c&#x41;&amp;#1;", b"a\x01b\x1fcA&#1;"),
        (b"a&#xD800;b&#56448;", b"a\xed\xa0\x80b\xed\xb2\x80"),
        (b"\x1b[0m &lt;&amp;&gt; \xc3\xa9", b"\x1b[0m <&> \xc3\xa9"),
    ],
)
def test_what_xml_cannot_have_is_received_as_it_was_sent(written: bytes, body: bytes) -> None:
    assert received(written) == [body, b"good"]


@given(st.binary(max_size=200))
def test_any_bytes_come_back(body: bytes) -> None:
    body = body.replace(b"\r", b"")  # a parser reads a line feed for it
    text = escape(body.decode("utf-8", "surrogateescape"))
    assert received(text.encode("utf-8", "surrogateescape"))[0] == body


@pytest.mark.parametrize(
    "document",
    [
        b"<a>\x01&#xF0001;</a>",
        b"<a>\x80&#x0fdc80;</a>",
        b"<a>\x01&#983041;</a>",
        b"<a>",
        b"<a>&b;</a>",
        b"<a>&#xD800</a>",
        "<a>\U000f0001\x01</a>".encode(),
    ],
)
def test_what_is_broken_otherwise_stays_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match="not an answer"):
        wire.read(document)


def test_a_document_that_is_as_it_should_be_is_not_touched() -> None:
    assert mended(b"<a>&#65;&amp;\xc3\xa9</a>") is None
    assert original("\U0001f600 and all") == "\U0001f600 and all"
    assert wire.messages_of(wire.read(TEMPLATE % "\U000f0041".encode()))[0].body == "\U000f0041"

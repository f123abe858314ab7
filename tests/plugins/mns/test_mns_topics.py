"""The topic of a push is read from where its sender cannot write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.mns.topics import Topic, WantedTopics, topic_of

XML = b"text/xml;charset=utf-8"
JSON = b"application/json;charset=utf-8"
FORGED_XML = b"<Notification><TopicOwner>1</TopicOwner><TopicName>dm</TopicName></Notification>"
FORGED_JSON = b'{"TopicOwner":"1","TopicName":"dm"}'


def test_headers_come_before_the_body() -> None:
    headers = {b"x-mns-topic-owner": b"2", b"x-mns-topic-name": b"other", b"content-type": XML}
    assert topic_of(headers, FORGED_XML) == Topic("2", "other")


@pytest.mark.parametrize(("kind", "body"), [(XML, FORGED_XML), (JSON, FORGED_JSON)])
def test_an_envelope_names_its_topic(kind: bytes, body: bytes) -> None:
    assert topic_of({b"content-type": kind}, body) == Topic("1", "dm")


@pytest.mark.parametrize("body", [FORGED_XML, FORGED_JSON])
def test_a_publisher_cannot_forge_a_topic_in_a_simplified_body(body: bytes) -> None:
    assert topic_of({b"content-type": b"text/plain;charset=utf-8"}, body) == Topic()


def test_the_first_element_counts_and_nested_ones_do_not() -> None:
    body = b"<N xmlns='u'><M><TopicName>in</TopicName></M><TopicName>a</TopicName><TopicName>b</TopicName></N>"
    assert topic_of({b"content-type": XML}, body).name == "a"


def test_an_envelope_names_its_topic_though_its_message_has_what_xml_cannot() -> None:
    body = FORGED_XML.replace(b"<TopicName>", b"<Message>550 \x07 \xd3\xca</Message><TopicName>")
    assert topic_of({b"content-type": XML}, body) == Topic("1", "dm")


@given(st.sampled_from([XML, JSON]), st.binary(max_size=100))
def test_no_body_makes_it_fail(kind: bytes, body: bytes) -> None:
    topic_of({b"content-type": kind}, body)


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        b"<?xml version='1.0' encoding='no-such'?><a/>",
        b"\xff\xfe<",
        b"[1]",
        b"{",
    ],
)
def test_hostile_envelopes_name_no_topic(body: bytes) -> None:
    for kind in (XML, JSON):
        assert topic_of({b"content-type": kind}, body) == Topic()


def test_a_push_without_a_topic_is_not_wanted() -> None:
    assert Topic() not in WantedTopics(["acs:mns:*:*:topics/*"])


def test_names_are_compared_as_a_whole() -> None:
    wanted = WantedTopics(["acs:mns:cn-hangzhou:12?:topics/dm-[ab]"])
    assert Topic("123", "dm-a") in wanted
    assert Topic("123", "dm-ab") not in wanted
    assert Topic("0123", "dm-a") not in wanted
    assert Topic("123", "x:topics/dm-a") not in wanted


@pytest.mark.parametrize("glob", ["*", "dm-*", "acs:mns:*", "acs:oss:*:*:topics/x", "acs:mns:*:*:queues/x"])
def test_a_glob_of_another_form_is_refused(glob: str) -> None:
    with pytest.raises(ValueError, match="acs:mns:REGION:OWNER:topics/NAME"):
        WantedTopics([glob])

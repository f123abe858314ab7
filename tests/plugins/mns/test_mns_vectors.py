"""What the service is documented to answer is read as the official SDK reads it, and payloads as their pages say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from servers.mns_pushes import VECTORS

from router import Message
from router_plugins.directmail.decoder import DirectMail
from router_plugins.mns import wire
from router_plugins.mns.errors import PartialFailureError, refusal_of

MNS = json.loads((VECTORS / "mns.json").read_text())
ANSWERS = {vector["name"]: vector for vector in MNS["sdk_requests"]}


def body_of(name: str) -> bytes:
    return str(ANSWERS[name]["canned_response"]["body"]).encode()


@pytest.mark.parametrize(
    "name", ["receive_no_wait_raw", "receive_wait_30_base64", "receive_wait_30_sts", "batch_receive_16_wait_30"]
)
def test_received_messages_are_those_that_the_sdk_makes_of_them(name: str) -> None:
    theirs = ANSWERS[name]["sdk_result"]
    [theirs] = theirs if isinstance(theirs, list) else [theirs]
    [ours] = wire.messages_of(wire.read(body_of(name)))
    assert (ours.id, ours.handle) == (theirs["message_id"], theirs["receipt_handle"])
    assert (ours.dequeue_count, ours.next_visible) == (theirs["dequeue_count"], theirs["next_visible_time"])
    decoded = theirs["message_body"] if isinstance(theirs["message_body"], str) else theirs["message_body"]["utf8"]
    event = DirectMail().decode(Message(ours.body.encode(), 0.0), "queue")
    assert event.id == DirectMail().decode(Message(decoded.encode(), 0.0), "queue").id
    assert event.get("env_id") == "457323378"


@pytest.mark.parametrize("name", ["receive_empty", "error_SignatureDoesNotMatch"])
def test_a_refusal_has_the_code_and_the_words_that_the_sdk_reads(name: str) -> None:
    theirs = ANSWERS[name]["sdk_error"]
    ours = refusal_of(ANSWERS[name]["canned_response"]["status"], body_of(name), "")
    assert (ours.code, ours.message) == (theirs["type"], theirs["message"])
    assert ours.request_id == "57B6BE5DFA7CE8A5D2B5F1A3"


def test_a_batch_that_is_deleted_in_part_names_the_handles_that_were_not() -> None:
    [theirs] = ANSWERS["batch_delete_partial"]["sdk_error"]["sub_errors"]
    ours = refusal_of(404, body_of("batch_delete_partial"), "")
    assert isinstance(ours, PartialFailureError)
    [fault] = wire.faults_of(ours.root)
    assert (fault.code, fault.handle) == (theirs["ErrorCode"], theirs["ReceiptHandle"])


def test_a_changed_visibility_and_a_sent_message_are_read() -> None:
    changed = wire.texts_of(wire.read(body_of("change_visibility_60")))
    assert changed["ReceiptHandle"] == ANSWERS["change_visibility_60"]["sdk_result"]["receipt_handle"]
    for name in ("send_raw", "publish_raw_tag"):
        sent = wire.texts_of(wire.read(body_of(name)))
        assert sent["MessageId"] == ANSWERS[name]["sdk_result"]["message_id"]


@pytest.mark.parametrize("payload", MNS["directmail_payloads"], ids=lambda payload: payload["name"])
def test_a_result_has_the_fields_that_its_page_shows(payload: dict[str, Any]) -> None:
    event = DirectMail().decode(Message(payload["raw"].encode(), 0.0), "queue")
    shown = json.loads(event.json())
    for name, value in payload["expect"].items():
        assert value in (shown.get(name), shown.get(name.lower()), event.get(name)), name

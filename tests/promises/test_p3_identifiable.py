"""P3. At least once, each result identifiable: one id on redelivery and by a second rule; duplicates are dropped."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
import anyio
import pytest
from servers.daemon import running, text

pytestmark = pytest.mark.anyio

ALL = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


def envelope(message: bytes, message_id: str) -> bytes:
    return json.dumps({
        "TopicOwner": "1", "TopicName": "t", "Subscriber": "1", "SubscriptionName": "s", "MessageId": message_id,
        "Message": message.decode(), "PublishTime": "1492141488000", "MessageMD5": "0" * 32,
    }).encode()  # fmt: skip


async def test_the_same_result_by_other_ways_is_one_event(tmp_path: Path) -> None:
    """Bare, twice; in the envelopes of two rules with MessageIds of their own; and after a restart."""
    ways = [text(1), text(1), envelope(text(1), "A" * 32), envelope(text(1), "B" * 32)]
    with running(tmp_path, ALL) as daemon:
        async with aiohttp.ClientSession() as session:
            for body in [*ways, text(2)]:
                async with session.post(daemon.url, data=body) as response:
                    assert response.status == 204
        duplicates = daemon.status()["journal"]["duplicates"]
        await anyio.to_thread.run_sync(daemon.stop)
        await anyio.to_thread.run_sync(daemon.start)
        async with aiohttp.ClientSession() as session, session.post(daemon.url, data=text(1)) as response:
            assert response.status == 204
        await anyio.to_thread.run_sync(daemon.wait_settled)
        lines = daemon.lines("all.jsonl")
    assert duplicates == 3
    assert [line["env_id"] for line in lines] == ["1", "2"]
    assert len({line["id"] for line in lines}) == 2


async def test_results_of_one_mail_to_several_recipients_are_several_events(tmp_path: Path) -> None:
    with running(tmp_path, ALL) as daemon:
        async with aiohttp.ClientSession() as session:
            for rcpt in ("a@example.net", "b@example.net"):
                async with session.post(daemon.url, data=text(7).replace(b"r7@example.net", rcpt.encode())) as response:
                    assert response.status == 204
        await anyio.to_thread.run_sync(daemon.wait_settled)
        assert len({line["id"] for line in daemon.lines("all.jsonl")}) == 2

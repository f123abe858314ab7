"""P7. The journal stores exactly what arrived."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import anyio
import pytest
from servers.daemon import running, text

from router.journal import Segment
from router.journal.conformance import restore
from router.journal.sqlite import SqliteJournal

pytestmark = pytest.mark.anyio

ALL = """
  a:
    accounts: ["*"]
    subscriptions:
      all: {to: {type: file, path: "{out}/all.jsonl"}}
"""


async def test_every_byte_that_was_pushed_is_in_the_journal(tmp_path: Path) -> None:
    """Also what is no UTF-8, has NULs or newlines, or cannot be decoded at all."""
    bodies = [
        text(1),
        text(2, err_msg="550 \u4f60\u597d&status=0\r\n"),
        text(3) + b"\xff\x00\xfe",
        b"\x00" * 100,
        os.urandom(50_000),
    ]
    with running(tmp_path, ALL) as daemon:
        async with aiohttp.ClientSession() as session:
            for body in bodies:
                async with session.post(daemon.url, data=body) as response:
                    assert response.status == 204
        await anyio.to_thread.run_sync(daemon.stop)
    with SqliteJournal().inspect(tmp_path / "state", restore) as journal:
        segments: list[Segment] = list(journal.segments())
        assert [bytes(e.raw) for s in segments for e in s.events] == bodies

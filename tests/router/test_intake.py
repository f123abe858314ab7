"""What a decoder gives that the journal could not keep is refused where it comes in, and the journal goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from router.event import UNDECODABLE, Event, Message
from router.intake import Intake, event_of, undecodable
from router.journal.sqlite import SqliteJournal
from router.plugin import Decoder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Word(msgspec.Struct, frozen=True):
    account: str


class Named(Decoder, frozen=True, kw_only=True):
    """Gives `name` as the id to messages that begin with `odd`."""

    fields: ClassVar[type[msgspec.Struct]] = Word
    account: ClassVar[str] = "account"
    name: Any = ""

    def decode(self, message: Message, source: str) -> Event:
        body = bytes(message.body)
        name = self.name if body.startswith(b"odd") else body.hex().rjust(32, "0")
        time = datetime(2026, 1, 1, tzinfo=UTC)
        return Event(id=name, type="word", time=time, source=source, fields=Word("x"), message=message)


@pytest.mark.parametrize(
    "name", ["", "no id", "0" * 31, "0" * 30 + " 0", "g" * 32, "A" * 32, "é" * 32, "0" * 64, 7, None]
)
async def test_an_id_that_is_none_makes_the_event_undecodable_and_the_journal_goes_on(
    tmp_path: Path, name: object
) -> None:
    """The reason names the plugin; others of its batch are not touched; read back it is the same."""
    decoder = Named(name=name)
    async with SqliteJournal().open(tmp_path, partial(event_of, decoder)) as partition:
        intake = Intake(decoder, partition.append)
        await intake.emit("push", [Message(body, 1.0) for body in (b"one", b"odd 1", b"odd 2", b"two")])
        await intake.emit("push", [Message(b"three", 1.0)])
        events = (await partition.read(1, 10)).events
        assert [e.type == UNDECODABLE for e in events] == [False, True, True, False, False]
        assert [bytes(e.raw) for e in events] == [b"one", b"odd 1", b"odd 2", b"two", b"three"]
    assert dict(intake.undecodable) == {"push": 2}
    reason = events[1].get("reason")
    assert f"decoder Named of {__name__} gave the id {name!r}"[:80] in reason
    assert event_of(decoder, Message(b"odd 1", 1.0), "push").get("reason") == reason
    assert event_of(decoder, Message(b"odd 1", 1.0), "push").id == events[1].id


def test_undecodable_messages_meet_in_one_id_only_where_nothing_tells_them_apart() -> None:
    """The transport's id counts, whatever is in it, also where the body is empty."""
    names = ["", "A", "AB", "\udcff", "\udcfe", "\ufffd"]
    pairs = [(name, body) for name in names for body in (b"", b"A", b"B", b"\xff", b"\xfe", b"\xef\xbf\xbd")]
    ids = [undecodable(Message(body, 1.0, {"message_id": name}), "push", "why").id for name, body in pairs]
    assert len(set(ids)) == len(pairs)
    assert undecodable(Message(b"A", 2.0), "other", "why not").id == undecodable(Message(b"A", 1.0), "push", "why").id

"""A decoder like those of the house, and events of its."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest

from router import UNDECODABLE, Decoder, Event, Message, Undecodable
from router.event import UndecodableFields


class Fields(msgspec.Struct, frozen=True):
    account: str = ""
    from_: str | None = msgspec.field(default=None, name="from")
    region: str = ""
    status: int | None = None
    dedicated: bool | None = None
    rcpt: str = ""
    env_id: str = ""
    client_ip: str = ""
    extra: dict[str, str] = {}


class Fake(Decoder, frozen=True, kw_only=True):
    fields: ClassVar[type[msgspec.Struct]] = Fields
    account: ClassVar[str] = "account"
    narrow: ClassVar[frozenset[str]] = frozenset({"region", "status", "dedicated", "from"})
    types: ClassVar[dict[str, str]] = {
        "Deliver:SendSuccessfully": "Deliver:SendSuccessfully",
        "dm:Deliver:Succeed": "Deliver:SendSuccessfully",
        "Deliver:SendFailed": "Deliver:SendFailed",
        "dm:Deliver:Fail": "Deliver:SendFailed",
    }

    def decode(self, message: Message, source: str) -> Event:
        raise Undecodable("the tests make their events themselves")


@pytest.fixture(scope="session")
def decoder() -> Decoder:
    return Fake()


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    def make(kind: str = "Deliver:SendFailed", source: str = "push", **fields: Any) -> Event:
        values = UndecodableFields("no known form", "?") if kind == UNDECODABLE else Fields(**fields)
        at = datetime(2026, 1, 7, 12, 0, tzinfo=UTC)
        return Event("0" * 32, kind, at, source, values, Message(b"", at.timestamp(), {}))

    return make

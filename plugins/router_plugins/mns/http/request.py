"""One request as it came, refused or not."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

from router_plugins.mns.http.answers import Answer

if TYPE_CHECKING:
    from router_plugins.mns.http.connection import Connection


class Phase(Enum):
    """Where in a message the last byte was."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()


class Request(msgspec.Struct, eq=False):
    """One request as it came; only `answer` changes, once, and `body`, when its content coding is taken off.

    `headers` have lower-cased names. `target` is what stood on the request line, from its path on; `method` may be
    empty in a refusal. `received` is in Unix seconds.
    `last`: the connection closes after its answer. `size` is what it is taken to hold of memory, in bytes.
    """

    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    received: float
    answer: Answer | None
    size: int
    last: bool
    method: bytes = b""
    connection: Connection | None = None

    @property
    def peer(self) -> str:
        """The address of the client, for people."""
        return "" if self.connection is None else self.connection.peer

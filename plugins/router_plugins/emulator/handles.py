"""Receipt handles: the message's id, and what the service notes about the receipt, in base64 (PROTOCOL 8.1)."""

from __future__ import annotations

import re
import secrets
from base64 import b64encode

_FORM = re.compile("[0-9A-F]{32}-(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)")


def new_handle(message_id: str, dequeues: int, now: float, visible: float, number: int) -> str:
    """Return `{MessageId}-{base64}` with padding: clients must carry a `=` in a query."""
    note = f"{dequeues} {int(now * 1000)} {int((visible - now) * 1000)} {number} 0 emulator 0 {secrets.token_hex(4)}"
    if len(note) % 3 == 0:
        note += "|"
    return f"{message_id}-{b64encode(note.encode()).decode()}"


def is_handle(text: str) -> bool:
    """Say whether the service could have given this handle."""
    return _FORM.fullmatch(text) is not None

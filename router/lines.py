"""Raw messages as lines of a file: what `router journal export` writes, and `router decode` reads back.

A message is a line as it is; one that would not survive that (it has a line end, is empty, or looks like what follows)
is `base64:` and its bytes in base64.
"""

from __future__ import annotations

import base64
import binascii

ENCODED = b"base64:"


def line_of(body: bytes) -> bytes:
    """Return the line of a message, without its end."""
    if not body or b"\n" in body or b"\r" in body or body.startswith(ENCODED):
        return ENCODED + base64.b64encode(body)
    return body


def body_of(line: bytes) -> bytes:
    """Return the message of a line, which has no end; what only looks like base64 is taken as it is."""
    if line.startswith(ENCODED):
        try:
            return base64.b64decode(line.removeprefix(ENCODED), validate=True)
        except binascii.Error:
            return line
    return line

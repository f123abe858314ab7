"""Documents with characters in them that XML cannot have: a mail server's reply may hold any byte, and is passed on.

A parser refuses the whole document, and with it every message that came along, again after each lease. So each such
character, and each byte that is no UTF-8, gets a stand-in from a private plane for the time of parsing; afterwards the
message is what it was, byte for byte.
"""

from __future__ import annotations

import re

_PLANE = 0xF0000
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile("&#(x[0-9A-Fa-f]{1,4}|[0-9]{1,5});")
_STAND_IN = re.compile("[\U000f0000-\U000fffff]")


def mended(document: bytes) -> bytes | None:
    """Return the document with stand-ins, None where there is nothing to mend, or it uses that plane itself."""
    whole = mended_text(document.decode("utf-8", "surrogateescape"))
    return None if whole is None else whole.encode()


def mended_text(text: str) -> str | None:
    """Do the same with a document as text."""
    if _STAND_IN.search(text):
        return None
    whole = _REFERENCE.sub(_resolved, _ILLEGAL.sub(lambda found: chr(_PLANE + ord(found[0])), text))
    return None if whole == text else whole


def _resolved(found: re.Match[str]) -> str:
    """Return the stand-in for a reference to a character that XML cannot have, and any other as it is."""
    number = int(f"0{found[1]}", 16) if found[1].startswith("x") else int(found[1])
    illegal = number < _PLANE and _ILLEGAL.match(chr(number))
    return chr(_PLANE + number) if illegal else found[0]


def original(text: str) -> str:
    """Return a text as it was before mending; bytes that are no UTF-8 are lone surrogates (`surrogateescape`)."""
    return _STAND_IN.sub(lambda found: chr(ord(found[0]) - _PLANE), text)

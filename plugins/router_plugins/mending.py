"""Texts with what a text cannot have: a mail server's reply may hold any byte, and is passed on.

A parser of XML or JSON refuses the whole document, and with it every message that came along, again after each lease.
So each such character, and each byte that is no UTF-8, gets a stand-in from a private plane for the time of parsing;
afterwards the message is what it was, byte for byte. Where a document uses that plane itself, what it means would be
open, and it is not mended.

In what comes out, a byte that is no UTF-8 is a lone surrogate (`surrogateescape`), which is all that tells results
apart that differ in such bytes only; for people, and on the way out, it is replaced (`shown`).
"""

from __future__ import annotations

import re

_PLANE = 0xF0000
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_REFERENCE = re.compile("&#(x[0-9A-Fa-f]{1,4}|[0-9]{1,5});")
_STAND_IN = re.compile("[\U000f0000-\U000fffff]")
_STAND_IN_IN_XML = re.compile("[\U000f0000-\U000fffff]|&#(?:x0*[Ff][0-9A-Fa-f]{4}|0*(?:9[89]|10[0-4])[0-9]{4});")
_STAND_IN_IN_JSON = re.compile(r"[\U000f0000-\U000fffff]|\\u[Dd][Bb][89ABab]")
_STRING_IN_JSON = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_IN_STRING = re.compile(
    r"\\u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}"
    r"|\\u([Dd][89A-Fa-f][0-9A-Fa-f]{2})|\\.|([\x00-\x1f])",
    re.DOTALL,
)
_BYTE = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("\udced[\udca0-\udcbf][\udc80-\udcbf]")
"""The three bytes of a surrogate, which stand for one character that is none."""


def mended(document: bytes) -> bytes | None:
    """Return the XML with stand-ins, None where there is nothing to mend, or it uses that plane itself."""
    whole = mended_text(document.decode("utf-8", "surrogateescape"))
    return None if whole is None else whole.encode()


def mended_text(text: str) -> str | None:
    """Do the same with XML as text."""
    if _STAND_IN_IN_XML.search(text):
        return None
    whole = _REFERENCE.sub(_resolved, _ILLEGAL.sub(_stand_in, text))
    return None if whole == text else whole


def mended_json(text: str) -> str | None:
    """Return JSON with stand-ins for bytes that are no UTF-8, None where it uses that plane itself."""
    return None if _STAND_IN_IN_JSON.search(text) else _BYTE.sub(_stand_in, text)


def repaired_json(text: str) -> str | None:
    """Return JSON with what its strings cannot have as what they can; None where there is nothing of that.

    Escapes of lone surrogates become the three bytes that each would have, which are no UTF-8, as `mended_text` makes
    of references to them; where stand-ins for those cannot be told apart from what the text has itself, U+FFFD. Raw
    control characters become escapes.
    """
    sound = _sound_for_good if _STAND_IN_IN_JSON.search(text) else _sound
    whole = _STRING_IN_JSON.sub(lambda string: _IN_STRING.sub(sound, string[0]), text)
    return None if whole == text else whole


def _sound(found: re.Match[str]) -> str:
    lone, control = found.groups()
    if lone:
        return chr(int(lone, 16)).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    return f"\\u{ord(control):04x}" if control else found[0]


def _sound_for_good(found: re.Match[str]) -> str:
    return "\ufffd" if found[1] else _sound(found)


def _stand_in(found: re.Match[str]) -> str:
    return chr(_PLANE + ord(found[0]))


def _resolved(found: re.Match[str]) -> str:
    """Return the stand-in for a reference to a character that XML cannot have, and any other as it is.

    A surrogate stands for no byte, but for the three that it would have.
    """
    number = int(f"0{found[1]}", 16) if found[1].startswith("x") else int(found[1])
    if number >= _PLANE or not _ILLEGAL.match(chr(number)):
        return found[0]
    meant = chr(number).encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
    return _ILLEGAL.sub(_stand_in, meant)


def original(text: str) -> str:
    """Return a text as it was before mending; bytes that are no UTF-8 are lone surrogates (`surrogateescape`)."""
    return _STAND_IN.sub(lambda found: chr(ord(found[0]) - _PLANE), text)


def text_of(body: bytes | memoryview) -> str:
    """Return bytes as text, in which those that are no UTF-8 are lone surrogates."""
    return str(body, "utf-8", "surrogateescape")


def is_odd(text: str) -> bool:
    """Say whether there are bytes in it that are no UTF-8."""
    return not text.isascii() and _BYTE.search(text) is not None


def shown(text: str) -> str:
    """Return a text with replacement characters for bytes that are no UTF-8."""
    if not is_odd(text):
        return text
    return _SURROGATE.sub("\ufffd", text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

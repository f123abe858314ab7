"""Text of others made harmless for a terminal: what it would act on, or not show, is written as an escape.

Receivers answer what they like, senders name what they like, and all of it is shown to an operator: an escape sequence
would colour, move or retitle, a line end would begin a row that nobody wrote, and a mark of direction would show the
rest the other way round. Letters, signs and blanks of every script stay as they are.
"""

from __future__ import annotations

import unicodedata

_UNSEEN = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and signs that look like nothing, and are none of the blanks."""


def harmless(text: str) -> str:
    r"""Return the text on one line: an ESC is `\x1b`, a line end `\n`, what turns the direction `\u202e`.

    That goes for all of C0 and C1, DEL, line ends of Unicode, marks that are not seen, lone surrogates, and what no
    character is assigned to. A backslash stays one.
    """
    if text.isprintable() and _UNSEEN.isdisjoint(text):
        return text
    return "".join(c if _shows(c) else c.encode("unicode_escape").decode() for c in text)


def harmless_json(document: bytes) -> str:
    r"""Return a JSON document of the same value, and with the same line ends, in which `harmless` would change nothing.

    What JSON lets stand in a text, and a terminal may act on (DEL, C1, marks of direction), is escaped as `\u009b`.
    """
    text = document.decode("utf-8", "replace")
    if text.isprintable() and _UNSEEN.isdisjoint(text):
        return text
    return "".join(c if c == "\n" or _shows(c) else _escaped(c) for c in text)


def quoted(text: str) -> str:
    """Return a value for `name=value` among others: in quotes if it could be taken for more than one word."""
    if text and not any(c.isspace() or c in '"=' for c in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _shows(character: str) -> bool:
    if character.isprintable():
        return character not in _UNSEEN
    return unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))

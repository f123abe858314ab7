"""Mail addresses in free text, such as the replies of mail servers: where each stands, and which one it is.

Found are also those that are quoted, percent-encoded, in a VERP or SRS return path (as one, whole), behind `user=`, in
links, and in other scripts. In doubt more is an address than less. Time is linear in the text's length, whoever wrote
it: to the left of an at sign no more is looked at than what stands between it and the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

import msgspec

_AT = re.compile(r"\\{0,2}(?:[@\uff20\ufe6b]|%(?:25){0,3}40|&#(?:64|x40);|&commat;)", re.IGNORECASE)
_UNSPACED = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts that put no spaces between words: what stands before or behind an address in them is no part of it."""
_ATOM = "!#$%&'*+/=?^`{|}~.-"
_LEADING = _ATOM.replace("%", "")
_LOCAL = re.compile(rf"(?:[^\W{_UNSPACED}]|[{_ATOM}])*")
_ODD_LOCAL = re.compile('[^\\s<>()\\[\\],;:"\\\\\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]*')
_DOMAIN = re.compile(
    rf"\[[^\]\s\[]{{0,64}}\]|(?:[^\W{_UNSPACED}]|-)+(?:\.(?:[^\W{_UNSPACED}]|-)+)*|[\w-]+(?:\.[\w-]+)*"
)
_PARAMETER = re.compile(r".*[?&][^?&=]*=", re.DOTALL)
_LABEL = re.compile(
    r"(?:[a-z]+[._-])*(?:to|for|from|mailfrom|user|username|name|rcpt|recipient|orcpt|e?mail|addr|address|mailbox|sender"
    r"|login|account|id|i)=",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r'[<>:;,\s()\[\]\\"]')
"""What ends an address; percent-encoded it is inside of what looks like a local part."""


class Address(msgspec.Struct, frozen=True, gc=False):
    """An address that stands from `start` to before `stop`, and how it is written as a rule."""

    start: int
    stop: int
    text: str


def addresses(text: str) -> Iterator[Address]:
    """Yield the addresses of a text, in their order; what cannot be told apart (`a@b@c`) is one."""
    before = start = 0
    found: re.Match[str] | None = None
    for at in _AT.finditer(text):
        if at.start() < before:
            continue  # in a domain in brackets
        if found is None or before != at.start():
            if found is not None:
                yield _address(text, start, found, before)
            start = _begin(text, before, at.start())
            found = at if start < at.start() else None
        domain = _DOMAIN.match(text, at.end()) if found is not None else None
        before = domain.end() if domain else at.end()
    if found is not None:
        yield _address(text, start, found, before)


def _begin(text: str, least: int, at: int) -> int:
    """Return where the local part begins that ends at an at sign; there, if there is none."""
    start = _unquoted(text, least, at)
    backwards = text[least:start][::-1]
    letters = _LOCAL.match(backwards)
    if not (letters and letters.end()) and start == at:
        letters = _ODD_LOCAL.match(backwards)
    start -= letters.end() if letters else 0
    link = text.startswith("//", start, at)
    while start < at and text[start] in _LEADING:  # 'bob@example.com'
        start += 1
    if parameter := _PARAMETER.match(text, start, at):
        start = parameter.end()
    elif link:
        start = max(start, text.rfind("/", start, at) + 1)
    label = _LABEL.match(text, start, at)
    return label.end() if label and label.end() < at else start


def _unquoted(text: str, least: int, at: int) -> int:
    """Return where the quoted string begins that ends there, or there."""
    if at - 1 <= least or text[at - 1] != '"':
        return at
    start = at - 1
    while (start := text.rfind('"', least, start)) > least and text[start - 1] == "\\":
        pass
    return start if start >= 0 else at - 1


def _address(text: str, start: int, at: re.Match[str], stop: int) -> Address:
    local = text[start : at.start()]
    if "%" in at[0]:
        local = _BETWEEN.split(unquote(local))[-1] or local
    return Address(start, stop, f"{local}@{text[at.end() : stop]}")

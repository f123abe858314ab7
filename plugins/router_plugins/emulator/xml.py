"""The service's XML: request bodies in, reply bodies out (PROTOCOL 1.5, 1.6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast
from xml.sax.saxutils import escape

from router_plugins.emulator.errors import ServiceError
from router_plugins.mns import markup

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NAMESPACE = "http://mns.aliyuncs.com/doc/v1"
"""As the service writes it today, without the slash that its documentation has (PROTOCOL 8.1)."""

Node: TypeAlias = "str | tuple[str, tuple[Node, ...]]"
"""A leaf that is written, or the name of an element and what is in it."""

Nodes: TypeAlias = list[Node]

_DEEPEST = 8
"""Levels of elements in a request body at most; the deepest that the documents know has five."""

_UNSPEAKABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write, not even as a reference."""

_SPECIAL = re.compile("[&<>\r]")


def parse(body: bytes, root: str) -> Element:
    """Return the root element of a request body; raise `MalformedXML` for anything else than a `root` document.

    Namespaces are never looked at: clients disagree on them (PROTOCOL 1.5).
    """
    try:
        element = markup.parse(body)
    except ValueError as error:
        raise ServiceError("MalformedXML") from error
    if _deeper_than(element, _DEEPEST):
        raise ServiceError("MalformedXML")
    if local_name(element) != root:
        raise ServiceError("MalformedXML", f"The root element is {local_name(element)}, not {root}.")
    return element


def _deeper_than(element: Element, levels: int) -> bool:
    """Say whether elements are nested deeper, without recursion: what is copied later is copied with it."""
    level = [element]
    for _ in range(levels):
        level = [child for parent in level for child in parent]
        if not level:
            return False
    return True


def local_name(element: Element) -> str:
    """Return the element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def texts(element: Element) -> dict[str, str]:
    """Return the texts of the element's leaf children by name."""
    return {local_name(child): child.text or "" for child in element if not len(child)}


def fields(element: Element) -> dict[str, str | dict[str, str]]:
    """Return the children by name: the texts of leaves, and the leaves of those that have children."""
    return {local_name(child): texts(child) if len(child) else child.text or "" for child in element}


def leaf(name: str, text: object) -> str:
    """Write `<name>text</name>`, a line of its own."""
    return f"<{name}>{_text(str(text))}</{name}>"


def branch(name: str, children: Iterable[Node]) -> Node:
    """Return an element around its children, each a leaf that is written or another element."""
    return name, tuple(children)


def leaves(values: Mapping[str, object]) -> Nodes:
    """Return one leaf for each pair; a mapping becomes an element with leaves."""
    return [
        branch(name, leaves(cast("Mapping[str, object]", value))) if isinstance(value, Mapping) else leaf(name, value)
        for name, value in values.items()
    ]


def document(name: str, children: Iterable[Node]) -> bytes:
    """Write a whole reply body: the declaration, and each level indented by two blanks (PROTOCOL 8.1).

    Clients rely on that: the Java SDK on the namespace without a slash at its end, the PHP SDK on the white space.
    """
    lines = ['<?xml version="1.0" ?>', f'<{name} xmlns="{NAMESPACE}">']
    _write(children, "  ", lines)
    lines.append(f"</{name}>")
    return "\n".join(lines).encode(errors="replace")


def _write(children: Iterable[Node], pad: str, lines: list[str]) -> None:
    for child in children:
        if isinstance(child, str):
            lines.append(pad + child)
        else:
            name, inner = child
            lines.append(f"{pad}<{name}>")
            _write(inner, pad + "  ", lines)
            lines.append(f"{pad}</{name}>")


def check_writable(text: str) -> None:
    """Refuse a message body that no XML reply could carry."""
    if (found := _UNSPEAKABLE.search(text)) is not None:
        raise ServiceError("InvalidArgument", f"The message body contains {found.group()!r}, which XML cannot carry.")


def _text(text: str) -> str:
    """Escape; a carriage return becomes a reference, or a parser would read it as a line feed."""
    return escape(text, {"\r": "&#13;"}) if _SPECIAL.search(text) else text

"""XML of strangers, read in C where it can do no harm.

What makes XML dangerous (entities, external references) can only be defined in a DOCTYPE. defusedxml refuses that, and
for it calls Python for every element; four fifths of the time go there. So a document in UTF-8 without a DOCTYPE is
parsed by the standard library alone, and everything else by defusedxml, from the text that `charsets` makes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import ParseError, XMLParser

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from router_plugins.charsets import text_from, trimmed

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def parse(document: bytes) -> Element:
    """Return the root; raises ValueError for what is no XML, and for what defines entities."""
    # Told to read UTF-8, the parser still finds out UTF-16 by itself; but that begins otherwise, or has zeros.
    if document.startswith(b"<") and b"\0" not in document and b"<!DOCTYPE" not in document:
        try:
            parser = XMLParser(encoding="utf-8")  # noqa: S314 - no DOCTYPE
            parser.feed(document)
            return parser.close()
        except ParseError:
            pass  # not well-formed, or in another encoding than UTF-8
    try:
        root: Element = fromstring(trimmed(text_from(document)).lstrip("\ufeff \t\r\n"))
    except (ParseError, DefusedXmlException) as error:
        raise ValueError(str(error)) from error
    return root

"""XML is read fast where it is harmless, and refused where it defines entities, however it is encoded."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.mns.markup import parse

BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><a>&c;</a>'
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))


@pytest.mark.parametrize(
    "document",
    [
        BOMB.encode(),
        BOMB.encode("utf-16"),
        BOMB.encode("utf-16-le"),
        BOMB.encode("utf-16-be"),
        b"\xef\xbb\xbf" + BOMB.encode(),
        b'<?xml version="1.0" encoding="utf-16"?>' + BOMB.encode("utf-16"),
        b'<?xml version="1.0" encoding="cp037"?>' + BOMB.encode("cp037"),
        b'<?xml version="1.0" encoding="utf-7"?>+ADwAIQ-DOCTYPE a [+ADwAIQ-ENTITY b "b"+AD4AXQA+-<a>&b;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x"><a>&b;</a>',
        b"<a>&b;</a>",
        b"<a><b></a>",
        b"\xff\xfe",
        b"",
    ],
)
def test_entities_and_what_is_no_xml_are_refused(document: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(document)


@given(st.recursive(TEXTS, lambda inner: st.lists(inner, max_size=3), max_leaves=20))
def test_what_is_read_is_what_defusedxml_reads(tree: object) -> None:
    def element(node: object) -> Element:
        made = Element("a")
        if isinstance(node, list):
            made.extend(element(each) for each in node)
        else:
            made.text = str(node)
        return made

    document = tostring(element(tree), encoding="utf-8")
    assert tostring(parse(document)) == tostring(fromstring(document))


def test_other_encodings_are_read_as_they_say() -> None:
    document = '<?xml version="1.0" encoding="iso-8859-1"?><a>müller</a>'.encode("iso-8859-1")
    assert parse(document).text == "müller"
    assert parse("<a>müller</a>".encode("utf-16")).text == "müller"

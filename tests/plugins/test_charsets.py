"""Which characters bytes are: by BOM, as UTF-8, as declared; and never by a codec that a document may choose freely."""

from __future__ import annotations

import codecs
import encodings
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.charsets import declared_again, text_from, trimmed

TEXT = "550 用户不存在, josé"
OTHERS = (
    "rot13 rot_13 idna punycode unicode_escape raw-unicode-escape zip zlib_codec bz2 hex base64 quopri uu utf-7 utf_7 "
    "hz iso-2022-jp cp037 mbcs undefined antigravity made-up"
)
ENCODED = st.text(st.characters(codec="gb18030"), max_size=40)


def xml(encoding: str, text: str = "用户不存在", codec: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?><a>{text}</a>'.encode(codec or encoding)


@pytest.mark.parametrize(
    ("bom", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_bom_tells_the_encoding(bom: bytes, codec: str) -> None:
    assert text_from(bom + TEXT.encode(codec)).removeprefix("\ufeff") == TEXT
    assert trimmed(text_from(bom + f"{TEXT}\0\0".encode(codec) + b"\0")).removeprefix("\ufeff") == TEXT


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_two_characters_of_ascii_at_the_start_tell_it_too(codec: str) -> None:
    assert text_from(TEXT.encode(codec)) == TEXT


@pytest.mark.parametrize("name", ["GBK", "gb2312", "GB18030", "gb_2312-80", "x-gbk", "cp936", "Big5", "big5-hkscs"])
def test_xml_is_read_as_it_declares(name: str) -> None:
    codec = "big5" if name.lower().startswith("big5") else "gbk"
    assert text_from(xml(name, "用戶不存在", codec)) == xml(name, "用戶不存在", "utf-8").decode()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ISO-8859-1", "josé"),
        ("windows-1252", "josé €"),
        ("ISO-8859-15", "josé €"),
        ("windows-1251", "нет"),
        ("KOI8-R", "нет"),
        ("Shift_JIS", "宛先不明"),
        ("EUC-JP", "宛先不明"),
        ("EUC-KR", "없음"),
    ],
)
def test_so_is_xml_of_other_places(name: str, text: str) -> None:
    assert text_from(b"\r\n " + xml(name, text)).endswith(f"<a>{text}</a>")


@pytest.mark.parametrize(
    "declaration", ["version='1.0' encoding='gbk'", 'version="1.0"\n encoding = "GBK" standalone="no"']
)
def test_a_declaration_may_be_written_in_any_way(declaration: str) -> None:
    assert "用户" in text_from(f"<?xml {declaration} ?><a>用户</a>".encode("gbk"))


def test_what_is_utf8_is_utf8_whatever_is_declared() -> None:
    """A transport that converts a document leaves its declaration."""
    assert text_from(xml("GBK", codec="utf-8")) == xml("GBK", codec="utf-8").decode()


def test_the_charset_of_the_transport_counts_first() -> None:
    assert text_from(TEXT.encode("gb18030"), 'text/plain; charset="GB18030"') == TEXT
    assert "用户" in text_from(xml("iso-8859-1", codec="gbk"), "text/xml;charset=gbk")


@pytest.mark.parametrize("name", OTHERS.split())
def test_no_other_codec_is_ever_used_or_looked_for(name: str) -> None:
    known = set(vars(encodings)["_cache"])
    body = f'<?xml version="1.0" encoding="{name}"?><a>+ADw-\\x3c '.encode() + b"\xff</a>"
    assert text_from(body) == body.decode("utf-8", "surrogateescape")
    assert text_from(b"\xff+ADw-", f"text/xml; charset={name}") == "\udcff+ADw-"
    assert set(vars(encodings)["_cache"]) == known  # where every name stays for good


@given(ENCODED)
def test_declared_gbk_is_read_or_it_is_utf8(text: str) -> None:
    body = b'<?xml version="1.0" encoding="GBK"?>' + text.encode("gb18030")
    try:
        expected = body.decode()
    except UnicodeDecodeError:
        expected = body.decode("gb18030")
    assert text_from(body) == expected


@given(st.binary(max_size=60), st.sampled_from(["gbk", "shift_jis", "big5", "euc-kr", "koi8-r", "utf-16", "none"]))
def test_every_byte_comes_out_as_text_that_can_be_written(junk: bytes, name: str) -> None:
    for body in (junk, b'<?xml version="1.0" encoding="%b"?>' % name.encode() + junk, b"\xff\xfe" + junk):
        text_from(body).encode("utf-8", "surrogateescape")
        text_from(memoryview(body), f"text/plain; charset={name}")


@given(st.text("a \r\n\0", max_size=8))
def test_only_zeros_at_the_end_and_blanks_behind_them_go(text: str) -> None:
    kept = trimmed(text)
    assert text.startswith(kept)
    assert not text[len(kept) :].strip(" \r\n\0")
    assert kept == text or text[len(kept)] == "\0"
    assert not kept.rstrip(" \r\n").endswith("\0") or not text.strip(" \r\n\0")


def test_text_with_bytes_in_it_is_read_again_as_declared() -> None:
    body = xml("GBK")
    assert "用户不存在" in declared_again(body.decode("utf-8", "surrogateescape"))


def test_hostile_bytes_take_no_longer_than_in_proportion_to_their_number() -> None:
    head = b'<?xml version="1.0" encoding="GBK"?>'
    for junk in (b"\xff", b"\x81\x30\x81", b"<?xml ", b"<?xml encoding", b" "):
        begun = time.process_time()
        text_from(head + junk * (256 * 1024 // len(junk)) + b"\xff")
        text_from(junk * (256 * 1024 // len(junk)) + b"\xff", "; charset" * 1000)
        assert time.process_time() - begun < 5

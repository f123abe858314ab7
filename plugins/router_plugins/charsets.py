"""Which characters bytes are, where nobody can be asked: by their BOM, else UTF-8, else what the document declares.

What is valid as UTF-8 is UTF-8 whatever is declared: other texts hardly ever are by accident, and documents keep their
declaration when a transport converts them. Declared names are looked up in a list of this file, never in Python's:
there, a document could have itself read by any codec (rot13, utf-7), and every name ever asked for is remembered.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

from router_plugins.mending import is_odd, text_of

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like the one of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ZEROS: Mapping[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}
"""Where the first four bytes of a text are zero that begins with two characters of ASCII."""
_DECLARATION = re.compile(
    rb"[\xef\xbb\xbf \t\r\n]{0,64}<\?xml[ \t\r\n][^<>]{0,200}?"
    rb"encoding[ \t\r\n]{0,9}=[ \t\r\n]{0,9}[\"']([\w.:-]{1,40})[\"']"
)
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]{1,40})", re.IGNORECASE)
_NO_NAME = re.compile(r"[^a-z0-9]")
_LOOSE_END = " \t\r\n\0"
_SURROGATE = re.compile("[\ud800-\udfff]")

_NAMES = {
    "gb18030": "gb18030 gb180302000 gb180302005 gbk xgbk gb2312 gb231280 csgb2312 euccn cp936 ms936 windows936",
    "big5hkscs": "big5 big5hkscs cnbig5 xxbig5 csbig5 cp950 ms950 big5tw",
    "cp932": "shiftjis sjis xsjis mskanji csshiftjis cp932 ms932 windows31j",
    "euc_jp": "eucjp xeucjp cseucpkdfmtjapanese",
    "cp949": "euckr cseuckr ksc56011987 ksc5601 cp949 ms949 uhc windows949",
    "koi8_r": "koi8r cskoi8r",
    "koi8_u": "koi8u",
    "cp874": "tis620 cp874 windows874",
    "iso8859_1": "iso88591 latin1 l1 cp819 ibm819",
    **{f"iso8859_{n}": f"iso8859{n}" for n in (*range(2, 12), *range(13, 17))},
    **{f"cp125{n}": f"windows125{n} cp125{n}" for n in range(9)},
}
_CODECS = {name: codec for codec, names in _NAMES.items() for name in names.split()}
"""Codecs by the names that documents have for them, without what is no letter or digit. Each is ASCII for ASCII; of
those that others grew out of, the largest."""


def text_from(body: bytes | memoryview, content_type: str = "") -> str:
    """Return bytes as text, in which those that are no characters are lone surrogates (`surrogateescape`).

    `content_type`: what the transport said; its charset counts before that of an XML declaration.
    """
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError:
        return _other(bytes(body), content_type)
    return _other(bytes(body), content_type) if "\0" in text[:4] else text


def _other(body: bytes, content_type: str) -> str:
    """Decode what is not UTF-8, or seems to be UTF-16 or UTF-32 of ASCII, which is UTF-8 too."""
    for bom, codec in _BOMS:
        if body.startswith(bom):
            return _wide(body[len(bom) :], codec)
    zeros = _ZEROS.get(tuple(byte == 0 for byte in body[:4]))
    return _declared(body, content_type) if zeros is None else _wide(body, zeros)


def trimmed(text: str) -> str:
    """Return a text without the NULs at its end, as C programs send them, and the blanks behind one."""
    if "\0" not in text[-64:]:
        return text
    length = len(text.rstrip(_LOOSE_END))
    end = text.find("\0", length)
    return text[:end] if length and end > 0 else text


def declared_again(text: str) -> str:
    """Read XML again, in which bytes are no UTF-8, if it declares what they are."""
    return _declared(text.encode("utf-8", "surrogateescape"), "")


def _wide(body: bytes, codec: str) -> str:
    """Decode UTF-16 or UTF-32; lone surrogates in it count as the three bytes each that UTF-8 would have."""
    width = 4 if codec.startswith("utf-32") else 2
    whole = len(body) - len(body) % width
    try:
        text = str(body[:whole], codec, "surrogatepass")
    except UnicodeDecodeError:  # beyond the last character
        return text_of(body)
    return text_of(text.encode("utf-8", "surrogatepass") + body[whole:])


def _declared(body: bytes, content_type: str) -> str:
    """Decode what is not UTF-8 as is said, unless even that leaves more bytes which are no characters."""
    plain = text_of(body)
    declaration = _DECLARATION.match(body)
    names = [found[1] for found in [_CHARSET.search(content_type)] if found]
    names += [declaration[1].decode("ascii", "replace")] if declaration else []
    codec = next(filter(None, (_CODECS.get(_NO_NAME.sub("", name.lower())) for name in names)), None)
    if codec is None or not is_odd(plain):
        return plain
    text = body.decode(codec, "surrogateescape")
    return text if _odd(text) <= _odd(plain) else plain


def _odd(text: str) -> int:
    return len(_SURROGATE.findall(text))

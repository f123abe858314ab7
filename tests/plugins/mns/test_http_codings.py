"""Content codings: gzip and deflate of every writer are taken off, within the limit; nothing broken passes."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_plugins.mns.http import TooLargeError, content_of
from router_plugins.mns.http.codings import coding_of

BODY = b"env_id=1&status=0&event=deliver" * 20
LIMIT = 4096


def raw(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"", BODY),
        (b" ", BODY),
        (b"identity", BODY),
        (b"Identity, ", BODY),
        (b"gzip", gzip.compress(BODY)),
        (b"GZip", gzip.compress(BODY)),
        (b" x-gzip ", gzip.compress(BODY)),
        (b"gzip, identity", gzip.compress(BODY)),
        (b",gzip,", gzip.compress(BODY)),
        (b"gzip", gzip.compress(BODY[:7]) + gzip.compress(b"") + gzip.compress(BODY[7:])),
        (b"gzip", gzip.compress(BODY) + bytes(512)),
        (b"gzip", gzip.compress(BODY, compresslevel=0)),
        (b"deflate", zlib.compress(BODY)),
        (b"DEFLATE", zlib.compress(BODY, 0)),
        (b"deflate", raw(BODY)),
    ],
)
def test_what_was_packed_is_unpacked(header: bytes, body: bytes) -> None:
    assert content_of(header, body, LIMIT) == BODY


@pytest.mark.parametrize(
    "header", [b"br", b"zstd", b"compress", b"gzip, gzip", b"deflate, gzip", b"gzip;q=1", b"\xff", b"*"]
)
def test_any_other_coding_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError, match="is not taken, but gzip, deflate"):
        coding_of(header)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw])
@pytest.mark.parametrize("cut", [0, 1, 5, -9, -1])
def test_a_body_that_ends_early_is_refused(pack: type[bytes], cut: int) -> None:
    with pytest.raises(ValueError, match=r"ends early|is no"):
        content_of(b"gzip" if pack is gzip.compress else b"deflate", pack(BODY)[:cut], LIMIT)


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"gzip", BODY),
        (b"gzip", zlib.compress(BODY)),
        (b"deflate", gzip.compress(BODY)),
        (b"gzip", gzip.compress(BODY) + b"more"),
        (b"gzip", gzip.compress(BODY)[:-4] + b"\0\0\0\1"),
        (b"deflate", zlib.compress(BODY)[:-4] + b"\0\0\0\1"),
        (b"deflate", zlib.compress(BODY) + b"\n"),
        (b"deflate", raw(BODY) + b"more"),
        (b"gzip", gzip.compress(b"") * 65),
    ],
)
def test_what_is_broken_is_refused(header: bytes, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"body"):
        content_of(header, body, LIMIT)


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, raw])
def test_content_may_be_as_long_as_the_limit_and_no_longer(pack: type[bytes]) -> None:
    header = b"gzip" if pack is gzip.compress else b"deflate"
    assert content_of(header, pack(bytes(LIMIT)), LIMIT) == bytes(LIMIT)
    with pytest.raises(TooLargeError):
        content_of(header, pack(bytes(LIMIT + 1)), LIMIT)
    with pytest.raises(TooLargeError):
        content_of(b"gzip", gzip.compress(bytes(LIMIT)) + gzip.compress(b"x"), LIMIT)


def test_a_bomb_costs_no_more_than_the_limit() -> None:
    bomb = gzip.compress(bytes(200_000_000), compresslevel=1)
    begun = time.process_time()
    with pytest.raises(TooLargeError):
        content_of(b"gzip", bomb, LIMIT)
    assert time.process_time() - begun < 0.5


@given(st.binary(max_size=300), st.sampled_from([b"gzip", b"deflate"]), st.integers(0, 300), st.binary(max_size=4))
def test_a_change_of_packed_bytes_is_noticed_or_changes_nothing(
    body: bytes, header: bytes, at: int, junk: bytes
) -> None:
    packed = gzip.compress(body, mtime=0) if header == b"gzip" else zlib.compress(body)
    changed = packed[:at] + junk + packed[at + len(junk) :]
    try:
        content = content_of(header, changed, LIMIT)
    except ValueError:
        return
    assert content == body or header == b"deflate"  # bare deflate has no checksum

"""The PROXY protocol, versions 1 and 2: a proxy that passes bytes on says first who sent them.

HAProxy's proxy-protocol.txt defines it. Nothing behind the header may be read with it, since a TLS handshake can
follow: `needed` says how many bytes can be read without that, so a client may send it in as many pieces as it likes.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address

import anyio

from router_plugins.mns.http.entrance import plain_address

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_SHORTEST = len(b"PROXY UNKNOWN\r\n")
_LONGEST_V1 = 107
_HEAD_V2 = 16
_LONGEST_V2 = 8 * 1024
"""Bytes of a header in version 2, of which 216 at most are addresses and the rest are notes (TLVs)."""

_V1 = re.compile(rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?|(TCP[46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) ([0-9]+) ([0-9]+))\r\n")
_PORT = re.compile(rb"0|[1-9][0-9]{0,4}")
_ADDRESSES_V2 = {1: (4, 12), 2: (16, 36), 3: (108, 216)}
"""By family (IPv4, IPv6, Unix): bytes of the source's address, and of all that must be there."""


def needed(header: bytes) -> int:
    """Return how many more bytes certainly belong to the header that begins so; 0 where it is complete.

    Raises ValueError for what begins no header.
    """
    if not (_SIGNATURE.startswith(header[: len(_SIGNATURE)]) or b"PROXY ".startswith(header[:6])):
        raise ValueError("there is no PROXY header")
    if len(header) < _SHORTEST:
        return _SHORTEST - len(header)
    if not header.startswith(_SIGNATURE):
        if header.endswith(b"\n"):
            return 0
        if len(header) >= _LONGEST_V1 or b"\n" in header:
            raise ValueError("a PROXY header of version 1 that does not end")
        return 1
    if len(header) < _HEAD_V2:
        return _HEAD_V2 - len(header)
    size = _HEAD_V2 + int.from_bytes(header[14:16])
    if size > _LONGEST_V2:
        raise ValueError(f"a PROXY header of more than {_LONGEST_V2} bytes")
    return size - len(header)


def client_of(header: bytes) -> str:
    """Return the client's address that a complete header says; empty where it says none, and it is the proxy itself.

    Raises ValueError for a malformed header.
    """
    return _client_v2(header) if header.startswith(_SIGNATURE) else _client_v1(header)


def _client_v1(header: bytes) -> str:
    found = _V1.fullmatch(header)
    if found is None:
        raise ValueError("a malformed PROXY header of version 1")
    if found[1] is None:
        return ""
    for port in found[4], found[5]:
        if not _PORT.fullmatch(port) or int(port) > 0xFFFF:  # noqa: PLR2004 - the last port
            raise ValueError("a PROXY header with a port that is none")
    kind = IPv4Address if found[1] == b"TCP4" else IPv6Address
    source, _destination = kind(found[2].decode()), kind(found[3].decode())
    return plain_address(_text(source))


def _client_v2(header: bytes) -> str:
    version, command, family, transport = header[12] >> 4, header[12] & 15, header[13] >> 4, header[13] & 15
    if version != 2 or command > 1 or family > 3 or transport > 2:  # noqa: PLR2004 - as the protocol says
        raise ValueError("a PROXY header of version 2 with values that are not known")
    if command == 0 or family == 0 or transport == 0:
        return ""  # the proxy's own, such as a check of health
    size, all_of_them = _ADDRESSES_V2[family]
    block = header[_HEAD_V2:]
    if len(block) < all_of_them:
        raise ValueError("a PROXY header of version 2 with too few bytes for its addresses")
    if family == 3:  # noqa: PLR2004 - a Unix socket: it has no address
        return ""
    return plain_address(_text(IPv4Address(block[:size]) if size == 4 else IPv6Address(block[:size])))  # noqa: PLR2004


def _text(address: IPv4Address | IPv6Address) -> str:
    return str(getattr(address, "ipv4_mapped", None) or address)


async def read_client(connected: socket.socket) -> str:
    """Read the header, and no byte more, from a socket that does not block; return the client's address.

    It is empty where the header says none. Raises ValueError for what is no header, EOFError where nothing
    came at all, OSError where the client is gone.
    """
    header = b""
    while more := needed(header):
        try:
            part = connected.recv(more)
        except BlockingIOError:
            await anyio.wait_readable(connected)
            continue
        if not part:
            raise ConnectionResetError if header else EOFError
        header += part
    return client_of(header)

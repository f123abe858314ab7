"""Where a source listens: one address or several, of both families, which of them cannot be together."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from router.listeners import Listener, Listeners, addresses, clash, single_family


@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ("0.0.0.0:80", "[::]:80", False),
        ("127.0.0.1:80", "[::]:80", True),
        ("[::1]:80", "[::]:80", True),
        ("[::1]:80", "0.0.0.0:80", False),
        ("127.0.0.1:80", "0.0.0.0:80", True),
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
        ("localhost:80", "127.0.0.1:80", True),
        ("router.example:80", "0.0.0.0:80", True),
        ("[::]:80", "[0:0::0]:80", True),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", True),
        ("127.0.0.1:80", "127.0.0.2:80", False),
        ("Router.example:80", "router.EXAMPLE:080", True),
        ("no address", "127.0.0.1:80", False),
    ],
)
def test_addresses_that_cannot_be_had_together_are_known(one: str, other: str, *, refused: bool) -> None:
    assert (clash(one, other), clash(other, one)) == (refused, refused)


def test_an_option_is_one_address_or_several() -> None:
    assert [list(addresses(each)) for each in ("a:1", ("a:1", "b:1"), ["a:1"], "", None, 5)] == [
        ["a:1"],
        ["a:1", "b:1"],
        ["a:1"],
        [],
        [],
        [],
    ]


def test_all_of_ipv6_takes_ipv4_unless_that_has_a_listener_of_its_own() -> None:
    assert not single_family("[::]:80", ["[::]:80"])
    assert not single_family("[::]:80", ["[::]:80", "0.0.0.0:81"])
    assert single_family("[::]:80", ["[::]:80", "0.0.0.0:80"])
    assert single_family("[::1]:80", ["[::1]:80"])
    with closing(Listener("[::]:0", alone=False)) as both:
        both.sockets(1, 1)
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, both.port), timeout=2).close()
        beside = Listener(f"0.0.0.0:{both.port}", ours={both.port})  # as at a reload, until the other is exchanged
        with closing(beside):
            beside.sockets(1, 1)


def test_a_source_of_several_addresses_accepts_at_each_and_drops_each() -> None:
    each = [Listener("127.0.0.1:0"), Listener("[::1]:0")]
    with closing(Listeners(each)) as all_of_them:
        sockets = all_of_them.sockets(1, 1)
        assert len(sockets) == 2
        for host, one in zip(("127.0.0.1", "::1"), each, strict=True):
            socket.create_connection((host, one.port), timeout=2).close()
        all_of_them.drop(1)
        assert [one.fileno() for one in sockets] == [-1, -1]

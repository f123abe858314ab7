"""Denied networks: an address is denied in whatever form it comes, and where a connection came to is judged, too."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from router_plugins.http_client import dialling
from router_plugins.http_client.connection import Connection
from router_plugins.http_client.denial import METADATA, denies, networks
from router_plugins.http_client.dialling import Dialler
from router_plugins.http_client.errors import DeniedError

LOOPBACK = ["127.0.0.0/8", "::1/128"]
FORMS = ["{}", "::ffff:{}", "::{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}", "64:ff9b:1:2:3:4:{}",
         "fd01::5efe:{}",
         "fe80::200:5efe:{}%eth0"]  # fmt: skip
NUMBERED = ["2002:7f00:1::", "2002:7f00:0001:1::9", "2001:0:7f00:1::", "2001:0:102:304:0:0:80ff:fffe",
            "64:ff9b:1:7f00:0:100::", "64:ff9b:1:7f:0:1::", "64:ff9b:1:0:7f:0:100:0"]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "0.0.0.0"])
def test_loopback_is_denied_in_all_of_its_forms(form: str, address: str) -> None:
    assert denies(networks(["127.0.0.0/8"]), form.format(address))
    assert denies(networks(["::ffff:127.0.0.0/104"]), form.format(address))
    assert not denies(networks(["10.0.0.0/8", "fd00:ec2::/32"]), form.format(address))


@pytest.mark.parametrize("address", ["::", "::%lo", "::1", *NUMBERED])
def test_loopback_is_denied_where_a_tunnel_or_gateway_has_it_in_the_middle(address: str) -> None:
    assert denies(networks(LOOPBACK), address)


@pytest.mark.parametrize("form", FORMS)
def test_an_address_that_is_not_denied_is_not_in_any_form(form: str) -> None:
    assert not denies(networks(LOOPBACK), form.format("8.8.8.8"))


@pytest.mark.parametrize("address", ["2606:4700::1111", "fd00::1", "2002:808:808::1"])
def test_other_addresses_are_not_denied(address: str) -> None:
    assert not denies(networks([*LOOPBACK, "10.0.0.0/8", *METADATA]), address)


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "fd00:ec2::23",
     "fe80::1%eth0",
     "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::6464:64c8", "2002:a9fe:a9fe::", "::ffff:100.100.100.200",
     "168.63.129.16", "fd00:42::42"],
)  # fmt: skip
def test_by_default_no_machine_gives_its_credentials(address: str) -> None:
    assert denies(networks(METADATA), address)


@given(st.ip_addresses(v=4))
def test_a_mapped_network_of_the_list_is_that_of_ipv4(address: IPv4Address) -> None:
    listed, mapped = networks(["::ffff:10.0.0.0/104", "::ffff:192.0.2.7"]), IPv6Address(f"::ffff:{address}")
    expected = denies(networks(["10.0.0.0/8", "192.0.2.7"]), str(address))
    assert denies(listed, str(address)) == denies(listed, str(mapped)) == expected


@given(st.ip_addresses(v=6))
def test_any_address_can_be_judged(address: IPv6Address) -> None:
    assert not denies([], str(address))
    assert denies(networks([f"{address}/128"]), str(address)) or address.ipv4_mapped == IPv4Address(0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "host", ["0.0.0.0", "0", "127.1", "0x7f000001", "2130706433", "017700000001", "localhost", "[::]",
             "[::ffff:0.0.0.0]",
             "[::ffff:127.0.0.1]", "[::1]"],
)  # fmt: skip
@pytest.mark.parametrize("listed", [LOOPBACK, ["::ffff:127.0.0.0/104", "::1"]])
async def test_no_way_of_writing_it_leads_to_loopback(host: str, listed: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        url = URL(f"http://{host}:{server.getsockname()[1]}/")
        with pytest.raises(DeniedError, match="in a network that is denied"):
            await Dialler(url, None, networks(listed)).dial(_no_connection)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.anyio
async def test_where_a_connection_came_to_is_judged_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a system takes an address for: here all of them look harmless until there is a peer."""
    judged: list[str] = []

    def judges(_: object, host: str) -> bool:
        judged.append(host)
        return len(judged) > 1

    monkeypatch.setattr(dialling, "denies", judges)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(DeniedError, match=r"127\.0\.0\.1 is in a network that is denied"):
            await Dialler(URL(f"http://0.0.0.0:{server.getsockname()[1]}/"), None, []).dial(_no_connection)
        peer, _ = server.accept()
        with peer:
            assert peer.recv(1) == b"", "it is closed"
    assert judged == ["0.0.0.0", "127.0.0.1"]


def _no_connection() -> Connection:
    raise AssertionError("nothing may come of it")

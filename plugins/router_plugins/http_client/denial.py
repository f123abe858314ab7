"""Which addresses are not connected to: the networks of a list, in whatever clothes an address comes.

One of IPv4 can be written in IPv6, and gateways and tunnels take it there: mapped, compatible, translated, NAT64
(RFC 6052, 8215), 6to4, Teredo, ISATAP. It is denied if any of what it stands for is. The unspecified address (`0.0.0.0`
or `::`) leads to this machine, so it counts as both loopback addresses. Mapped networks of the list are those of IPv4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
_Address: TypeAlias = IPv4Address | IPv6Address

METADATA = (
    "169.254.0.0/16",  # of nearly all clouds
    "fe80::/10",
    "100.100.100.200/32",  # Alibaba Cloud
    "fd00:ec2::/32",  # AWS: ::254, and ::23 for what runs in EKS
    "fd20:ce::254/128",  # Google Cloud
    "fd00:42::42/128",  # Scaleway
    "168.63.129.16/32",  # Azure's WireServer
)
"""Networks where clouds give a machine its credentials."""
_WHOLE = 2**32 - 1
_MAPPED = IPv6Network("::ffff:0:0/96")
_LAST = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""Networks whose addresses end with one of IPv4: compatible, translated, NAT64."""
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_ISATAP = frozenset((0x00005EFE, 0x02005EFE))
_LOOPBACKS = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def networks(texts: Sequence[str]) -> Sequence[Network]:
    """Read the networks of a list; raises `ValueError` for what is none."""
    return [_unmapped(ip_network(text)) for text in texts]


def denies(denied: Sequence[Network], host: str) -> bool:
    """Say whether a numeric address, with or without a scope, may not be connected to."""
    return any(one in network for one in _meanings(ip_address(host.partition("%")[0])) for network in denied)


def _unmapped(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED.prefixlen and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & _WHOLE, network.prefixlen - _MAPPED.prefixlen))
    return network


def _meanings(address: _Address) -> Iterator[_Address]:
    """Yield the address and all that it stands for."""
    yield address
    if address.is_unspecified:
        yield from _LOOPBACKS
    if isinstance(address, IPv6Address) and address not in _LOOPBACKS:
        for number in {*_embedded(address)}:
            yield from _meanings(IPv4Address(number))


def _embedded(address: IPv6Address) -> Iterator[int]:
    """Yield the addresses of IPv4 that one of IPv6 holds, as numbers."""
    bits = int(address)
    if address.ipv4_mapped is not None or any(address in network for network in _LAST):
        yield bits & _WHOLE
    if address.sixtofour is not None:
        yield int(address.sixtofour)
    if address.teredo is not None:
        yield from map(int, address.teredo)
    if bits >> 32 & _WHOLE in _ISATAP:
        yield bits & _WHOLE
    if address in _LOCAL_NAT64:  # the prefix may be longer, and bits 64 to 71 are left out (RFC 6052, section 2.2)
        yield bits & _WHOLE
        left_out = (bits >> 64) << 56 | bits & (2**56 - 1)
        yield from filter(None, (left_out >> 120 - length - 32 & _WHOLE for length in (48, 56, 64)))

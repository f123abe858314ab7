"""Whose pushes are taken at all, by address, where proxies may stand between."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


class Callers:
    """An allow-list of networks (`47.90.0.0/16`); `X-Forwarded-For` counts only as far as trusted proxies wrote it.

    Raises ValueError for what is no network.
    """

    def __init__(self, allow: Sequence[str], trusted_proxies: Sequence[str]) -> None:
        self._allowed = [ip_network(text) for text in allow]
        self._trusted = [ip_network(text) for text in trusted_proxies]

    def turns_away(self, peer: str) -> bool:
        """Say whether the socket's other end is neither allowed nor a proxy that may speak for somebody who is."""
        return bool(self._allowed) and not self.admit(peer, "") and not self.is_proxy(peer)

    def is_proxy(self, peer: str) -> bool:
        """Say whether the socket's other end is a trusted proxy."""
        try:
            client = _address(peer)
        except ValueError:
            return False
        return any(client in network for network in self._trusted)

    def admit(self, peer: str, forwarded: str) -> bool:
        """Say whether the client is allowed: the nearest address that is no trusted proxy's.

        `peer` is the socket's, `forwarded` the value of `X-Forwarded-For`, whose last address is the nearest. What a
        trusted proxy passed on that is no address is refused.
        """
        hops = [hop.strip() for hop in forwarded.split(",")] if forwarded else []
        try:
            client = _address(peer)
            while hops and any(client in network for network in self._trusted):
                client = _address(hops.pop())
        except ValueError:
            return False
        return any(client in network for network in self._allowed)


def _address(text: str) -> IPv4Address | IPv6Address:
    """Read an address; one of IPv4 that came over an IPv6 socket is the IPv4 one."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address

"""Whose pushes are taken at all, by address, where proxies may stand between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_HOP = re.compile(r'"?(?:\[([^\]]*)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}|([^"]*))"?')
"""An address as proxies write it: alone, in brackets, with a port (AWS, Azure, Alibaba Cloud), in quotes."""


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
        return self._is_trusted(client)

    def admit(self, peer: str, forwarded: str) -> bool:
        """Say whether the client is allowed: the nearest address that is no trusted proxy's."""
        return not self.objection(peer, forwarded)

    def objection(self, peer: str, forwarded: str) -> str:
        """Say why the client is not allowed; empty if it is.

        `peer` is the socket's, `forwarded` the value of `X-Forwarded-For`, whose last address is the nearest. What a
        trusted proxy passed on that is no address is refused; empty parts of the list are none (RFC 9110, 5.6.1).
        """
        hops = [hop for part in forwarded.split(",") if (hop := part.strip())]
        try:
            client = _address(peer)
            while trusted := self._is_trusted(client):
                if not hops:
                    break
                client = _hop(hops.pop())
        except ValueError:
            return "X-Forwarded-For has a part that is no address" if peer else "the client is gone"
        if any(client in network for network in self._allowed):
            return ""
        if not trusted:
            return "pushes are not taken from this address"
        if forwarded:
            return "X-Forwarded-For names trusted proxies only"
        return "a trusted proxy does not say whose request it is: there is no X-Forwarded-For"

    def _is_trusted(self, client: IPv4Address | IPv6Address) -> bool:
        return any(client in network for network in self._trusted)


def _hop(text: str) -> IPv4Address | IPv6Address:
    found = _HOP.fullmatch(text)
    if found is None:
        raise ValueError("no address")
    return _address(next(filter(None, found.groups()), ""))


def _address(text: str) -> IPv4Address | IPv6Address:
    """Read an address; one of IPv4 that came over an IPv6 socket is the IPv4 one."""
    address = ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address

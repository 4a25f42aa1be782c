"""From which address a request comes: the socket's peer, or, behind trusted proxies, the one exactly so many hops away.

`X-Forwarded-For` grows to the right: each proxy appends the address that it was called from. So of its entries only the
last `hops` were written by our own proxies, and the first of those is the client; whatever stands before it, the client
could have written itself. The header counts only when the peer is a trusted proxy, and when it cannot be read as agreed
the address is unknown rather than guessed. `Forwarded`, `X-Real-IP` and the like are not read.

Sources: RFC 7239 section 8.1 (whom to believe); SECURITY row E4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

Network = IPv4Network | IPv6Network
_LONGEST = 64 * 50


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The reverse proxies between clients and the gateway: where they are, and how many a request passes."""

    networks: tuple[Network, ...] = ()
    hops: int = 1

    @classmethod
    def parse(cls, networks: Sequence[str], hops: int) -> TrustedProxies:
        """Return the proxies written as CIDR blocks.

        Raises:
            ValueError: one of them is none.
        """
        return cls(tuple(ip_network(network) for network in networks), hops)

    def client_address(self, peer: str, forwarded: str) -> str | None:
        """Return the address of the client, in its usual notation.

        Args:
            peer: of the socket; empty when there is none, as on a Unix socket.
            forwarded: `X-Forwarded-For`, several of them joined by commas; empty when there is none.

        Returns:
            None when the peer is a trusted proxy, and the header does not tell what lies `hops` away.
        """
        if not self.networks:
            return peer
        near = _parsed(peer)
        if near is None or not self._has(near):
            return peer
        entries = forwarded.split(",")[-self.hops :] if len(forwarded) <= _LONGEST else []
        if len(entries) < self.hops:
            return None
        client, *proxies = (_parsed(entry.strip(" \t")) for entry in entries)
        if client is None or any(proxy is None or not self._has(proxy) for proxy in proxies):
            return None
        return str(client)

    def _has(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self.networks)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address, written with a port or without; None for anything else, also a scoped one."""
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket or (port and not (port[0] == ":" and port[1:].isdecimal())):
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
        if not port.isdecimal():
            return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id is not None else address.ipv4_mapped or address
    return address


def address_of(request: HttpRequest) -> str:
    """Return the address of a client of the console as text, empty when there is none.

    Here it only says who is counted, so that behind a proxy that does not tell, the proxy itself is.
    """
    peer = str(request.META.get("REMOTE_ADDR") or "")
    proxies = _configured(tuple(settings.WARDGATE_TRUSTED_PROXIES), settings.WARDGATE_PROXY_HOPS)
    return proxies.client_address(peer, str(request.META.get("HTTP_X_FORWARDED_FOR", ""))) or peer


@lru_cache(maxsize=8)
def _configured(networks: Sequence[str], hops: int) -> TrustedProxies:
    return TrustedProxies.parse(networks, hops)

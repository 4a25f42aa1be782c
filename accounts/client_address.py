"""From which address a request comes, behind proxies that are trusted and no others."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_of(request: HttpRequest) -> str:
    """Return the address of the client as text, empty when there is none.

    `X-Forwarded-For` counts only as far as the addresses that wrote it are in `WARDGATE_TRUSTED_PROXIES`: whoever else
    sends the header chooses nothing.
    """
    peer = str(request.META.get("REMOTE_ADDR") or "")
    trusted = _networks(tuple(settings.WARDGATE_TRUSTED_PROXIES))
    if not trusted or not _is_within(peer, trusted):
        return peer
    for hop in reversed(str(request.META.get("HTTP_X_FORWARDED_FOR", "")).split(",")):
        address = hop.strip()
        if not _is_address(address):
            break
        peer = address
        if not _is_within(address, trusted):
            break
    return peer


@lru_cache(maxsize=8)
def _networks(texts: Sequence[str]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_within(text: str, networks: Sequence[_Network]) -> bool:
    return _is_address(text) and any(ipaddress.ip_address(text) in network for network in networks)

"""Which addresses may be connected to, and which URLs may name an upstream. Pure.

`ipaddress.is_global` calls loopback, metadata and private addresses global once they are written inside an IPv6 form
(`::127.0.0.1`, `2002:7f00:1::`, `64:ff9b::a9fe:a9fe`), and knows nothing of the addresses that clouds use inside. So
the rule is written out here: public is what IANA hands out for global unicast, less every special block; anything else
needs a network that an administrator allowed for that connection.

The caller resolves a name once, asks about every address it got, and connects to that very address: a second
resolution would let the name answer differently.

Sources: IANA special-purpose address registries (RFC 6890), RFC 6052 and RFC 8215 (NAT64), RFC 3056 (6to4), RFC 3986
section 3.2 and RFC 9112 section 3.2 (URL and Host syntax).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL: Final = 2048
MAX_NETWORKS: Final = 100

_SPECIAL: Final[tuple[tuple[Network, str], ...]] = tuple(
    (ip_network(block), kind)
    for block, kind in (
        ("0.0.0.0/8", "an unspecified"),
        ("10.0.0.0/8", "a private"),
        ("100.64.0.0/10", "a carrier or cloud internal"),
        ("127.0.0.0/8", "a loopback"),
        ("168.63.129.16/32", "a cloud metadata"),
        ("169.254.0.0/16", "a link-local or cloud metadata"),
        ("172.16.0.0/12", "a private"),
        ("192.0.0.0/24", "a protocol assignment or cloud metadata"),
        ("192.0.2.0/24", "a documentation"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private"),
        ("198.18.0.0/15", "a benchmarking"),
        ("198.51.100.0/24", "a documentation"),
        ("203.0.113.0/24", "a documentation"),
        ("224.0.0.0/4", "a multicast"),
        ("240.0.0.0/4", "a reserved"),
        ("::1/128", "a loopback"),
        ("::/96", "an IPv4-compatible"),
        ("64:ff9b:1::/48", "a local translation"),
        ("2001::/32", "a Teredo"),
        ("2001::/23", "a protocol assignment"),
        ("2001:db8::/32", "a documentation"),
        ("2002::/16", "a 6to4"),
        ("3ffe::/16", "a retired test"),
        ("3fff::/20", "a documentation"),
        ("fc00::/7", "a private"),
        ("fe80::/10", "a link-local"),
        ("fec0::/10", "a site-local"),
        ("ff00::/8", "a multicast"),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)(.*)")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?")
_PORT = re.compile(r"[0-9]{1,5}")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_TARGET = re.compile(r"(?:[A-Za-z0-9._~:/?@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")


class UrlRefused(ValueError):
    """The URL cannot name an upstream: a stable `code`, and a sentence that does not repeat the URL."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class NetworkRefused(ValueError):
    """An entry is not a network in CIDR form; `place` counts from 1, and is 0 when there is no list at all."""

    code = "network_refused"

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place
        self.message = message


@dataclass(frozen=True, slots=True)
class Upstream:
    """A parsed upstream URL.

    `host` has no brackets and is lower case; `target` is what the request line asks for; `authority` is what the Host
    header says, which names the port only when it is not the scheme's own.
    """

    scheme: str
    host: str
    port: int
    target: bytes
    authority: bytes


def is_public(address: str) -> bool:
    """Return whether `address`, an IP address in its usual notation, may be connected to without being allowed."""
    parsed = _parsed(address)
    return parsed is not None and _kind(parsed) is None


def refusal(address: str, allowed_networks: Sequence[str]) -> str | None:
    """Return why `address` must not be connected to, or None when it may be.

    Args:
        address: as the resolver gave it. Anything but one plain address, a scoped one (`fe80::1%eth0`) too, is refused.
        allowed_networks: CIDR blocks, besides all public addresses. If one of them cannot be read, none counts.
    """
    parsed = _parsed(address)
    if parsed is None:
        return "What the name resolved to is not an IP address."
    kind = _kind(parsed)
    if kind is None:
        return None
    try:
        networks = _networks(tuple(allowed_networks))
    except NetworkRefused:
        return "The allowed networks cannot be read."
    if any(parsed in network for network in networks):
        return None
    return f"{parsed} is {kind} address and lies in none of the allowed networks."


def parse_networks(values: object) -> tuple[Network, ...]:
    """Return the networks written in `values`, a list of CIDR strings.

    Raises:
        NetworkRefused: with the place of the first entry that is not a network, or has bits set beyond its prefix.
    """
    if not isinstance(values, list | tuple):
        raise NetworkRefused(0, "The networks must be a list.")
    if len(values) > MAX_NETWORKS:
        raise NetworkRefused(0, f"There can be at most {MAX_NETWORKS} networks.")
    networks: list[Network] = []
    for place, value in enumerate(values, start=1):
        try:
            if not isinstance(value, str):
                raise ValueError
            network = ip_network(value)
        except ValueError:
            message = f"Network {place} is not in CIDR form, such as 10.20.0.0/16, with no bits beyond its prefix."
            raise NetworkRefused(place, message) from None
        if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
            raise NetworkRefused(place, f"Network {place} holds IPv4 addresses: write it as an IPv4 network.")
        networks.append(network)
    return tuple(networks)


def parse_upstream_url(url: str) -> Upstream:
    """Return the parts of `url`, of which every parser must agree what they are.

    Host names are as in DNS, in ASCII. Numbers that some resolvers read as IPv4 (127.1, 2130706433, 0x7f.0.0.1,
    0177.0.0.1) are refused: only four decimal parts are an IPv4 address.

    Raises:
        UrlRefused: codes url_characters, url_scheme, url_userinfo, url_fragment, url_host, url_port, url_target.
    """
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
        raise UrlRefused("url_length", f"The URL must have 1 to {MAX_URL} characters.")
    if not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise UrlRefused("url_characters", "The URL may hold only printable ASCII, without spaces and backslashes.")
    if "#" in url:
        raise UrlRefused("url_fragment", "The URL must not have a fragment (#).")
    parts = _URL.fullmatch(url)
    scheme = parts[1].lower() if parts else ""
    if parts is None or scheme not in _DEFAULT_PORTS:
        raise UrlRefused("url_scheme", "The URL must start with http:// or https://.")
    if "@" in parts[2]:
        raise UrlRefused("url_userinfo", "The URL must not have a user or a password; use a credential.")
    host, port = _host_and_port(parts[2], _DEFAULT_PORTS[scheme])
    if _TARGET.fullmatch(parts[3]) is None:
        raise UrlRefused("url_target", "The path or query has a character that must be written as %XX.")
    target = parts[3] if parts[3].startswith("/") else "/" + parts[3]
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port == _DEFAULT_PORTS[scheme] else f"{shown}:{port}"
    return Upstream(scheme, host, port, target.encode("ascii"), authority.encode("ascii"))


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise UrlRefused("url_host", "The host is not a valid name; an IPv6 address needs brackets.")
    host = _host(parts[1].lower())
    if parts[2] is None:
        return host, default_port
    if _PORT.fullmatch(parts[2]) is None or not 1 <= int(parts[2]) <= 65535:
        raise UrlRefused("url_port", "The port must be from 1 to 65535.")
    return host, int(parts[2])


def _host(written: str) -> str:
    try:
        if written.startswith("["):
            address = IPv6Address(written[1:-1])
            if address.scope_id is not None:
                raise ValueError
            return str(address)
        labels = written.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return str(IPv4Address(written))
    except ValueError:
        raise UrlRefused("url_host", "The host is not an IP address in its usual notation.") from None
    if len(written) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("url_host", "The host is not a valid name.")
    return written


def _parsed(address: str) -> Address | None:
    """Return the address, an IPv4-mapped one as the IPv4 address that the system would connect to."""
    try:
        parsed = ip_address(address) if isinstance(address, str) else None
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address):
        if parsed.scope_id is not None:
            return None
        return parsed.ipv4_mapped or parsed
    return parsed


def _kind(address: Address) -> str | None:
    """Return what kind of address that is not public it is, or None for a public one."""
    if address in _TRANSLATED:
        # A NAT64 gateway connects to the IPv4 address in the last 32 bits, so that address decides (RFC 6052).
        return _kind(IPv4Address(int(address) & 0xFFFFFFFF))
    for block, kind in _SPECIAL:
        if address in block:
            return kind
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "an unassigned"
    return None


@lru_cache(maxsize=1024)
def _networks(values: tuple[str, ...]) -> tuple[Network, ...]:
    return parse_networks(values)

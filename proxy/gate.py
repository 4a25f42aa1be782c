"""The gate on the raw request, before anything is parsed: exact path, host, origin, method. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

_CONNECTION = re.compile(rb"/mcp/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\Z")
_METADATA = re.compile(rb"/\.well-known/oauth-protected-resource/mcp/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)\Z")
_HOST = re.compile(rb"(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?\Z")
METHODS = frozenset({"POST", "GET", "DELETE"})


class GateRefused(Exception):
    """The request does not pass. `status` is HTTP's, `code` ours and stable."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Place:
    """Where the request goes: a connection's slug, or that connection's metadata."""

    slug: str
    is_metadata: bool


def is_ours(raw_path: bytes) -> bool:
    """Tell whether the data path answers for `raw_path`; everything else is Django's, which has no route to /mcp."""
    return raw_path.lower().startswith((b"/mcp", b"/.well-known/oauth-protected-resource"))


@lru_cache(maxsize=4096)
def place(raw_path: bytes, query: bytes) -> Place:
    """Return where the request goes, by its path as it was sent: no decoding, no normalising, no query.

    Raises:
        GateRefused: 404 for every other path.
    """
    if query:
        raise GateRefused(404, "path_unknown")
    found = _CONNECTION.match(raw_path)
    if found is not None:
        return Place(found[1].decode(), is_metadata=False)
    found = _METADATA.match(raw_path)
    if found is not None:
        return Place(found[1].decode(), is_metadata=True)
    raise GateRefused(404, "path_unknown")


def check_host(headers: Mapping[bytes, bytes], allowed: frozenset[str]) -> None:
    """Refuse a Host header that is missing, malformed or not ours (DNS rebinding).

    Raises:
        GateRefused: 400 host_refused.
    """
    if not _is_allowed(headers.get(b"host", b""), allowed):
        raise GateRefused(400, "host_refused")


@lru_cache(maxsize=1024)
def _is_allowed(header: bytes, allowed: frozenset[str]) -> bool:
    found = _HOST.match(header)
    if found is None:
        return False
    host = found[1].decode().lower().rstrip(".")
    if host.strip("[]") in allowed or host in allowed:
        return True
    return any(pattern.startswith(".") and (host.endswith(pattern) or host == pattern[1:]) for pattern in allowed)


def check_origin(headers: Mapping[bytes, bytes], allowed: frozenset[str]) -> None:
    """Refuse a browser's request from an origin that is not allowed; a request without Origin is no browser's.

    Raises:
        GateRefused: 403 origin_refused (MCP, Streamable HTTP, "Security Warning").
    """
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1") not in allowed:
        raise GateRefused(403, "origin_refused")

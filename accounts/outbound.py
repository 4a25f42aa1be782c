"""The one way in which the console's side asks another server something: key sets, discovery, introspection, webhooks.

A name is resolved once, every address that it has is judged, and the connection goes to the address that was judged,
under the name's own TLS certificate. Nothing is redirected, nothing is decompressed, no cookie is kept, no proxy of the
environment is used, and both time and size are bounded. The data path has its own client in `proxy.upstream`, by the
same rules of `accounts.addresses`.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from accounts import addresses

_PIECE = 64 * 1024


class OutboundFailed(Exception):
    """No answer was had. `code` is stable; the text is a sentence that repeats no part of the URL."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; header names are in lower case, of a repeated one the last counts."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


def request(
    method: str,
    url: str,
    *,
    allowed_networks: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    limit: int,
    seconds: float,
) -> Answer:
    """Return the answer to one request, whatever its status; a redirect is an answer like any other.

    Args:
        method: the HTTP method.
        url: http or https; plain http only into `allowed_networks`.
        allowed_networks: CIDR blocks that may be reached besides public addresses.
        headers: besides Host, Accept-Encoding and Content-Length, which are written here.
        body: what is sent.
        limit: most bytes of the answer's body.
        seconds: for everything together, from resolving the name to the last byte.

    Raises:
        OutboundFailed: codes url_*, address_refused, cannot_connect, timed_out, too_large, encoded, broken.
    """
    ends_at = time.monotonic() + seconds
    try:
        target = addresses.parse_upstream_url(url)
    except addresses.UrlRefused as error:
        raise OutboundFailed(error.code, error.message) from None
    if target.scheme == "http" and not allowed_networks:
        raise OutboundFailed("plain_http", "Plain http is for named private networks only: use https.")
    connection = http.client.HTTPConnection(target.host, target.port)
    try:
        connection.sock = _connected(target, allowed_networks, ends_at)
        connection.putrequest(method, target.target.decode(), skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", target.authority.decode())
        connection.putheader("Accept-Encoding", "identity")
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        if body or method in {"POST", "PUT", "PATCH"}:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        return _answer(connection, limit, ends_at)
    except TimeoutError:
        raise OutboundFailed("timed_out", "The server did not answer in time.") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OutboundFailed("broken", f"The exchange with the server failed ({type(error).__name__}).") from None
    finally:
        connection.close()


def connect(
    host: str,
    port: int,
    *,
    allowed_networks: Sequence[str] = (),
    has_tls: bool = True,
    ca_certificate: str = "",
    seconds: float,
) -> socket.socket:
    """Return a connection for a protocol that is not HTTP, to an address that was judged; its timeout is `seconds`.

    Args:
        host: a name or an address.
        port: TCP port.
        allowed_networks: CIDR blocks that may be reached besides public addresses.
        has_tls: without TLS only into `allowed_networks`.
        ca_certificate: PEM of the authority to trust instead of the system's.
        seconds: for resolving, connecting and the handshake together.

    Raises:
        OutboundFailed: codes plain_text, bad_certificate, address_refused, cannot_connect, timed_out, broken.
    """
    if not has_tls and not allowed_networks:
        raise OutboundFailed("plain_text", "A connection without TLS is for named private networks only: use TLS.")
    try:
        context = ssl.create_default_context(cadata=ca_certificate) if ca_certificate else _context()
    except (ssl.SSLError, ValueError):
        raise OutboundFailed("bad_certificate", "The CA certificate is not PEM.") from None
    scheme = "https" if has_tls else "http"
    target = addresses.Upstream(scheme, host, port, f"{host}:{port}".encode(), b"/")
    try:
        made = _connected(target, allowed_networks, time.monotonic() + seconds, context)
    except TimeoutError:
        raise OutboundFailed("timed_out", "The server did not answer in time.") from None
    except OSError as error:
        raise OutboundFailed("broken", f"The exchange with the server failed ({type(error).__name__}).") from None
    made.settimeout(seconds)
    return made


def _answer(connection: http.client.HTTPConnection, limit: int, ends_at: float) -> Answer:
    response = connection.getresponse()
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise OutboundFailed("encoded", "The server sent an encoded body, which was not asked for.")
    parts: list[bytes] = []
    size = 0
    while piece := response.read1(_PIECE):
        size += len(piece)
        if size > limit:
            raise OutboundFailed("too_large", "The server's answer is larger than the gateway accepts.")
        parts.append(piece)
        if connection.sock is not None:
            connection.sock.settimeout(_left(ends_at))
    if response.length:
        raise OutboundFailed("broken", "The server's answer was cut off.")
    return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, b"".join(parts))


def _connected(
    target: addresses.Upstream,
    allowed_networks: Sequence[str],
    ends_at: float,
    context: ssl.SSLContext | None = None,
) -> socket.socket:
    """Return a connection to an address that was judged, each of the name's addresses tried in turn."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise OutboundFailed("cannot_connect", "The server's name cannot be resolved.") from None
    places = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for place in places:
        if (reason := addresses.refusal(place, allowed_networks)) is not None:
            raise OutboundFailed("address_refused", reason)
    for place in places:
        try:
            plain = socket.create_connection((place, target.port), timeout=_left(ends_at))
        except TimeoutError:
            raise
        except OSError:
            continue
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(_left(ends_at))
            if target.scheme == "http":
                return plain
            return (context or _context()).wrap_socket(plain, server_hostname=target.host)
        except BaseException:
            plain.close()
            raise
    raise OutboundFailed("cannot_connect", "The server cannot be reached.")


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


@lru_cache(maxsize=1)
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()

"""Syslog over TLS or TCP: what an address is, and sending messages until the server has them. No database."""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import ssl
import struct
import termios
from collections.abc import Sequence
from typing import Final

from accounts import outbound

_ADDRESS: Final = re.compile(r"(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})")
_CLOSE_SECONDS: Final = 2.0


class NotSent(Exception):
    """The server did not take the messages, or may not have. The text is a sentence without a secret."""


def is_address(text: str) -> bool:
    """Tell whether `text` is host:port, with an IPv6 address in brackets."""
    found = _ADDRESS.fullmatch(text)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        return False
    if found["host"].startswith("["):
        try:
            ipaddress.IPv6Address(found["host"][1:-1])
        except ValueError:
            return False
    return True


def send(
    address: str,
    stream: bytes,
    *,
    allowed_networks: Sequence[str],
    has_tls: bool,
    ca_certificate: str,
    seconds: float,
) -> None:
    """Send messages, and return when the other side has all of them.

    Args:
        address: host:port.
        stream: the messages, each with its length before it (RFC 5425, section 4.3.1; RFC 6587, section 3.4.1).
        allowed_networks: where the address may lead beside the public internet.
        has_tls: whether the connection is TLS.
        ca_certificate: PEM that signs the server's certificate; empty for the public ones.
        seconds: how long connecting and sending may take.

    Raises:
        NotSent: they have to be sent again.
    """
    host, _, port = address.rpartition(":")
    try:
        with outbound.connect(
            host.strip("[]"),
            int(port),
            allowed_networks=allowed_networks,
            has_tls=has_tls,
            ca_certificate=ca_certificate,
            seconds=seconds,
        ) as connection:
            connection.sendall(stream)
            _wait_until_taken(connection)
    except outbound.OutboundFailed as error:
        raise NotSent(str(error)) from None
    except (OSError, ValueError) as error:
        raise NotSent(f"The exchange with the server failed ({type(error).__name__}).") from None


def _wait_until_taken(connection: socket.socket) -> None:
    """Return when the other side has everything: syslog has no answer, so the end of the connection has to do.

    Raises:
        OSError: it may not have it.
    """
    connection.settimeout(_CLOSE_SECONDS)
    descriptor = connection.fileno()
    try:
        if isinstance(connection, ssl.SSLSocket):
            connection.unwrap()
            return
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    except (TimeoutError, ssl.SSLError):
        # It keeps its side open, or closes it without a word. Nothing may be left unacknowledged (SIOCOUTQ, tcp(7)).
        (left,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        if left:
            raise

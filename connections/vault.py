"""How a credential is presented to an upstream: the header that carries it, judged when saved and when sent. No I/O.

Keeping secrets (the envelope, the key ring) is `accounts.vault`, whose names are given here as well: whoever has to do
with credentials needs both.

Source: RFC 9110 section 5.5 (field values), RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import re
from typing import Final

from accounts.vault import CannotOpen, KeyRing, Sealed, Secret, VaultSealed, open_sealed, rewrap, seal

__all__ = [
    "MAX_HEADER_VALUE",
    "CannotOpen",
    "CredentialRefused",
    "KeyRing",
    "Sealed",
    "Secret",
    "VaultSealed",
    "header_for",
    "open_sealed",
    "rewrap",
    "seal",
]

MAX_HEADER_VALUE: Final = 8192
"""Longest credential in a header, in bytes; common servers refuse longer header lines."""

_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,64}")
_VISIBLE = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Headers that frame the message or that the gateway writes itself: a credential under such a name could change what is
# asked instead of who asks.
# fmt: off
_RESERVED_HEADERS: Final = frozenset(
    {
        "accept", "accept-charset", "accept-encoding", "connection", "content-encoding", "content-length",
        "content-type", "expect", "forwarded", "host", "http2-settings", "keep-alive", "last-event-id",
        "origin", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via",
    }
)
# fmt: on


class CredentialRefused(ValueError):
    """A secret cannot be sent in a header: a stable `code`, and a sentence without any of the secret."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def header_for(kind: str, header_name: str, secret: Secret) -> tuple[bytes, Secret]:
    """Return the header, name in lower case and value, that presents `secret` to an upstream.

    Args:
        kind: `bearer`, `basic` (the secret is user:password) or `header` (sent as it is under `header_name`).
        header_name: only used for `header`.
        secret: the credential; it is judged both when it is saved and each time it is sent.

    Raises:
        CredentialRefused: it could break out of its header line, or cannot be what `kind` says.
    """
    value = secret.reveal()
    if kind == "basic":
        return b"authorization", Secret(b"Basic " + _basic(value))
    if len(value) > MAX_HEADER_VALUE or _VISIBLE.fullmatch(value) is None:
        raise CredentialRefused(
            "credential_characters",
            f"The secret must have 1 to {MAX_HEADER_VALUE} printable ASCII characters and no space at either end.",
        )
    if kind == "bearer":
        if b" " in value:
            raise CredentialRefused("credential_characters", "A bearer token has no spaces; leave out the word Bearer.")
        return b"authorization", Secret(b"Bearer " + value)
    if kind == "header":
        return _header_name(header_name), Secret(value)
    raise CredentialRefused("credential_kind", "The kind of credential must be bearer, basic or header.")


def _basic(value: bytes) -> bytes:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise CredentialRefused("credential_characters", "The user and the password must be text in UTF-8.") from None
    if _CONTROL.search(text) is not None:
        raise CredentialRefused("credential_characters", "The user and the password must not have control characters.")
    if ":" not in text or len(value) > MAX_HEADER_VALUE * 3 // 4:
        raise CredentialRefused("credential_basic", "The secret must be of the form user:password, and not too long.")
    return base64.b64encode(value)


def _header_name(name: str) -> bytes:
    lower = name.lower()
    if _HEADER_NAME.fullmatch(name) is None:
        raise CredentialRefused("credential_header", "The header name may have letters, digits and hyphens only.")
    if lower in _RESERVED_HEADERS or lower.startswith(("mcp-", "x-forwarded-", "proxy-")):
        raise CredentialRefused("credential_header", "The gateway writes this header itself; use another name.")
    return lower.encode("ascii")

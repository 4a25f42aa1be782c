"""The forms in which a credential could come back in an answer.

A server that echoes what it was sent rarely keeps the bytes: headers are logged URL-encoded, a Basic pair is base64,
debug pages are HTML. Every form is searched for as it stands, so this hides accidents; an upstream that means to leak
a secret it was given can always find one more encoding.
"""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

MIN_DERIVED_BYTES = 8
"""Shorter derived forms would hit ordinary text; the raw form is searched for at any length."""


def forms(secret: bytes) -> tuple[bytes, ...]:
    """Every form of `secret` to search for in UTF-8 text, longest first; none for the empty secret."""
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        # As raw bytes it cannot stand in UTF-8; a server that reads headers as Latin-1 would print this.
        text = secret.decode("latin-1")
    derived = {
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode(),
        html.escape(text).encode(),
        html.escape(text, quote=False).encode(),
        secret.hex().encode(),
        secret.hex().upper().encode(),
    }
    for quoted in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        derived |= {quoted.encode(), _lower_escapes(quoted).encode()}
    for alignment in range(3):
        core = _base64_core(secret, alignment)
        derived |= {core, core.translate(bytes.maketrans(b"+/", b"-_"))}
    kept = {form for form in derived if len(form) >= MIN_DERIVED_BYTES}
    return tuple(sorted((kept | {text.encode()}) - {b""}, key=lambda form: (-len(form), form)))


def _lower_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return head + "".join("%" + part[:2].lower() + part[2:] for part in rest)


def _base64_core(secret: bytes, alignment: int) -> bytes:
    """The base64 characters that depend on `secret` alone when `alignment` bytes precede it in a group of three."""
    encoded = base64.b64encode(b"\x00" * alignment + secret)
    first = -(-alignment * 8 // 6)
    whole = (alignment + len(secret)) * 8 // 6
    return encoded[first:whole]

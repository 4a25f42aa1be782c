"""Headers: one reading of the raw headers, and short lists of what may pass in either direction.

ASGI servers hand over two `Authorization` headers, underscores and control characters without a word (six of six did),
and whoever reads such headers next may pick the other one. So anything that can be read in two ways is refused here, on
the raw headers, before any framework has joined or dropped something.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Final

from .jsonrpc import HEADER_MISMATCH, INVALID_REQUEST

RawHeaders = list[tuple[bytes, bytes]]

_MESSAGES: Final[Mapping[str, str]] = {
    "headers_too_many": "The request has too many headers.",
    "headers_too_large": "The headers of the request are too large.",
    "header_name_invalid": "A header name is not a token.",
    "header_value_invalid": "A header value holds a forbidden character.",
    "header_duplicated": "A header that may occur once occurs twice.",
    "header_length_ambiguous": "The request has both a length and a transfer encoding.",
    "header_encoding_invalid": "A header value is not properly encoded.",
    "content_type_unsupported": "The content type has to be application/json.",
    "content_encoding_unsupported": "The body must not be encoded.",
}


class HeaderRefused(ValueError):
    """Headers that the gateway does not read.

    `code` is stable, `status` is for HTTP and `rpc_code` for the JSON-RPC body. The message repeats no header.
    """

    def __init__(self, code: str, status: int = 400, rpc_code: int = INVALID_REQUEST) -> None:
        super().__init__(_MESSAGES[code])
        self.code = code
        self.status = status
        self.rpc_code = rpc_code


# RFC 9110 section 5.6.2; ASGI names are lower-case.
_TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_SINGLETONS: Final = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"last-event-id",
        b"origin",
        b"proxy-authorization",
        b"traceparent",
        b"transfer-encoding",
        b"user-agent",
    }
)


def read(raw: Iterable[tuple[bytes, bytes]], *, count: int = 100, size: int = 65536) -> dict[bytes, bytes]:
    """Return the raw headers of an ASGI scope as a dict.

    Names with an underscore are dropped, since some servers read them as the same name with a hyphen. Headers that are
    lists and occur more than once (`accept`) are joined.

    Args:
        raw: names in lower case, and values.
        count: most headers.
        size: most bytes of all names and values.

    Raises:
        HeaderRefused: with status 400, or 431 for too many or too large (RFC 6585 section 5).

    Source: RFC 9110 sections 5.3 to 5.6, RFC 9112 section 6.3.
    """
    # White space around a value is no part of it (RFC 9110 section 5.5); not every server strips it.
    pairs = [(name, value.strip(b" \t")) for name, value in raw]
    if len(pairs) > count:
        raise HeaderRefused("headers_too_many", 431)
    headers = dict(pairs)
    names = b"".join([name for name, _ in pairs])
    values = b"".join([value for _, value in pairs])
    if len(names) + len(values) > size:
        raise HeaderRefused("headers_too_large", 431)
    if names.translate(None, _TOKEN) or b"" in headers:
        raise HeaderRefused("header_name_invalid")
    if b"\r" in values or b"\n" in values or b"\0" in values:
        raise HeaderRefused("header_value_invalid")
    if len(headers) != len(pairs):
        headers = _join(pairs)
    if b"_" in names:
        headers = {name: value for name, value in headers.items() if b"_" not in name}
    if b"transfer-encoding" in headers and b"content-length" in headers:
        raise HeaderRefused("header_length_ambiguous")
    return headers


def _join(pairs: RawHeaders) -> dict[bytes, bytes]:
    """Join the headers that may repeat; refuse the others."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name not in headers:
            headers[name] = value
        elif name.startswith(b"mcp-"):
            raise HeaderRefused("header_duplicated", rpc_code=HEADER_MISMATCH)
        elif name in _SINGLETONS:
            raise HeaderRefused("header_duplicated")
        else:
            headers[name] += b", " + value
    return headers


def require_json(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a body that is not plain, unencoded JSON in UTF-8.

    Raises:
        HeaderRefused: status 415.
    """
    if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
        raise HeaderRefused("content_encoding_unsupported", 415)
    content_type = headers.get(b"content-type", b"")
    if content_type == b"application/json":
        return
    media, _, parameters = content_type.partition(b";")
    # RFC 8259 defines no parameters; clients send the one charset that JSON may have.
    charset = parameters.strip().lower().replace(b'"', b"").replace(b" ", b"")
    if media.strip().lower() != b"application/json" or charset not in (b"", b"charset=utf-8", b"charset=utf8"):
        raise HeaderRefused("content_type_unsupported", 415)


_SENTINEL_START: Final = b"=?base64?"
_SENTINEL_END: Final = b"?="
_CONTROLS: Final = bytes(range(32)).replace(b"\t", b"") + b"\x7f"


def decode_value(value: bytes) -> str:
    """Return the text of an `Mcp-Name` or `Mcp-Param-*` header.

    Raises:
        HeaderRefused: a control character, or base64 that is not canonical or not UTF-8.

    Source: MCP 2026-07-28, Streamable HTTP, "Value Encoding". The markers are case-sensitive.
    """
    if value.startswith(_SENTINEL_START) and value.endswith(_SENTINEL_END) and len(value) > len(_SENTINEL_START) + 1:
        payload = value[len(_SENTINEL_START) : -len(_SENTINEL_END)]
        try:
            decoded = base64.b64decode(payload, validate=True)
            text = decoded.decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            raise HeaderRefused("header_encoding_invalid", rpc_code=HEADER_MISMATCH) from None
        # Python accepts trailing bits that are not zero; two spellings of one name are one too many.
        if base64.b64encode(decoded) != payload:
            raise HeaderRefused("header_encoding_invalid", rpc_code=HEADER_MISMATCH)
        return text
    if len(value.translate(None, _CONTROLS)) != len(value):
        raise HeaderRefused("header_value_invalid", rpc_code=HEADER_MISMATCH)
    return value.decode("latin-1")


PARAM_PREFIX: Final = b"mcp-param-"
_REQUEST_ALLOWED: Final = frozenset(
    {
        b"accept",
        b"last-event-id",
        b"mcp-method",
        b"mcp-name",
        b"mcp-protocol-version",
        b"traceparent",
        b"tracestate",
    }
)
RESPONSE_ALLOWED: Final = frozenset(
    {b"allow", b"cache-control", b"content-type", b"mcp-protocol-version", b"mcp-session-id", b"retry-after"}
)
"""Headers of an upstream's answer that may reach the client; `Set-Cookie`, `Location` and the rest never do."""


def outbound(headers: Mapping[bytes, bytes], *, has_body: bool = True) -> RawHeaders:
    """Return the headers for the upstream, made anew from those of the client that may pass.

    `Authorization`, cookies, `X-*`, `Forwarded`, `User-Agent` and `Origin` are not among them: the credential that the
    upstream gets is the connection's own. The caller adds that, `Host`, `Content-Length` and `Mcp-Session-Id`.

    Args:
        headers: from `read`.
        has_body: a POST; adds the content type.
    """
    out = [
        (name, value) for name, value in headers.items() if name in _REQUEST_ALLOWED or name.startswith(PARAM_PREFIX)
    ]
    if has_body:
        out.append((b"content-type", b"application/json"))
    out.append((b"accept-encoding", b"identity"))
    return out


def relayed(raw: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
    """Return the headers of an upstream's answer that may reach the client, each once, in lower case.

    A value with CR, LF or NUL is left out, and of a repeated header the first one stays.
    """
    out: dict[bytes, bytes] = {}
    for name, value in raw:
        lower = name.lower()
        if lower in RESPONSE_ALLOWED and lower not in out and not (b"\r" in value or b"\n" in value or b"\0" in value):
            out[lower] = value
    return list(out.items())

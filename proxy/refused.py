"""Requests that are answered as HTTP here and now, and the words for each reason."""

from __future__ import annotations

import orjson

from accounts.tokens import Identity
from proxy import errors
from proxy.identity import Locked, Unauthenticated
from proxy.limits import TooMany
from proxy.protocol import jsonrpc, mcp

SCOPE = "mcp"
"""The one scope that a token needs; what it may do is a matter of policy."""


About = tuple[tuple[str, str], ...]


class Refused(Exception):
    """The request is answered here and now, as HTTP. `about` is what the record says besides the code."""

    def __init__(
        self,
        status: int,
        code: str,
        body: bytes,
        headers: list[tuple[bytes, bytes]] | None = None,
        about: About = (),
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.body, self.headers, self.about = status, code, body, headers or [], about


def unauthenticated(error: Unauthenticated, public_url: str, slug: str) -> Refused:
    """Return the 401 that tells a client where to log in (RFC 6750 section 3, RFC 9728 section 5.1)."""
    metadata = f"{public_url}/.well-known/oauth-protected-resource/mcp/{slug}"
    challenge = f'Bearer resource_metadata="{metadata}", scope="{SCOPE}"'
    if error.code != "token_missing":
        challenge += f', error="invalid_token", error_description="{error.detail}"'
    body = orjson.dumps({"error": "invalid_token", "code": error.code, "error_description": error.detail})
    challenges = [(b"www-authenticate", challenge.encode("latin-1", "replace"))]
    return Refused(401, error.code, body, challenges, () if error.identity is None else about(error.identity))


def locked(error: Locked) -> Refused:
    """Return the 403 for a caller who is locked. No challenge: a new login would end here again."""
    stopped = error.stopped
    body = jsonrpc.error(None, jsonrpc.POLICY_DENIED, stopped.detail, {"reason": stopped.code})
    return Refused(403, stopped.code, body, about=about(error.identity, stopped.lock_id))


def too_many(error: TooMany, identity: Identity | None = None) -> Refused:
    """Return the 429 (503 when the gateway is full) for whoever reached a cap; it says when to come again."""
    headers = [(b"retry-after", b"%d" % error.retry_seconds)]
    text = f"Too many requests. Come again in {error.retry_seconds} s."
    body = jsonrpc.error(None, jsonrpc.LIMIT_EXCEEDED, text, {"reason": error.code})
    return Refused(error.status, error.code, body, headers, () if identity is None else about(identity))


def about(identity: Identity, lock_id: str = "") -> About:
    """Return what the record says of a caller who is known and refused."""
    who = (("issuer", identity.issuer), ("subject", identity.subject))
    return (*who, ("lock", lock_id)) if lock_id else who


def http_refusal(status: int, code: str) -> Refused:
    """Return a refusal of something that is not a message yet: only its code goes back."""
    return Refused(status, code, orjson.dumps({"error": code}))


def rpc_refusal(status: int, code: str, rpc_code: int, text: str) -> Refused:
    """Return a refusal in JSON-RPC's words, without an id; a 503 says when to come again."""
    headers = [(b"retry-after", b"5")] if status == 503 else []
    return Refused(status, code, jsonrpc.error(None, rpc_code, text, {"reason": code}), headers)


def no_access(*, groups_are_unknown: bool) -> Refused:
    """Return the one refusal of connections that do not exist, for the caller; it tells of the caller's token alone."""
    text = "No such connection, or no access to it."
    if not groups_are_unknown:
        return rpc_refusal(404, "no_access", 40401, text)
    hint = "Your access token does not tell which groups you are in, so what groups may do is not open to you."
    return rpc_refusal(404, "groups_unknown", 40401, f"{text} {hint}")


def too_large() -> Refused:
    """Return the refusal of a body over the limit."""
    return rpc_refusal(413, "body_too_large", jsonrpc.INVALID_REQUEST, "The body is too large.")


def too_slow() -> Refused:
    """Return the refusal of a body that did not come in time; the connection is closed, because more of it may come."""
    body = jsonrpc.error(None, jsonrpc.INVALID_REQUEST, "The body came too slowly.", {"reason": "body_too_slow"})
    return Refused(408, "body_too_slow", body, [(b"connection", b"close")])


def protocol_refusal(error: mcp.ProtocolRefused) -> Refused:
    """Return the refusal of a message that is not valid MCP."""
    return Refused(error.status, error.reason, error.body)


def refused_as(
    kind: str, message: mcp.Request | mcp.Notification | mcp.Response | None, reason: str = "", about: About = ()
) -> Refused:
    """Return the answer to a message for which nothing was sent, for a reason that is not about the message.

    Args:
        kind: what the client is told, in `errors.FAILURES`.
        message: the message, when it was read.
        reason: the code of the refusal, when it says more than `kind`.
        about: what the record says besides.
    """
    failure = errors.FAILURES[kind]
    reason = reason or kind
    if isinstance(message, mcp.Request) and message.method not in errors.HANDSHAKE:
        if message.method == "tools/call":
            body = mcp.denied_call(message, failure.text, meta={errors.META: {"reason": reason}})
            return Refused(200, reason, body, about=about)
        return Refused(
            200, reason, jsonrpc.error(message.id, failure.code, failure.text, {"reason": reason}), about=about
        )
    request_id = message.id if isinstance(message, mcp.Request) else None
    body = jsonrpc.error(request_id, failure.code, failure.text, {"reason": reason})
    return Refused(failure.status, reason, body, [(b"retry-after", b"5")] if failure.status == 503 else [], about)

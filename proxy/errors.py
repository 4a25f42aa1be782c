"""ONE table from what went wrong to the HTTP and JSON-RPC answer.

A call is never refused with a 4xx or 5xx, because common clients give up their whole session on one: it gets HTTP 200
and a result or an error of its own. The handshake (initialize, server/discover) gets the HTTP status, since an error
result to discovery reads as "this server speaks the older protocol".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from proxy.ports import Call
from proxy.protocol import jsonrpc, mcp

JSON: Final = b"application/json"
META: Final = "wardgate/decision"
"""Our key under `_meta` of an answer that the gateway made itself."""
HANDSHAKE: Final = frozenset({"initialize", "server/discover"})


@dataclass(frozen=True, slots=True)
class Failure:
    """What a client is told about one kind of failure: HTTP status of the handshake, JSON-RPC code, text."""

    status: int
    code: int
    text: str


FAILURES: Final[dict[str, Failure]] = {
    "record_unavailable": Failure(
        503,
        jsonrpc.RECORD_UNAVAILABLE,
        "NOT EXECUTED. The gateway cannot write its record, so it sent nothing. Try again in a few seconds.",
    ),
    "record_failed": Failure(
        503,
        jsonrpc.RECORD_UNAVAILABLE,
        "Sent, but the answer could not be recorded and is withheld. It may have run. Do not repeat it; check first.",
    ),
    "policy_unavailable": Failure(
        503,
        jsonrpc.RECORD_UNAVAILABLE,
        "NOT EXECUTED. The gateway cannot read its policy, so it sent nothing. Try again in a few seconds.",
    ),
    "connection_unusable": Failure(
        503,
        jsonrpc.UPSTREAM_UNAVAILABLE,
        "NOT EXECUTED. This connection is not configured correctly. Tell the operator of the gateway.",
    ),
    "not_sent": Failure(
        502,
        jsonrpc.UPSTREAM_UNAVAILABLE,
        "NOT EXECUTED. The upstream server cannot be reached; nothing was sent. Try again later.",
    ),
    "outcome_unknown": Failure(
        502,
        jsonrpc.UPSTREAM_UNAVAILABLE,
        "Sent, but the upstream's answer was lost. It may have run. Do not repeat it; check, then ask the user.",
    ),
    "timeout": Failure(
        504,
        jsonrpc.UPSTREAM_TIMEOUT,
        "Sent, but the upstream did not answer in time. It may have run. Do not repeat it; check, then ask the user.",
    ),
    "upstream_credential": Failure(
        502,
        jsonrpc.UPSTREAM_UNAVAILABLE,
        "The upstream server refused the gateway's credential. Tell the operator of the gateway.",
    ),
    "answer_invalid": Failure(
        502,
        jsonrpc.UPSTREAM_UNAVAILABLE,
        "Sent, but the upstream's answer is not valid MCP and is withheld. It may have run. Do not repeat it.",
    ),
    "mask_failed": Failure(
        502,
        jsonrpc.INTERNAL_ERROR,
        "Sent, but the answer could not be checked for secrets and is withheld. Do not repeat the call.",
    ),
    "input_refused": Failure(
        502,
        jsonrpc.POLICY_DENIED,
        "The upstream server asked for input that this connection does not allow. The call is not finished.",
    ),
    "token_expired": Failure(
        401, jsonrpc.INVALID_REQUEST, "The access token expired while the answer was under way. The call may have run."
    ),
    "token_revoked": Failure(
        401, jsonrpc.INVALID_REQUEST, "The access token was revoked while the answer was under way. It may have run."
    ),
    "locked": Failure(
        403,
        jsonrpc.POLICY_DENIED,
        "Access was locked while the answer was under way. The call may have run. Ask the operator of the gateway.",
    ),
    "access_ended": Failure(
        403,
        jsonrpc.POLICY_DENIED,
        "Access to this connection ended while the answer was under way. The call may have run. Ask the user.",
    ),
    "session_ended": Failure(
        403,
        jsonrpc.POLICY_DENIED,
        "The session was ended at the gateway while the answer was under way. The call may have run. Ask the user.",
    ),
    "cut_unsent": Failure(
        403,
        jsonrpc.POLICY_DENIED,
        "NOT EXECUTED. Access ended before the call was sent. Do not retry; ask the operator of the gateway.",
    ),
    "connection_locked": Failure(
        403,
        jsonrpc.POLICY_DENIED,
        "NOT EXECUTED. This connection is locked. Do not retry; ask the operator of the gateway.",
    ),
}


def failed(call: Call, kind: str) -> tuple[int, bytes]:
    """Return HTTP status and body for a call that failed in the way `kind` names."""
    failure = FAILURES[kind]
    decision = {"reason": kind, "event": call.call_id.hex()}
    message = call.message
    if not isinstance(message, mcp.Request):
        return failure.status, jsonrpc.error(None, failure.code, failure.text, decision)
    if call.method == "tools/call":
        return 200, mcp.denied_call(message, failure.text, meta={META: decision})
    status = failure.status if call.method in HANDSHAKE else 200
    return status, jsonrpc.error(message.id, failure.code, failure.text, decision)


def denied(call: Call, rule: str, text: str, *, is_hidden: bool) -> tuple[int, bytes]:
    """Return HTTP status and body for a call that policy refused.

    A denied notification or client answer is dropped with 202, as if it had been taken. What policy hides from the
    lists is unknown when it is called. A denied GET or DELETE of a legacy session gets 405, with which a client does
    without; after a 202 it would come again at once, and for ever.
    """
    message = call.message
    if message is None:
        return 405, b""
    if not isinstance(message, mcp.Request):
        return 202, b""
    if is_hidden and message.kind is not None:
        return 200, mcp.unknown_name(message)
    decision = {"rule": rule, "event": call.call_id.hex()}
    status = 403 if call.method in HANDSHAKE else 200
    return status, mcp.denied_call(message, text, meta={META: decision})

"""Notices to a generic webhook: JSON, signed as Standard Webhooks says. `docs/notifications.md` has the members."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from accounts import addresses, outbound
from accounts.vault import Secret
from sessions.sinks import webhook_signature

from . import SECONDS
from .message import Notice, NotSent, Sent

UPDATES: Final = False
_ANSWER_BYTES: Final = 64 * 1024
MAX_PAUSE_SECONDS: Final = 3_600
"""Longest pause that a service may ask for."""


def send(notice: Notice, target: str, secret: Secret, allowed_networks: Sequence[str], *, reference: str = "") -> Sent:
    """Post the notice, signed with every secret that there is; what is sent again has the same webhook-id.

    Raises:
        NotSent: the service did not take it.
    """
    body = json.dumps(written(notice), ensure_ascii=True, separators=(",", ":")).encode()
    identifier = notice.id or hashlib.sha256(body).hexdigest()[:32]
    timestamp = int(time.time())
    signatures = [
        webhook_signature(line, identifier, timestamp, body) for line in secret.reveal().splitlines() if line.strip()
    ]
    post(
        target,
        body,
        {
            "webhook-id": identifier,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        },
        allowed_networks,
    )
    return Sent()


def written(notice: Notice) -> dict[str, Any]:
    """Return the body: members are added, and none is ever taken away or given another meaning."""
    until = None if notice.expires_at is None else notice.expires_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": f"wardgate.approval.{notice.event}",
        "version": 1,
        "data": {
            "code": notice.code,
            "kind": notice.kind,
            "title": notice.title,
            "what": notice.what,
            "connection": notice.connection,
            "requester": notice.requester,
            "client": notice.client,
            "rule": notice.rule,
            "risk": notice.risk,
            "reason": notice.reason,
            "decided_by": notice.decided_by,
            "waits_for": notice.waits_for,
            "expires_at": until,
            "url": notice.url,
            "status_url": notice.status_url,
            "arguments": notice.arguments or None,
            "count": notice.count,
        },
    }


def post(url: str, body: bytes, headers: Mapping[str, str], allowed_networks: Sequence[str]) -> outbound.Answer:
    """Post JSON, and return the answer if it is a good one.

    Raises:
        NotSent: it was not taken; final where the answer says that it never will be.
    """
    try:
        answer = outbound.request(
            "POST",
            url,
            allowed_networks=allowed_networks,
            headers={"Content-Type": "application/json", "User-Agent": "wardgate", **headers},
            body=body,
            limit=_ANSWER_BYTES,
            seconds=SECONDS,
        )
    except outbound.OutboundFailed as error:
        raise NotSent(str(error)) from None
    if not 200 <= answer.status < 300:
        raise refused(answer)
    return answer


def refused(answer: outbound.Answer) -> NotSent:
    """Return what an answer that is not good means: 410 that the address is gone, other 4xx that it is never taken."""
    sentence = f"The service answered {answer.status}."
    if answer.status == 410:
        return NotSent(sentence, is_gone=True)
    is_final = 400 <= answer.status < 500 and answer.status not in {401, 403, 404, 408, 409, 425, 429}
    return NotSent(sentence, is_final=is_final, retry_after=asked_pause(answer))


def asked_pause(answer: outbound.Answer) -> float | None:
    """Return the seconds of Retry-After (RFC 9110, section 10.2.3), no more than an hour; None where there is none."""
    asked = answer.headers.get("retry-after", "")
    if asked.isascii() and asked.isdecimal() and len(asked) < 10:
        return float(min(int(asked), MAX_PAUSE_SECONDS))
    try:
        until = parsedate_to_datetime(asked[:100])
    except ValueError:
        return None
    left = until.replace(tzinfo=until.tzinfo or UTC).timestamp() - time.time()
    return min(max(left, 0.0), MAX_PAUSE_SECONDS)


def refusal(target: str, secret: str | None, allowed_networks: Sequence[str]) -> tuple[str, str] | None:
    """Return what of the settings of a webhook cannot be."""
    if secret == "":
        return "secret", "Give the secret with which messages are signed."
    return url_refusal(target, allowed_networks, "target")


def url_refusal(url: str, allowed_networks: Sequence[str], field: str) -> tuple[str, str] | None:
    """Return why the URL in `field` cannot be reached by us; None when it can, as far as can be told without a look."""
    try:
        upstream = addresses.parse_upstream_url(url)
    except addresses.UrlRefused as error:
        return field, error.message
    if upstream.scheme == "http" and not allowed_networks:
        return field, "Use https, or name the private network under allowed networks."
    return None

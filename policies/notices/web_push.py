"""Web push: a message to a browser that its person has allowed it in. It tells, and a click opens the page.

The push service between carries what it cannot read (`push_encryption`), and never gets the arguments of a call: they
are in no such message, because a message is shown where others look on. The endpoint is whatever a browser says that
its push service is, so it is reached like every address that somebody else has named: https, and public.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.utils import timezone

from accounts import addresses, outbound
from accounts.exceptions import DomainError
from accounts.vault import Secret
from policies.services.push_keys import push_key

from . import SECONDS
from .message import Event, Notice, NotSent, Sent
from .push_encryption import BrowserKeys, SubscriptionRefused, encrypted
from .webhook import asked_pause

UPDATES: Final = False
LONGEST_ENDPOINT: Final = 1_000
_ANSWER_BYTES: Final = 64 * 1024
_TELLS_FOR: Final = 24 * 3600
"""Seconds for which a push service keeps what it cannot deliver, unless the request ends before."""
_GONE: Final = frozenset({404, 410})
_FINAL: Final = frozenset({400, 401, 403, 413})
_TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


def send(notice: Notice, target: str, secret: Secret, allowed_networks: Sequence[str], *, reference: str = "") -> Sent:
    """Send the notice to the endpoint `target`; `secret` has the keys of its browser.

    Raises:
        NotSent: the push service did not take it; the subscription is gone for 404 and 410.
    """
    now = timezone.now()
    try:
        keys = _keys(secret.reveal().decode())
        authorization = push_key(now=now).authorization(target, subject=_contact(), now=now.timestamp())
    except SubscriptionRefused as error:
        raise NotSent(str(error), is_gone=True) from None
    except DomainError as error:
        raise NotSent(str(error)) from None
    try:
        answer = outbound.request(
            "POST",
            target,
            allowed_networks=(*allowed_networks, *settings.WARDGATE_PUSH_NETWORKS),
            headers={
                "Authorization": authorization,
                "Content-Encoding": "aes128gcm",
                "Content-Type": "application/octet-stream",
                "User-Agent": "wardgate",
                "TTL": str(_seconds(notice, now)),
                "Urgency": "high" if notice.risk == "high" or notice.event == Event.BREAK_GLASS else "normal",
                # A newer message about the same request replaces one that is still on its way (RFC 8030, section 5.4).
                **({"Topic": notice.code} if _TOPIC.fullmatch(notice.code) else {}),
            },
            body=encrypted(json.dumps(payload(notice)).encode(), keys),
            limit=_ANSWER_BYTES,
            seconds=SECONDS,
        )
    except outbound.OutboundFailed as error:
        raise NotSent(str(error)) from None
    if 200 <= answer.status < 300:
        return Sent()
    sentence = f"The push service answered {answer.status}."
    raise NotSent(
        sentence,
        is_final=answer.status in _FINAL,
        is_gone=answer.status in _GONE,
        retry_after=asked_pause(answer),
    )


def refusal(target: str, secret: str | None, allowed_networks: Sequence[str]) -> tuple[str, str] | None:
    """Return the field that no browser can have sent, and a sentence."""
    try:
        upstream = addresses.parse_upstream_url(target)
    except addresses.UrlRefused as error:
        return "target", error.message
    if upstream.scheme != "https" or len(target) > LONGEST_ENDPOINT:
        return "target", "The endpoint of a subscription is an https URL."
    if secret is None:
        return None
    try:
        _keys(secret)
    except SubscriptionRefused as error:
        return "secret", str(error)
    return None


def payload(notice: Notice) -> dict[str, Any]:
    """Return what the browser is sent: a title, two lines, and which page a click opens. Never the arguments."""
    lines = [f"Asked by {notice.requester}" if notice.requester else "", f"Risk: {notice.risk}" if notice.risk else ""]
    return {
        "title": notice.title[:200],
        "body": "\n".join(line[:200] for line in lines if line),
        "path": urlsplit(notice.link).path,
        "tag": notice.code or notice.event.value,
    }


def _keys(text: str) -> BrowserKeys:
    try:
        members = json.loads(text)
        return BrowserKeys.read(str(members["p256dh"]), str(members["auth"]))
    except SubscriptionRefused:
        raise
    except (ValueError, KeyError, TypeError):
        raise SubscriptionRefused("The keys of the subscription cannot be read.") from None


def _seconds(notice: Notice, now: datetime) -> int:
    if notice.expires_at is None:
        return _TELLS_FOR
    return max(0, min(_TELLS_FOR, int((notice.expires_at - now).total_seconds())))


def _contact() -> str:
    """Return whom a push service can turn to (RFC 8292, section 2.1)."""
    public = str(settings.WARDGATE_PUBLIC_URL)
    return public if public.startswith("https://") else "mailto:wardgate@localhost"

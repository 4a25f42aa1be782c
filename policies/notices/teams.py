"""Microsoft Teams: an Adaptive Card, sent to the webhook of a workflow. It tells, and decides nothing.

A card has one button, which opens the page of the request. What strangers wrote stands in `RichTextBlock`, of which
Teams reads no Markdown, so that there is no link and no mention in it. A message that was sent cannot be changed.

Sources: Adaptive Cards 1.5 schema; Microsoft, "Create incoming webhooks with Workflows" (a message has at most 28 KB).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from accounts.vault import Secret

from .message import Notice, Sent
from .webhook import post, url_refusal

UPDATES: Final = False
MAX_BYTES: Final = 27_000
_ARGUMENTS: Final = "Arguments (masked)"


def send(notice: Notice, target: str, secret: Secret, allowed_networks: Sequence[str], *, reference: str = "") -> Sent:
    """Send the card to the workflow whose URL is `secret`.

    Raises:
        NotSent: the workflow did not take it.
    """
    post(secret.reveal().decode(), body(notice), {}, allowed_networks)
    return Sent()


def refusal(target: str, secret: str | None, allowed_networks: Sequence[str]) -> tuple[str, str] | None:
    """Return the field that cannot be, and a sentence. The URL is a secret: whoever has it may post."""
    if target:
        return "target", "Leave this empty. The URL of the workflow is a secret."
    return None if secret is None else url_refusal(secret, allowed_networks, "secret")


def body(notice: Notice) -> bytes:
    """Return the body of the POST; arguments that would not fit are left to the inbox, with a sentence."""
    whole = _written(notice, notice.facts())
    if len(whole) <= MAX_BYTES:
        return whole
    short = [(label, "too long to be shown here" if label == _ARGUMENTS else text) for label, text in notice.facts()]
    return _written(notice, short)


def _written(notice: Notice, facts: Sequence[tuple[str, str]]) -> bytes:
    content: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.5",
        "msteams": {"width": "Full"},
        "fallbackText": "Open Wardgate to see what waits.",
        "body": [
            _block(_run(notice.title, size="Large", weight="Bolder")),
            *(_block(_run(f"{label}: ", weight="Bolder"), _run(text)) for label, text in facts),
        ],
    }
    if notice.link:
        content["actions"] = [{"type": "Action.OpenUrl", "title": "Open in Wardgate", "url": notice.link}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": content}
    return json.dumps({"type": "message", "attachments": [attachment]}, ensure_ascii=True).encode()


def _block(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **style: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text or " ", **style}

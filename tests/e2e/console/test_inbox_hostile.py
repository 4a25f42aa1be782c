"""Forty requests that would like to look like something else: each is marked, whole, and runs nothing."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.services import principal_ensure
from connections.services import connection_save
from policies import services
from policies.models import ApprovalRequest
from tests.support.hostile_displays import DISPLAYS, Display

from .looking import LOOKS

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]
ISSUER = "https://idp.test.example"
_SHOWN = """() => {
    const detail = document.querySelector(".detail article");
    const cut = [...detail.querySelectorAll("pre, h2, dd, .said, .notice")].filter((place) => {
        const style = getComputedStyle(place);
        const clips = style.overflowY !== "visible" && place.scrollHeight > place.clientHeight + 1;
        const ends = style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none";
        return clips || ends || place.scrollWidth > place.clientWidth + 1;
    });
    const raw = /[\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\u061c\\u00ad\\u034f\\u3164\\uffa0\\u2800]/u;
    return {
        text: detail.innerText,
        cut: cut.map((place) => place.tagName),
        raw: raw.test(detail.innerText),
        scripts: detail.querySelectorAll("script, img, svg, iframe, [onload], [onerror]").length,
        ran: window.bad === 1,
        wide: document.documentElement.scrollWidth > window.innerWidth,
    };
}"""


def held(display: Display) -> ApprovalRequest:
    now = timezone.now()
    orders = connection_save(slug="orders", name="Orders", upstream_url="https://o.example/mcp", now=now)
    call = services.HeldCall(
        issuer=ISSUER, subject="alice", client_id="", client_name=display.client, client_version="2", user_agent="t",
        address="192.0.2.7", connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call",
        name=display.tool, arguments=display.arguments, masked_count=0, arguments_sha256=bytes(32),
        binding=secrets.token_bytes(32), body=b"{}", rule_name="refunds wait", why=display.why,
    )  # fmt: skip
    request = services.request_open(held=call, now=now)
    ApprovalRequest.objects.filter(pk=request.pk).update(justification=display.justification, changed_from=None)
    return request


@pytest.mark.parametrize("size", [look[1] for look in LOOKS[1:]])
def test_all_of_them_are_marked_and_none_is_executed(open_page: Any, settings: Any, size: str) -> None:
    assert len(DISPLAYS) >= 40
    settings.WARDGATE_APPROVALS_PER_PRINCIPAL = settings.WARDGATE_APPROVALS_PER_CONNECTION = 100
    principal_ensure(issuer=ISSUER, subject="alice", kind="human", display_name="Alice", now=timezone.now())
    requests = [held(display) for display in DISPLAYS]
    problems: list[str] = []
    # With scripts, since without them nothing hostile could run either; and without the socket, so that nothing moves.
    with open_page("/inbox/?tab=all", size=size) as page:
        page.context.route("**/inbox/live/", lambda route: route.abort())
        for display, request in zip(DISPLAYS, requests, strict=True):
            page.goto(f"/inbox/{request.code}/", wait_until="domcontentloaded")
            shown = page.evaluate(_SHOWN)
            missing = [text for text in (*display.marks, *display.whole) if text not in shown["text"]]
            if missing:
                problems.append(f"{display.name}: {missing} is not shown")
            problems += [
                f"{display.name}: {what}"
                for what, found in shown.items()
                if what in {"cut", "raw", "scripts", "ran", "wide"} and found
            ]
        page.goto("/inbox/?tab=all")
        assert page.evaluate("document.querySelectorAll('#list script, #list img, #list svg').length") == 0
        assert page.evaluate("window.bad") is None
        refused = [text for text in page.problems if "WebSocket" not in text]
    assert problems == []
    # A refusal of the content security policy is an error of the console.
    assert refused == []

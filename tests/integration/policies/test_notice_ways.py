"""E-mail and webhook, to real servers: what arrives, what cannot be forged, and what no secret gets into."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from accounts.vault import Secret
from policies.notices import email, webhook
from policies.notices.message import LONGEST_LINE, Event, Notice, NotSent
from tests.support.notices import HOOK_SECRET, Hook, Mail

LOCAL = ("127.0.0.0/8",)
NOTICE = Notice(
    event=Event.ASKED, code="APR-7F3KQ2", kind="call", title="Approval needed: refund on orders (APR-7F3KQ2)",
    what="refund", connection="orders", requester="robot (owner: Ada)", client="Agent 1", rule="refunds wait",
    risk="high", waits_for="1 of Approvers", expires_at=datetime(2026, 11, 21, 12, tzinfo=UTC),
    url="https://gate.example/inbox/APR-7F3KQ2/", status_url="https://gate.example/approvals/APR-7F3KQ2/", id="d-1",
)  # fmt: skip
HOSTILE = {
    "a header": "x\r\nBcc: everybody@example.com\r\n\r\nbody",
    "a lone line feed": "x\nSubject: other",
    "a tag": "<script>alert(1)</script><a href='https://evil.example'>Approve</a>",
    "a link": "https://evil.example/approve?code=1",
    "right to left": "\u202etxt.exe\u202c",
    "zero width": "re\u200bfund\u2066",
    "an escape sequence": "\x1b]8;;https://evil.example\x07click\x1b\\",
    "ten kilobytes": "A" * 10_240,
    "a header of another charset": "=?utf-8?q?forged=0D=0ABcc:_x=40example.com?=",
    "a boundary": "--===============1234==\r\nContent-Type: text/html",
    "a dot on its own": "x\r\n.\r\nMAIL FROM:<evil@example.com>",
    "no character at all": "\ud800",
}


def hostile(text: str) -> Notice:
    return replace(
        NOTICE, title=f"Approval needed: {text}", what=text, requester=text, client=text, rule=text, reason=text,
        connection=text, decided_by=text, arguments=text,
    )  # fmt: skip


class Tags(HTMLParser):
    """The tags and targets of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [str(value) for name, value in attrs if name in {"href", "src"}]


class TestMail:
    def test_it_has_a_text_and_an_html_part_and_leads_to_the_inbox(self, mail: Mail) -> None:
        email.send(NOTICE, "grace@example.com", Secret(b""), ())
        [message] = mail.messages
        assert message["Subject"] == "[Wardgate] Approval needed: refund on orders (APR-7F3KQ2)"
        assert message["Auto-Submitted"] == "auto-generated"
        for kind in ("plain", "html"):
            body = message.get_body((kind,))
            assert body is not None
            assert "https://gate.example/inbox/APR-7F3KQ2/" in body.get_content()
            assert "refund" in body.get_content()

    def test_it_has_no_link_that_decides(self, mail: Mail) -> None:
        email.send(NOTICE, "grace@example.com", Secret(b""), ())
        html = mail.messages[0].get_body(("html",)).get_content()  # type: ignore[union-attr]
        assert Tags(html).links == ["https://gate.example/inbox/APR-7F3KQ2/"]
        assert not Tags(html).tags & {"form", "input", "button", "img", "script", "iframe"}

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    def test_a_hostile_name_forges_no_header_no_line_and_no_tag(self, mail: Mail, text: str) -> None:
        email.send(hostile(text), "grace@example.com", Secret(b""), ())
        email.send(hostile("harmless"), "grace@example.com", Secret(b""), ())
        message, like = mail.messages
        assert message.keys() == like.keys()
        assert mail.envelopes[0] == mail.envelopes[1]
        assert [part.get_content_type() for part in message.walk()] == [
            part.get_content_type() for part in like.walk()
        ]  # fmt: skip
        plain, html = message.get_body(("plain",)), message.get_body(("html",))
        assert plain is not None and html is not None
        assert len(plain.get_content().splitlines()) == len(like.get_body(("plain",)).get_content().splitlines())  # type: ignore[union-attr]
        assert Tags(html.get_content()).tags == Tags(like.get_body(("html",)).get_content()).tags  # type: ignore[union-attr]
        assert Tags(html.get_content()).links == ["https://gate.example/inbox/APR-7F3KQ2/"]
        assert "https://evil" not in plain.get_content()
        assert len(mail.raw[0]) < 20_000

    def test_of_several_addresses_nobody_sees_the_others(self, mail: Mail) -> None:
        email.send(NOTICE, "a@example.com, b@example.com", Secret(b""), ())
        [(_, taken_for)] = mail.envelopes
        assert taken_for == ["TO:<a@example.com>", "TO:<b@example.com>"]
        assert b"@example.com>" not in mail.raw[0]
        assert not {"a@example.com", "b@example.com"} & set(str(mail.messages[0]).split())

    @pytest.mark.parametrize(
        ("code", "is_final"),
        [(550, True), (553, True), (450, False), (451, False)],
        ids=["gone", "bad", "busy", "later"],
    )
    def test_a_refusal_says_whether_another_try_is_of_use(self, mail: Mail, code: int, is_final: bool) -> None:
        mail.answer_next(code)
        with pytest.raises(NotSent) as refused:
            email.send(NOTICE, "grace@example.com", Secret(b""), ())
        assert refused.value.is_final is is_final
        assert "grace" not in str(refused.value)

    def test_a_server_that_is_away_is_asked_again(self, settings: Any) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = "127.0.0.1", 9, False
        with pytest.raises(NotSent) as refused:
            email.send(NOTICE, "grace@example.com", Secret(b""), ())
        assert not refused.value.is_final

    def test_an_exchange_that_takes_too_long_is_cut_off(
        self, mail: Mail, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mail.stalls, settings.EMAIL_TIMEOUT = True, 15
        monkeypatch.setattr(email, "MAIL_SECONDS", 0.3)
        began = time.monotonic()
        with pytest.raises(NotSent) as refused:
            email.send(NOTICE, "grace@example.com", Secret(b""), ())
        assert time.monotonic() - began < 10
        assert not refused.value.is_final

    def test_without_a_server_it_says_what_to_set(self) -> None:
        with pytest.raises(NotSent, match="EMAIL_HOST"):
            email.send(NOTICE, "grace@example.com", Secret(b""), ())

    @pytest.mark.parametrize(
        "target",
        ["", "nobody", "a@example.com,", "a@example.com\r\nBcc: b@example.com", "Ada <a@example.com>", "a@exämple.com"],
    )
    def test_what_is_no_address_is_refused(self, target: str) -> None:
        assert email.refusal(target, "", ()) is not None

    def test_addresses_are_taken_and_secrets_are_not(self) -> None:
        assert email.refusal("a@example.com, b@example.com", "", ()) is None
        assert email.refusal("a@example.com", "s", ()) == ("secret", "E-mail needs no secret; leave it empty.")


class TestWebhook:
    def test_it_is_signed_and_has_the_members_of_the_document(self, hook: Hook) -> None:
        webhook.send(NOTICE, hook.url, Secret(HOOK_SECRET.encode()), LOCAL)
        [body] = hook.bodies
        assert hook.problems == []
        assert hook.ids == ["d-1"]
        assert body["type"] == "wardgate.approval.asked"
        assert body["data"]["expires_at"] == "2026-11-21T12:00:00Z"
        assert body["data"]["url"] == NOTICE.url

    def test_the_document_names_every_member_of_the_body(self) -> None:
        text = (Path(__file__).resolve().parents[3] / "docs" / "notifications.md").read_text()
        for member in webhook.written(NOTICE)["data"]:
            assert f"| `{member}` |" in text
        for event in Event:
            assert f"`{event}`" in text

    def test_while_the_secret_changes_either_one_is_good(self, hook: Hook) -> None:
        both = Secret(b"new-secret\n" + HOOK_SECRET.encode())
        webhook.send(NOTICE, hook.url, both, LOCAL)
        hook.secrets = ["new-secret"]
        webhook.send(NOTICE, hook.url, both, LOCAL)
        assert hook.problems == []
        assert len(hook.bodies) == 2

    def test_another_secret_is_not(self, hook: Hook) -> None:
        with pytest.raises(NotSent):
            webhook.send(NOTICE, hook.url, Secret(b"another"), LOCAL)
        assert hook.bodies == []

    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    def test_a_hostile_name_stays_one_line_in_its_member(self, hook: Hook, text: str) -> None:
        webhook.send(hostile(text), hook.url, Secret(HOOK_SECRET.encode()), LOCAL)
        data = hook.bodies[0]["data"]
        assert set(data) == set(webhook.written(NOTICE)["data"])
        for member in ("what", "requester", "client", "rule", "reason", "title", "decided_by"):
            assert len(data[member]) <= LONGEST_LINE
            assert data[member].isprintable()

    @pytest.mark.parametrize(
        ("status", "is_final", "is_gone"),
        [
            (400, True, False), (410, True, True), (413, True, False), (422, True, False), (401, False, False),
            (404, False, False), (408, False, False), (429, False, False), (500, False, False), (302, False, False),
        ],
    )  # fmt: skip
    def test_an_answer_says_whether_another_try_is_of_use(
        self, hook: Hook, status: int, is_final: bool, is_gone: bool
    ) -> None:
        hook.answer_next(status)
        with pytest.raises(NotSent) as refused:
            webhook.send(NOTICE, hook.url, Secret(HOOK_SECRET.encode()), LOCAL)
        assert (refused.value.is_final, refused.value.is_gone) == (is_final, is_gone)
        assert "capability-9f31" not in str(refused.value)

    @pytest.mark.parametrize(
        ("asked", "seconds"),
        [
            ("120", 120.0),
            ("999999", 3600.0),
            ("-1", None),
            ("soon", None),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
            ("Fri, 31 Dec 2999 23:59:59 GMT", 3600.0),
            ("Fri, 99 Dec 2999 23:59:59 GMT", None),
        ],
    )
    def test_the_pause_that_it_asks_for_is_bounded(self, hook: Hook, asked: str, seconds: float | None) -> None:
        hook.answer_next(503, retry_after=asked)
        with pytest.raises(NotSent) as refused:
            webhook.send(NOTICE, hook.url, Secret(HOOK_SECRET.encode()), LOCAL)
        assert refused.value.retry_after == seconds

    def test_a_private_address_is_reached_only_where_it_was_allowed(self, hook: Hook) -> None:
        with pytest.raises(NotSent):
            webhook.send(NOTICE, hook.url, Secret(HOOK_SECRET.encode()), ())
        with pytest.raises(NotSent):
            webhook.send(NOTICE, hook.url, Secret(HOOK_SECRET.encode()), ("10.0.0.0/8",))
        assert hook.asked == 0

    @pytest.mark.parametrize(
        "host",
        [
            "127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0.0.0.0",
            "169.254.169.254", "168.63.129.16", "10.0.0.1", "192.168.1.1", "100.64.0.1", "2130706433", "127.1",
        ],
    )  # fmt: skip
    def test_no_private_place_is_reached_whatever_it_is_called(self, hook: Hook, host: str) -> None:
        port = hook.url.partition("127.0.0.1:")[2].partition("/")[0]
        with pytest.raises(NotSent):
            webhook.send(NOTICE, f"https://{host}:{port}/", Secret(HOOK_SECRET.encode()), ())
        assert hook.asked == 0

    @pytest.mark.parametrize("target", ["", "hook", "ftp://a.example/", "https://u:p@a.example/", "http://a.example/"])
    def test_what_cannot_be_reached_is_refused(self, target: str) -> None:
        problem = webhook.refusal(target, "s", ())
        assert problem is not None
        assert problem[0] == "target"

    def test_a_secret_is_asked_for(self) -> None:
        assert webhook.refusal("https://a.example/", "", ()) is not None
        assert webhook.refusal("https://a.example/", None, ()) is None


def test_headers_are_ascii_whatever_is_in_them(mail: Mail) -> None:
    email.send(hostile("Größe 🦊"), "grace@example.com", Secret(b""), ())
    assert mail.raw[0].partition(b"\r\n\r\n")[0].isascii()
    assert "Größe 🦊" in mail.messages[0]["Subject"]

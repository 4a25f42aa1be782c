"""What is told is harmless before any way of sending sees it."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.notices.message import LONGEST_ARGUMENTS, LONGEST_LINE, Event, Notice, plain
from sessions.markup import UNSEEN

HOSTILE = {
    "a line break": "drop\r\nBcc: all@example.com",
    "a lone carriage return": "drop\rBcc: x",
    "right to left": "safe\u202egpj.exe",
    "zero width": "pay\u200bpal",
    "an escape sequence": "\x1b[31mred",
    "a tag": "<img src=x onerror=alert(1)>",
    "a line separator": "a\u2028b",
    "a null": "a\x00b",
    "tag characters": "a\U000e0041b",
    "ten kilobytes": "A" * 10_000,
    "only blanks": " \t\n ",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_every_text_of_a_notice_is_one_visible_line_of_bounded_length(text: str) -> None:
    texts = {member.name: text for member in fields(Notice) if member.type == "str" and not member.name.endswith("url")}
    notice = Notice(event=Event.ASKED, **texts)
    for name in texts:
        line = getattr(notice, name)
        assert len(line) <= (LONGEST_ARGUMENTS if name == "arguments" else LONGEST_LINE)
        assert line.isprintable()
        assert UNSEEN.search(line) is None


@given(st.text(), st.integers(min_value=2, max_value=50))
def test_a_line_is_printable_or_marked_and_never_longer_than_asked_for(text: str, most: int) -> None:
    line = plain(text, most)
    assert len(line) <= most
    assert "\n" not in line
    assert UNSEEN.search(line) is None
    assert "://" not in line


def test_an_unseen_character_is_shown_as_its_code_point() -> None:
    assert plain("safe\u202egpj") == "safe<U+202E>gpj"


def test_a_foreign_link_leads_nowhere_and_our_own_do() -> None:
    notice = Notice(
        event=Event.ASKED,
        code="A",
        kind="call",
        title="see https://evil.example/a",
        url="https://gate.example/inbox/A/",
    )
    assert notice.title == "see https[:]//evil.example/a"
    assert notice.link == "https://gate.example/inbox/A/"


def test_a_text_that_was_cut_says_so() -> None:
    assert plain("x" * 301) == "x" * 299 + "…"
    assert plain("x" * 300) == "x" * 300


def test_facts_are_in_order_and_leave_out_what_is_unknown() -> None:
    notice = Notice(
        event=Event.ASKED, code="A", kind="call", title="t", what="refund", requester="ci",
        expires_at=datetime(2026, 11, 21, 12, tzinfo=UTC),
    )  # fmt: skip
    assert notice.facts() == (("What", "refund"), ("Asked by", "ci"), ("Until", "2026-11-21 12:00 UTC"))

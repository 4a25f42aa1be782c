"""What Slack shows: everything or no button, text that is only text, and nothing longer than Slack takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.notices import slack_blocks as slack
from policies.notices.slack_blocks import APPROVE, DENY, OPEN, Card
from tests.support.hostile_texts import HOSTILE

URL = "https://gw.example/inbox/APR-7F3KQ2/"


def card(**values: Any) -> Card:
    given_: dict[str, Any] = {
        "title": "Approval needed", "url": URL, "facts": (("What", "delete_order"),), "arguments": '{\n  "id": 7\n}',
        "may_approve": True, "may_deny": True, "key": "k1", **values,
    }  # fmt: skip
    return Card(**given_)


def actions(content: Any) -> list[str]:
    [block] = [block for block in content["blocks"] if block["type"] == "actions"]
    return [button["action_id"] for button in block["elements"]]


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for member in value.values():
            yield from objects(member)
    elif isinstance(value, list):
        for member in value:
            yield from objects(member)


def shown(content: Any) -> str:
    """Return every text that stands in a message."""
    return "\n".join(found["text"] for found in objects(content["blocks"]) if isinstance(found.get("text"), str))


def test_a_message_shows_the_call_and_has_three_buttons():
    content = slack.message(card())
    assert actions(content) == [APPROVE, DENY, OPEN]
    assert "delete_order" in shown(content)
    assert '{\n  "id": 7\n}' in shown(content)
    buttons = {found.get("action_id"): found for found in objects(content)}
    assert (buttons[APPROVE]["value"], buttons[DENY]["value"]) == ("k1", "k1")
    assert "confirm" in buttons[APPROVE]
    assert "value" not in buttons[OPEN]
    assert buttons[OPEN]["url"] == URL


@pytest.mark.parametrize(
    "values",
    [
        {"arguments": None},
        {"arguments": "x" * (slack.MAX_ARGUMENTS + 1)},
        # Marks count: what is shown is what has to fit.
        {"arguments": "\u200b" * (slack.MAX_ARGUMENTS // 8 + 1)},
        {"facts": (("What", "x" * (slack.MAX_VALUE + 1)),)},
        {"facts": (("What", "x"),) * (slack.MAX_FACTS + 1)},
        {"may_approve": False},
    ],
)
def test_what_is_not_shown_completely_cannot_be_approved_there(values):
    content = slack.message(card(**values))
    assert actions(content) == [DENY, OPEN]
    assert not any(found.get("action_id") == APPROVE for found in objects(content))


def test_a_message_that_only_tells_has_only_the_button_that_opens_the_inbox():
    assert actions(slack.message(Card(title="Approved", url=URL))) == [OPEN]


def test_arguments_that_do_not_fit_are_left_out_with_a_sentence_and_never_cut():
    text = shown(slack.message(card(arguments="x" * 5_000)))
    assert "too long to be shown here (5,000 characters)" in text
    assert "xxx" not in text


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_strangers_wrote_is_text_and_nothing_else(kind):
    hostile = HOSTILE[kind]
    content = slack.message(
        card(
            title=hostile, facts=(("What", hostile), ("Asked by", hostile)), arguments=json.dumps(hostile), note=hostile
        )
    )
    for found in objects(content["blocks"]):
        # mrkdwn, links, users, channels, broadcasts, emoji: no element that Slack makes something of.
        assert found.get("type") in {
            None, "header", "plain_text", "rich_text", "rich_text_section", "rich_text_preformatted", "text", "context",
            "actions", "button", "section",
        }  # fmt: skip
        assert found.get("emoji", False) is False
        if found.get("type") == "button" and "url" in found:
            assert found["url"] == URL
    assert not re.search(r"<[!@#]|<https?:", content["text"])
    assert "<" not in content["text"].replace("&lt;", "")
    for found in objects(content["blocks"]):
        text = found.get("text")
        if isinstance(text, str):
            assert len(text) <= 3_000
            assert text.replace("\n", "").isprintable()
    assert len(content["blocks"][0]["text"]["text"]) <= 150
    assert len(json.dumps(content)) < 40_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u202eb", "a⟦U+202E⟧b"),
        ("a\nb\tc", "a⟦U+000A⟧b⟦U+0009⟧c"),
        ("⟦U+202E⟧", "⟦U+27E6⟧U+202E⟦U+27E7⟧"),
        ("\x00\x01", "⟦U+0000⟧⟦U+0001⟧"),
        ("plain & <text>", "plain & <text>"),
    ],
)
def test_what_cannot_be_seen_is_marked_so_that_nothing_else_looks_like_it(text, expected):
    assert slack.marked(text) == expected


@settings(max_examples=100)
@given(st.text(max_size=200), st.text(max_size=200))
def test_two_texts_that_differ_look_different(first, second):
    assert (slack.marked(first) == slack.marked(second)) == (first == second)


@given(st.text(max_size=400), st.integers(40, 300))
def test_a_text_that_is_cut_says_how_long_it_was(text, limit):
    short = slack.cut(text, limit)
    assert len(short) <= limit
    assert short == text or short.endswith(f"… ({len(text):,} characters)")


@given(st.text(max_size=200))
def test_what_is_escaped_holds_nothing_that_mrkdwn_reads(text):
    assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", slack.escaped(text))


@pytest.mark.parametrize(
    "dialog", [slack.deny_dialog("APR-7F3KQ2", key="k" * 36), slack.link_dialog(URL), slack.said("t" * 99, "s" * 9_999)]
)
def test_dialogs_are_within_the_limits_of_slack(dialog):
    assert len(dialog["title"]["text"]) <= 24
    assert len(dialog.get("private_metadata", "")) <= 3_000
    for found in objects(dialog):
        if found.get("type") == "plain_text":
            assert 0 < len(found["text"]) <= 3_000
        if found.get("type") == "plain_text_input":
            assert found["max_length"] <= 3_000

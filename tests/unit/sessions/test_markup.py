"""What strangers wrote, as a page shows it."""

from __future__ import annotations

import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.markup import json_markup, visible

TAG = re.compile(r'</?(?:span|mark)(?: class="[a-z]+")?(?: title="[^"<>]*")?>')


def plain(markup: str) -> str:
    """What a reader sees: without our tags, with entities resolved."""
    return html.unescape(TAG.sub("", markup))


@pytest.mark.parametrize(
    ("character", "shown"),
    [
        ("\u202e", "U+202E"),
        ("\u2066", "U+2066"),
        ("\u200b", "U+200B"),
        ("\ufeff", "U+FEFF"),
        ("\xa0", "U+00A0"),
        ("\u3164", "U+3164"),
        ("\ufe0f", "U+FE0F"),
        ("\U000e0041", "U+E0041"),
        ("\x1b", "U+001B"),
        ("\x7f", "U+007F"),
        ("\u2028", "U+2028"),
    ],
)
def test_a_character_that_nobody_would_see_is_marked(character, shown):
    markup = visible(f"pay{character}me")
    assert character not in markup
    assert f">{shown}</span>" in markup


@pytest.mark.parametrize("text", ["plain", "two\nlines\tand a tab", "Grüße, 你好, שלום, مرحبا", "😀"])
def test_what_can_be_seen_stays_as_it_is(text):
    assert visible(text) == text


def test_markup_in_a_value_is_shown_and_never_run():
    markup = json_markup('{"x":"<script>alert(1)</script>","<b>":"\' onload=x"}')
    assert "<script" not in markup
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in markup


def test_a_message_is_laid_out_with_a_member_a_line():
    assert plain(json_markup('{"a":[1,{"b":null}],"c":{},"d":[ ]}')) == (
        '{\n  "a": [\n    1,\n    {\n      "b": null\n    }\n  ],\n  "c": {},\n  "d": []\n}'
    )


def test_numbers_escapes_and_doubles_stay_as_they_were_sent():
    sent = r'{"n":1.50,"big":123456789012345678901234567890,"e":1E400,"s":"\u0041\/","n":2}'
    shown = plain(json_markup(sent))
    for part in ("1.50", "123456789012345678901234567890", "1E400", r'"\u0041\/"'):
        assert part in shown
    assert shown.count('"n"') == 2


def test_what_was_masked_stands_out():
    assert '<mark class="masked">[MASKED:email]</mark>' in json_markup('{"to":"[MASKED:email]!"}')


def test_keys_are_told_from_texts():
    assert json_markup('{"a":"b"}') == (
        '{\n  <span class="key">&quot;a&quot;</span>: <span class="text">&quot;b&quot;</span>\n}'
    )


def test_text_that_is_no_json_is_shown_whole():
    assert plain(json_markup('error "unfinished')) == 'error"unfinished'
    assert plain(json_markup("502 Bad Gateway")).replace(" ", "") == "502BadGateway"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_a_laid_out_message_still_says_the_same(value):
    # Characters that would be marked are written as escapes here, so that the text can be read back.
    assert json.loads(plain(json_markup(json.dumps(value)))) == value


@given(st.text())
def test_no_text_gets_a_tag_past_us(text):
    for markup in (visible(text), json_markup(text)):
        assert "<" not in TAG.sub("", markup)
        assert ">" not in TAG.sub("", markup)

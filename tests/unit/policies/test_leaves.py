from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine.leaves import JsonLeaves

from .json_texts import json_texts, masked_slowly, strings_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\:, \x00\n'), max_size=12)


@given(json_texts(TEXTS))
def test_every_string_is_found_in_order(message):
    assert [text.decode() for text in JsonLeaves(message).texts] == strings_of(message)


@given(json_texts(TEXTS))
def test_without_a_change_every_byte_comes_back(message):
    assert JsonLeaves(message).replaced({}) == message


@given(json_texts(TEXTS), st.integers(0, 20), TEXTS)
def test_a_change_of_one_leaf_leaves_every_other_byte(message, position, text):
    leaves = JsonLeaves(message)
    if position < len(leaves.texts):
        number = iter(range(len(leaves.texts)))
        expected = masked_slowly(message, lambda old: text if next(number) == position else old)
        if leaves.texts[position] != text.encode():
            assert leaves.replaced({position: text}) == expected


@given(json_texts(TEXTS), st.dictionaries(st.integers(0, 20), TEXTS, max_size=6))
def test_a_change_of_several_leaves_leaves_every_other_byte(message, changed):
    leaves = JsonLeaves(message)
    changed = {position: text for position, text in changed.items() if position < len(leaves.texts)}
    number = iter(range(len(leaves.texts)))
    expected = masked_slowly(message, lambda old: changed.get(next(number), old))
    if all(leaves.texts[position] != text.encode() for position, text in changed.items()):
        assert leaves.replaced(changed) == expected


@pytest.mark.parametrize(
    ("message", "position", "expected"),
    [
        (rb'{"a":"x\"b","c":"b"}', 3, rb'{"a":"x\"b","c":"new"}'),
        (rb'{"a":"x\",\"b","c":",","d":"\n"}', 3, rb'{"a":"x\",\"b","c":"new","d":"\n"}'),
        (rb'["\n",":","x",":",1]', 3, rb'["\n",":","x","new",1]'),
        (rb'["\\","b\"","b\"\\"]', 2, rb'["\\","b\"","new"]'),
        (rb'["\n","\/"]', 1, rb'["\n","new"]'),
        (rb'["\n",' + b'",",' * 30 + rb'"x",","]', 32, rb'["\n",' + b'",",' * 30 + rb'"x","new"]'),
    ],
)
def test_a_leaf_is_changed_where_it_stands_and_not_where_its_spelling_stands_too(message, position, expected):
    assert JsonLeaves(message).replaced({position: "new"}) == expected


@pytest.mark.parametrize(
    "message",
    [
        rb'{"a":"first","a":"second"}',
        rb'{"a":"fir\nst","a":"second"}',
        rb'{"a":"fir\nst","\u0061":"second"}',
        rb'{"a":"\u0022\u0022","a":"\u0022\u0022"}',
        b'{"a":{"b":"\\n","b":"x"},"t":"' + b'\\"' * 5_000 + b'"}',
    ],
)
def test_the_values_of_repeated_names_are_all_found(message):
    assert [text.decode() for text in JsonLeaves(message).texts] == strings_of(message)


def test_many_short_leaves_with_escapes_are_all_found():
    message = b"[" + b",".join(b'{"k":"a\\tb","\\u006b":"q\\"q"}' for _ in range(2_000)) + b"]"
    assert [text.decode() for text in JsonLeaves(message).texts] == strings_of(message)


def test_names_of_members_are_told_from_values():
    leaves = JsonLeaves(b'{"a" \n: "b", "c\\n":["d", ":"]}')
    assert [(t.decode(), leaves.is_key(i)) for i, t in enumerate(leaves.texts)] == [
        ("a", True),
        ("b", False),
        ("c\n", True),
        ("d", False),
        (":", False),
    ]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b'"',
        b'"a',
        b'"\\',
        b'"\\"',
        b"nul",
        b"NaN",
        b"{}{}",
        b"[1,]",
        b'{"a" "b"}',
        b'"\x00"',
        b'"a\nb"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\n\xff"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\x41"',
        b'"\\u12"',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000 + b"]" * 100_000,
        b'["\\n",' + b"[" * 100_000 + b"]" * 100_000 + b"]",
        '{"a":1}'.encode("utf-16"),
    ],
)
def test_what_is_not_one_json_text_in_utf_8_is_an_error(message):
    with pytest.raises((ValueError, msgspec.DecodeError, RecursionError)):
        JsonLeaves(message)

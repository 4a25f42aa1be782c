"""Parts of messages, cut out as they stand there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions import parts

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=15,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5), st.booleans())
def test_every_member_is_cut_out_as_it_was_written(tree: dict[str, Any], spaced: bool) -> None:
    text = json.dumps(tree, indent=1 if spaced else None, ensure_ascii=spaced)
    for name, value in tree.items():
        found = parts.member(text, name)
        assert found is not None
        assert json.loads(found) == value
    assert parts.member(text, "not there at all") is None


@given(st.text(max_size=300))
def test_any_text_is_taken_apart_as_far_as_it_goes(text: str) -> None:
    parts.member(text, "params", "arguments")
    parts.arguments(text)
    parts.blocks(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"params":{"arguments":{"n":1.0,"n":2e5}}}', '{"n":1.0,"n":2e5}'),
        ('{"params": {"cursor" : "x"} }', '{"cursor" : "x"}'),
        ('{"p\\u0061rams":{"arguments":[1]}}', "[1]"),
        ('{"method":"ping"}', None),
        ('{"params":', None),
        ("[]", None),
        ("", None),
    ],
)
def test_the_arguments_are_those_of_the_call(text: str, expected: str | None) -> None:
    assert parts.arguments(text) == expected


def test_a_result_comes_in_blocks() -> None:
    content = [
        {"type": "text", "text": "Hello\n[MASKED:email]"},
        {"type": "image", "mimeType": "image/svg+xml", "data": "PHN2Zz4="},
        {"type": "resource_link", "uri": "javascript:alert(1)"},
        7,
    ]
    answer = json.dumps({"result": {"content": content, "structuredContent": {"a": 1}}})
    kinds = [(block.kind.partition(":")[0], block.is_json) for block in parts.blocks(answer)]
    assert kinds == [("text", False), ("image", False), ("resource_link", True), ("structured content", True)]
    assert parts.blocks(answer)[0].text == "Hello\n[MASKED:email]"
    assert "8 characters of base64" in parts.blocks(answer)[1].kind


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ('{"error":{"code":-1}}', "error", '{"code":-1}'),
        ('{"method":"n","params":{"progress":1}}', "params", '{"progress":1}'),
        ('{"result":{"tools":[]}}', "result", '{"tools":[]}'),
        ('{"result":{"content":"broken"}}', "result", '{"content":"broken"}'),
    ],
)
def test_what_is_no_list_of_blocks_is_one_block(answer: str, kind: str, text: str) -> None:
    [block] = parts.blocks(answer)
    assert (block.kind, block.text) == (kind, text)


def test_a_message_that_is_too_long_is_not_taken_apart_and_says_what_is_left_out() -> None:
    long = '{"params":{"arguments":"' + "x" * parts.SHOWN_CHARACTERS + '"}}'
    assert parts.arguments(long) is None
    assert parts.blocks(long) == []
    shown = parts.shown(long)
    assert len(shown.text) + shown.left_out == len(long)

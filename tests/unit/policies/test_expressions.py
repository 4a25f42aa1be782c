from __future__ import annotations

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from policies.engine import expressions
from policies.engine.exceptions import PatternRefused
from policies.engine.expressions import compile_expression, next_place, places


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("", "empty"),
        ("a" * 1025, "1024"),
        ("(", "not a regular expression"),
        ("a)(b", "not a regular expression"),
        ("(?=a)b", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "back-references"),
        (r"(?P<x>a)(?P=x)", "back-references"),
        (r"\Aa", "ends of each line"),
        (r"a\z", "ends of each line"),
        (r"a\Z", "ends of each line"),
        (r"a\C", "single byte"),
        ("(?-m)^a", "ends of each line"),
        ("(?i-sm:^a)", "ends of each line"),
        ("a*", "empty text"),
        (r"\b", "empty text"),
        ("^", "empty text"),
        ("$", "empty text"),
        ("a|", "empty text"),
        ("(?:x|^)y*", "empty text"),
        ("(?:a{1000}){1000}", "not a regular expression"),
        ("[a-z]{900}[0-9]{900}[A-Z]{900}", "too large"),
        ("\ud800", "surrogate"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_what_to_change(pattern, hint):
    with pytest.raises(PatternRefused, match=hint) as refused:
        compile_expression(pattern, place="masking pattern p")
    assert refused.value.place == "masking pattern p"
    assert refused.value.__cause__ is None
    assert len(pattern) < 5 or pattern not in str(refused.value)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("(?i)secret", "SeCreT", "SeCreT"),
        ("key(?i:X)", "keyx", "keyx"),
        ("^a$", "b\na\nb", "a"),
        (r"\\A", r"\A", r"\A"),
        (r"\\(?-i:m)", r"\m", r"\m"),
        ("é.", "éü", "éü"),
        (r"\x{1F600}+", "😀😀", "😀😀"),
        (r"\pL+", "ñandú", "ñandú"),
    ],
)
def test_flags_lines_and_characters_work_inside_patterns(pattern, text, found):
    match = compile_expression(pattern, place="p").search(text.encode())
    assert match is not None
    assert match.group().decode() == found


EXPRESSIONS = [rb"a+", rb"ab?", rb"\bab\b", rb"^a", rb"b$", rb"a[^b]*b", rb"a|b"]


@given(st.sampled_from(EXPRESSIONS), st.text("ab \n", max_size=200))
def test_places_are_the_same_as_with_the_whole_text_in_view(expression, text):
    compiled = re2.compile(b"(?m)" + expression)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expressions, "WHOLE_SEARCHES", 2)
        assert list(places(compiled, text.encode())) == [m.span() for m in compiled.finditer(text.encode())]


@given(st.text("ab \n", max_size=200), st.integers(0, 200))
def test_short_matches_are_found_whole_in_a_narrow_view(text, position):
    # Runs of "a" are cut below the sure bytes, so that no match is longer than the view guarantees.
    encoded = text.encode().replace(b"aaaaaa", b"b")
    compiled = re2.compile(rb"(?m)\ba+b?")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(expressions, "VIEW_BYTES", 32)
        patch.setattr(expressions, "SURE_BYTES", 16)
        patch.setattr(expressions, "WHOLE_SEARCHES", 1)
        spans = [m.span() for m in compiled.finditer(encoded)]
        assert list(places(compiled, encoded)) == spans
        if position <= len(encoded):
            match = compiled.search(encoded, position)
            assert next_place(compiled, encoded, position) == (match and match.span())


def test_a_match_that_fills_the_view_is_taken_whole():
    text = b"a" * 100_000
    assert next_place(re2.compile(rb"a+"), text, 0) == (0, 100_000)


@pytest.mark.parametrize("memory", [1 << 16])
def test_logging_of_patterns_is_off(memory, capfd):
    with pytest.raises(re2.error):
        re2.compile(b"(sesame", expressions.options(memory))
    assert capfd.readouterr() == ("", "")

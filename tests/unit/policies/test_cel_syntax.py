from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine.cel_syntax import (
    MAX_CHARACTERS,
    Call,
    Index,
    Listing,
    Literal,
    Mapped,
    Name,
    Select,
    SyntaxRefused,
    calls,
    parse,
)


def test_a_comparison_is_a_call_of_its_sign():
    assert parse('args.a == "x"') == Call(None, "==", (Select(Name("args", 1), "a", 6), Literal("x", 11)), 8)


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("a || b && c", "a || (b && c)"),
        ("a && b == c", "a && (b == c)"),
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("!a && b", "(!a) && b"),
        ("-a + b", "(-a) + b"),
        ("a ? b : c ? d : e", "a ? b : (c ? d : e)"),
        ("a in b || c", "(a in b) || c"),
        ("a.b[0].c(d)", "((a.b)[0]).c(d)"),
    ],
)
def test_operators_bind_as_the_language_says(source, same):
    assert shape(parse(source)) == shape(parse(same))


def shape(node):
    """Return a tree without its places."""
    match node:
        case Literal(value=value):
            return value
        case Name(name=name):
            return name
        case Select(value=value, field=field):
            return (shape(value), ".", field)
        case Index(value=value, key=key):
            return (shape(value), "[]", shape(key))
        case Call(target=target, name=name, arguments=arguments):
            return (None if target is None else shape(target), name, *[shape(argument) for argument in arguments])
        case Listing(entries=entries):
            return [shape(entry) for entry in entries]
        case Mapped(entries=entries):
            return {str(shape(key)): shape(value) for key, value in entries}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("0x1F", 31),
        ("7u", 7),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ('"a\\"b"', 'a"b'),
        ("'a\\u00e9\\x41\\101\\n'", "aéAA\n"),
        ("r'\\d+'", "\\d+"),
        ('R"\\"', "\\"),
        ('"\\U0001F600"', "😀"),
    ],
)
def test_constants_have_the_value_that_they_say(source, value):
    assert parse(source).value == value
    assert type(parse(source).value) is type(value)


@pytest.mark.parametrize(
    ("source", "place", "hint"),
    [
        ("", 1, "empty"),
        ("  ", 1, "empty"),
        ("a ==", 5, "missing"),
        ("a == = b", 6, "'=' is not expected"),
        ("(a", 3, "')' is missing"),
        ("a)", 2, "')' is not expected"),
        ("[a, b", 6, "']' is missing"),
        ("{a: b", 6, "'}' is missing"),
        ("{a}", 3, "':' is missing"),
        ("a ? b", 6, "':' is missing"),
        ("a.1", 2, "not expected"),
        ("a..b", 3, "not expected"),
        ("a & b", 3, "'&' is not expected"),
        ("a = b", 3, "'=' is not expected"),
        ("'abc", 1, "not expected"),
        ('"a\nb"', 1, "not expected"),
        ("'\\q'", 1, "not an escape"),
        ("'\\ud800'", 1, "not an escape"),
        ("9223372036854775808", 1, "too large"),
        ("for", 1, "reserved"),
        ("a.b == while", 8, "reserved"),
        ("in", 1, "reserved"),
        ("a $ b", 3, "'$' is not expected"),
        ("(" * 40 + "a" + ")" * 40, 33, "nested too deeply"),
        ("!" * 40 + "a", 32, "nested too deeply"),
        ("x" * (MAX_CHARACTERS + 1), MAX_CHARACTERS, "at most"),
    ],
)
def test_what_is_no_condition_is_refused_where_it_goes_wrong(source, place, hint):
    with pytest.raises(SyntaxRefused) as refused:
        parse(source)
    assert refused.value.place == place
    assert hint in refused.value.hint


def test_comments_and_white_space_do_not_count():
    assert shape(parse("a // why\n  && b")) == shape(parse("a&&b"))


def test_every_call_of_a_tree_is_found():
    tree = parse("a.f(b.g(1))[h(2)] ? [k(3)] : {l(4): m(5)}.x")
    assert {node.name for node in calls(tree)} == {"?:", "f", "g", "h", "k", "l", "m"}


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(list("ab.()[]{}!&|=<>?:,'\"+-*/%1 \\n\n")), max_size=40).map("".join)
)
def test_every_text_is_read_or_refused_with_a_place_within_it(source):
    try:
        parse(source)
    except SyntaxRefused as refused:
        assert 1 <= refused.place <= len(source) + 1
        assert refused.hint

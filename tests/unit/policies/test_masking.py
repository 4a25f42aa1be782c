from __future__ import annotations

import json
import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine import masking
from policies.engine.exceptions import PatternRefused
from policies.engine.masking import Masked, Masker, MaskFailed, Pattern

from .json_texts import json_texts, masked_slowly, strings_of

KEY = Pattern("key", r"KEY-[0-9]{4}")
CARD = Pattern("card", r"\b[0-9](?:[ -]?[0-9]){12,18}\b", check="luhn")
SECRET = b"s3cr3t/to+ken=="


def mask(message: bytes | str, *patterns: Pattern, literals=(), keep=()) -> Masked:
    raw = message.encode() if isinstance(message, str) else message
    return Masker.compile(patterns, literals).mask(raw, frozenset(keep))


LEAVES = st.lists(
    st.sampled_from(["KEY-1234", "KEY-12", "KEY", "-0000", " ", "é", "😀", '"', "\\", "\n", "\x00", ":", ",", "a"]),
    max_size=5,
).map("".join)


@given(json_texts(LEAVES))
def test_every_leaf_and_key_is_masked_and_every_other_byte_stays(message):
    masked = mask(message, KEY)
    # Member names that become the same by masking are numbered: the reference does the same by hand.
    expected = masked_slowly(message, lambda text: re.sub("KEY-[0-9]{4}", "[MASKED:key]", text))
    assert re.sub(rb'#[0-9]+"(?=\s*:)', b'"', masked.value) == expected
    assert not any(re.search("KEY-[0-9]{4}", text) for text in strings_of(masked.value))
    hits = sum(len(re.findall("KEY-[0-9]{4}", text)) for text in strings_of(message))
    assert masked.hits == ({"key": hits} if hits else {})
    if not hits:
        assert masked.value is message


@given(json_texts(LEAVES))
def test_the_result_is_valid_json_and_masking_it_again_changes_nothing(message):
    once = mask(message, KEY).value
    orjson.loads(once)
    assert mask(once, KEY).value is once


@given(
    json_texts(LEAVES), st.sampled_from([rb"KEY[^\x{1}]*", r"(?s)K.*[0-9]", r"\s+", r"(?:KEY|a)\n?", "[^a]+", "^KEY"])
)
def test_no_pattern_sees_across_the_border_of_a_leaf(message, pattern):
    pattern = pattern if isinstance(pattern, str) else pattern.decode()
    masker = Masker.compile([Pattern("p", pattern, replacement="_")])
    masked = masker.mask(message).value
    alone = [masker.mask_text(text.encode()).value.decode() for text in strings_of(message)]
    assert [re.sub("#[0-9]+$", "", text) for text in strings_of(masked)] == [re.sub("#[0-9]+$", "", t) for t in alone]


@pytest.mark.parametrize(
    "message",
    [
        '{"a":"KEY-1234"}',
        '{"KEY-1234":1}',
        '{"a":{"b":[{"c":"x KEY-1234 y"}]}}',
        '"KEY-1234"',
        r'{"a":"\u004bEY-1234"}',
        r'{"a":"K\u0045\u0059\u002d1234","b":"\\"}',
        r'{"a":"\"KEY-1234\""}',
        r'{"a":"\\KEY-1234\\"}',
        r'{"a":"first","a":"KEY-1234","a":"last"}',
        r'{"a":"\n","a":"KEY-1234","a":"last"}',
        '{"a":"line\\nKEY-1234\\nline"}',
    ],
)
def test_a_secret_is_masked_wherever_and_however_it_is_written(message):
    masked = mask(message, KEY)
    assert masked.hits == {"key": 1}
    assert "1234" not in "".join(strings_of(masked.value))


def test_numbers_white_space_order_and_escapes_of_other_leaves_stay_to_the_byte():
    message = b'{ "b" : 1.50e+02,\n\t"a":"\\u0041\\/", "n":-0 , "k":"KEY-1234" }'
    assert mask(message, KEY).value == message.replace(b"KEY-1234", b"[MASKED:key]")


def test_without_a_pattern_a_message_is_still_checked():
    message = b'{"a":1}'
    assert mask(message).value is message
    with pytest.raises(MaskFailed):
        mask(b'{"a":1')


@pytest.mark.parametrize(
    ("replacement", "written"), [("", "[MASKED:key]"), ("***", "***"), ('"\\\n', '\\"\\\\\\n'), ("é", "é")]
)
def test_the_replacement_is_written_as_json(replacement, written):
    assert mask('["KEY-1234"]', Pattern("key", KEY.pattern, replacement=replacement)).value.decode() == f'["{written}"]'


def test_what_the_client_sent_itself_stays():
    masked = mask('{"id":"KEY-1234","token":"KEY-1234 ","\\u004bEY-1234":2}', KEY, keep={"KEY-1234"})
    assert masked.value == b'{"id":"KEY-1234","token":"[MASKED:key] ","\\u004bEY-1234":2}'
    assert masked.hits == {"key": 1}


def test_a_message_in_which_only_kept_values_hit_is_handed_back_as_it_is():
    message = b'{"id":"KEY-1234"}'
    masked = Masker.compile([KEY]).mask(message, frozenset({"KEY-1234"}))
    assert masked.value is message
    assert masked.hits == {}


def test_names_that_become_the_same_are_numbered():
    masked = mask('{"KEY-1111":1,"x":"KEY-2222","KEY-3333" :2}', KEY)
    assert json.loads(masked.value) == {"[MASKED:key]": 1, "x": "[MASKED:key]", "[MASKED:key]#2": 2}


def test_overlapping_hits_become_one_and_each_is_counted():
    first, second = Pattern("first", "abcd"), Pattern("second", "cdef")
    for patterns in ([first, second], [second, first]):
        masked = mask('["xabcdefx","abcd cdef"]', *patterns)
        assert masked.value == b'["x[MASKED:first]x","[MASKED:first] [MASKED:second]"]'
        assert masked.hits == {"first": 2, "second": 2}


def test_of_hits_that_start_together_the_longest_gives_its_name():
    assert mask('["abcd"]', Pattern("short", "ab"), Pattern("long", "abcd")).value == b'["[MASKED:long]"]'


def test_lines_of_a_text_begin_and_end_where_patterns_say():
    assert mask(r'["a\nid: 7\nb","id: 8","x id: 9"]', Pattern("id", "^id: [0-9]$")).hits == {"id": 2}


def test_a_check_has_to_agree_with_the_expression():
    masked = mask('["4111 1111 1111 1111","4111 1111 1111 1112"]', CARD)
    assert masked.value == b'["[MASKED:card]","4111 1111 1111 1112"]'


def test_many_hits_in_one_leaf_are_all_masked():
    message = orjson.dumps({"t": "KEY-1234 " * 5_000})
    masked = mask(message, KEY)
    assert masked.hits == {"key": 5_000}
    assert b"1234" not in masked.value


@pytest.mark.parametrize("pattern", ["a", "(?s)a.?"])
def test_a_message_with_too_many_hits_is_withheld(pattern, monkeypatch):
    monkeypatch.setattr(masking, "MAX_SPANS", 99)
    for message in (b'["' + b"a " * 100 + b'"]', b"[" + b'"a",' * 99 + b'"a"]'):
        with pytest.raises(MaskFailed) as failed:
            mask(message, Pattern("p", pattern))
        assert failed.value.code == "too_many_hits"


@pytest.mark.parametrize(
    "echo",
    [
        b'["s3cr3t/to+ken=="]',
        b'{"s3cr3t/to+ken==":1}',
        b'["s3cr3t\\/to+ken\\u003d="]',
        b'["https://x/?k=s3cr3t%2Fto%2Bken%3D%3D"]',
        b'["Basic dTpzM2NyM3QvdG8ra2VuPT0="]',
        b'["Basic dXM6czNjcjN0L3RvK2tlbj09"]',
    ],
)
def test_a_credential_of_the_connection_never_appears_in_an_answer(echo):
    masked = mask(echo, literals=[("upstream key", SECRET)])
    assert b"[MASKED:credential]" in masked.value
    assert masked.hits["upstream key"] >= 1
    assert b"s3cr3t" not in masked.value
    assert b"czNjcjN0" not in masked.value


def test_neither_patterns_nor_credentials_are_in_a_repr():
    masker = Masker.compile([Pattern("p", "sesame")], [("key", SECRET)])
    shown = repr(masker) + repr(masker._searches)
    assert "sesame" not in shown
    assert "s3cr3t" not in shown
    assert masker.patterns_count == 1


def test_the_same_patterns_and_credentials_share_one_masker():
    first = Masker.compile([KEY], [("k", SECRET)])
    assert Masker.compile([KEY], [("k", SECRET)]) is first
    assert Masker.compile([KEY], [("k", SECRET + b"x")]) is not first
    assert Masker.compile([Pattern("key", KEY.pattern, replacement="x")], [("k", SECRET)]) is not first


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b'["\xff"]',
        b'["\\ud800"]',
        b'["a\x00"]',
        b"NaN",
        b'{"KEY-1234":"KEY-1234"',
        b"[" * 9_999,
        b"\xef\xbb\xbf1",
    ],
)
def test_what_cannot_be_read_is_withheld_and_not_quoted(message):
    with pytest.raises(MaskFailed) as failed:
        mask(message, KEY)
    assert failed.value.code == "mask_failed"
    assert str(failed.value) == "mask_failed"
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


@pytest.mark.parametrize("method", ["mask", "mask_text"])
def test_an_engine_that_breaks_withholds_the_message(method):
    def broken(_text):
        raise RuntimeError("KEY-1234")

    masker = Masker(Masker.compile([KEY])._searches, broken, 1)
    with pytest.raises(MaskFailed, match=r"^mask_failed$"):
        getattr(masker, method)(b'["KEY-1234"]')


@pytest.mark.parametrize("answer", [None, [], [0]])
def test_a_set_that_did_not_look_to_the_end_is_not_believed(answer):
    literals = [("k", SECRET)]
    searches = Masker.compile([KEY, CARD], literals)._searches
    masker = Masker(searches, lambda _text: answer, 2)
    masked = masker.mask(b'["KEY-1234","4111111111111111","s3cr3t/to+ken=="]')
    assert masked.hits == {"key": 1, "card": 1, "k": 1}
    clean = b'["clean"]'
    assert masker.mask(clean).value is clean


def test_two_hundred_patterns_over_a_megabyte_miss_nothing():
    patterns = [Pattern(f"p{i}", rf"(?i)\bsecret{i}_[a-z0-9_]{{3,20}}\b") for i in range(masking.MAX_PATTERNS)]
    filler = "the quick brown fox SECRET jumps over 1234 lazy dogs, secretly; " * 16_000
    planted = " ".join(f"Secret{i}_xyz" for i in range(masking.MAX_PATTERNS))
    masked = mask(orjson.dumps([filler, planted, filler]), *patterns)
    assert masked.hits == {f"p{i}": 1 for i in range(masking.MAX_PATTERNS)}


def test_more_patterns_than_the_limit_are_refused():
    with pytest.raises(PatternRefused, match="200"):
        Masker.compile([Pattern(f"p{i}", "a") for i in range(masking.MAX_PATTERNS + 1)])


@pytest.mark.parametrize(
    "pattern",
    [
        Pattern("p", "("),
        Pattern("p", "a", check="other"),
        Pattern("p", "a", replacement="x" * 65),
        Pattern("p", "a", replacement="\ud800"),
        Pattern("p", "a*"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_by_its_name(pattern):
    with pytest.raises(PatternRefused) as refused:
        Masker.compile([pattern])
    assert refused.value.place == 'masking pattern "p"'


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (b"a KEY-1234 b", b"a [MASKED:key] b"),
        (b"clean", b"clean"),
        (b"", b""),
        (b"\xffKEY-1234", "\ufffd[MASKED:key]".encode()),
        (b"\xff", "\ufffd".encode()),
        ("é KEY-1234".encode(), "é [MASKED:key]".encode()),
        (b"<p>KEY-1234</p>\n\x00\nKEY-1234", b"<p>[MASKED:key]</p>\n\x00\n[MASKED:key]"),
    ],
)
def test_a_body_that_is_not_json_is_masked_as_one_text(text, masked):
    assert Masker.compile([KEY]).mask_text(text).value == masked


def test_a_clean_text_is_handed_back_as_it_is():
    text = b"clean"
    assert Masker.compile([KEY]).mask_text(text).value is text


@pytest.mark.parametrize(
    "pattern", [r"(a+)+$", r"(a|aa)+$", r"(a|a?)+z", r"([a-zA-Z]+)*z", r"(.*a){20}z", r"(?:[^b]*b)?a", r"a(?:[^z]*z)?"]
)
def test_evil_patterns_stay_quick(pattern):
    # Backtracking engines would need longer than anybody waits; the searches here are linear, and so is this test.
    message = orjson.dumps(["a" * 40_000, "a" * 40_000 + "!"])
    try:
        mask(message, Pattern("evil", pattern))
    except MaskFailed as failed:
        assert failed.code == "too_many_hits"

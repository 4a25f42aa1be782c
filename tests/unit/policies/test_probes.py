from __future__ import annotations

import pytest

from policies.engine.masking import Masker, Pattern
from policies.engine.packs import DEFAULT_PATTERNS
from policies.engine.probes import worst_texts


@pytest.mark.parametrize(
    "pattern", ["a[ab]{100}z", r"\d+\s[x-z]", "é*😀", "(?i)key", "^$", "", *(p.pattern for p in DEFAULT_PATTERNS)]
)
def test_the_texts_are_utf_8_of_about_the_size_that_was_asked_for(pattern):
    for text in worst_texts(pattern, size=4_096):
        assert text.decode()
        assert 1_000 <= len(text) <= 4_096


def test_the_texts_are_the_same_every_time():
    assert list(worst_texts("a[ab]{9}", size=100)) == list(worst_texts("a[ab]{9}", size=100))


def test_what_makes_a_bounded_repetition_expensive_is_among_the_texts():
    # Every position may begin a match and none completes one.
    assert any(set(text) == set(b"ab") and text.count(b"ab") > 500 for text in worst_texts("a[ab]{100}z", size=4_096))


def test_what_makes_an_endless_tail_expensive_is_among_the_texts():
    assert b"a" * 4_096 in worst_texts("a(?:[^z]*z)?", size=4_096)


def test_classes_and_flags_are_spelt_by_an_example():
    texts = list(worst_texts(r"(?i)\d\s", size=10))
    assert texts[:2] == [b"7" * 10, b" " * 10]


@pytest.mark.parametrize("pattern", DEFAULT_PATTERNS, ids=lambda pattern: pattern.name)
def test_the_starter_patterns_get_through_all_of_their_texts(pattern):
    masker = Masker.compile([Pattern("p", pattern.pattern, pattern.check)])
    for text in worst_texts(pattern.pattern, size=8_192):
        masker.mask_text(text)

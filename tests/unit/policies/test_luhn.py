from __future__ import annotations

import pytest
import re2

from policies.engine import luhn
from policies.engine.luhn import card_spans, is_card_number

CARD = re2.compile(rb"\b[0-9](?:[ -]?[0-9]){12,18}\b")


@pytest.mark.parametrize(
    "digits",
    [
        b"4111111111111111",
        b"5500005555555559",
        b"378282246310005",
        b"6011000990139424",
        b"4222222222222",
        b"6304000000000000000",
    ],
)
def test_numbers_with_a_right_checksum_are_cards(digits):
    assert is_card_number(digits)
    for position in range(len(digits)):
        wrong = bytes([(digits[position] - 0x30 + 1) % 10 + 0x30])
        assert not is_card_number(digits[:position] + wrong + digits[position + 1 :])


@pytest.mark.parametrize("digits", [b"", b"0", b"0" * 12, b"0" * 20])
def test_numbers_of_other_lengths_are_no_cards(digits):
    assert not is_card_number(digits)


def found(text: bytes) -> list[bytes]:
    return [text[start:end] for start, end in card_spans(CARD, text)]


@pytest.mark.parametrize(
    ("text", "cards"),
    [
        (b"4111 1111 1111 1111", [b"4111 1111 1111 1111"]),
        (b"4111-1111-1111-1111, 5500005555555559", [b"4111-1111-1111-1111", b"5500005555555559"]),
        (b"4111 1111 1111 1112", []),
        (b"2 4111 1111 1111 1111", [b"4111 1111 1111 1111"]),
        (b"4111 1111 1111 1111 27", [b"4111 1111 1111 1111"]),
        (b"2026 01 4111 1111 1111 1111 9", [b"4111 1111 1111 1111"]),
        (b"no digits", []),
        (b"", []),
    ],
)
def test_a_card_is_found_among_its_neighbours_and_nothing_else_is(text, cards):
    assert found(text) == cards


def test_a_card_far_into_a_long_text_is_found():
    assert found(b"x" * 100_000 + b" 4111111111111111 " + b"y" * 100_000) == [b"4111111111111111"]


def test_what_is_too_much_to_check_counts_as_a_card(monkeypatch):
    text = b"1 2 3 4 5 6 7 8 9 1 2 3 4 " * 50
    few = len(found(text))
    monkeypatch.setattr(luhn, "MAX_RETRIES", 10)
    assert len(found(text)) > few

"""Digests of argument values: found again by those who know the value and hold the key, and by nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.search_values import MOST_VALUES, digests_of, wanted

KEY, OTHER = b"k" * 32, b"o" * 32

scalars = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=50)
)


def is_found(arguments: Any, name: str, text: str, key: bytes = KEY) -> bool:
    return bool(set(digests_of(arguments, key)) & set(wanted(name, text, [KEY])))


@pytest.mark.parametrize(
    ("arguments", "name", "text"),
    [
        ({"order_id": 1042}, "", "1042"),
        ({"order_id": 1042}, "order_id", "1042"),
        ({"order_id": "1042"}, "order_id", "1042"),
        ({"order_id": 1042.0}, "", "1042"),
        ({"price": 1.5}, "price", "1.50"),
        ({"a": {"b": [{"sku": "x-1"}]}}, "a.b.sku", "x-1"),
        ({"ids": [1, 2, 3]}, "ids", "2"),
        ({"ok": True}, "ok", "true"),
        (["bare"], "", "bare"),
        ({"": "empty name"}, "", "empty name"),
        ({"t": 'say "x"'}, "t", 'say "x"'),
    ],
)
def test_a_value_is_found_under_its_name_and_by_itself(arguments: Any, name: str, text: str) -> None:
    assert is_found(arguments, name, text)


@pytest.mark.parametrize(
    ("arguments", "name", "text"),
    [
        ({"order_id": 1042}, "", "104"),
        ({"order_id": 1042}, "other_id", "1042"),
        ({"ok": True}, "", "1"),
        ({"mail": "[MASKED:email]"}, "", "[MASKED:email]"),
        ({"text": "x" * 2000}, "", "x" * 2000),
        (None, "", "null"),
        ({"a": None}, "a", "null"),
    ],
)
def test_other_values_masked_ones_and_long_texts_are_not_found(arguments: Any, name: str, text: str) -> None:
    assert not is_found(arguments, name, text)


def test_without_the_key_a_value_cannot_be_tried() -> None:
    assert not is_found({"order_id": 1042}, "order_id", "1042", OTHER)


def test_a_search_under_all_keys_finds_what_was_written_under_an_older_one() -> None:
    assert set(digests_of({"a": 1}, OTHER)) & set(wanted("a", "1", [KEY, OTHER]))


@given(st.dictionaries(st.text(min_size=1, max_size=10).filter(lambda name: "." not in name), scalars, max_size=8))
def test_every_scalar_is_found_and_every_digest_fits_its_column(arguments: dict[str, Any]) -> None:
    numbers = digests_of(arguments, KEY)
    assert all(-(2**63) <= number < 2**63 for number in numbers)
    for name, value in arguments.items():
        if isinstance(value, str) and "[MASKED:" not in value:
            assert set(numbers) & set(wanted(name, value, [KEY]))


def test_the_number_of_values_and_their_depth_are_bounded() -> None:
    deep: Any = "bottom"
    for _ in range(500):
        deep = {"a": [deep]}
    assert digests_of(deep, KEY) == []
    assert len(digests_of({str(number): number for number in range(10_000)}, KEY)) <= 2 * MOST_VALUES

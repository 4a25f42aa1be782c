from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.places import line_of

TEXT = """\
grants:
- connection: orders
  note: for the night shift
guardrails:
- name: no deletes
  effect: deny
- effect: hold
  name: refunds, wait
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("line 3, column 4", 3),
        ("guardrails, no deletes", 5),
        ("guardrails, refunds, wait", 7),
        ("guardrails, entry 2", 7),
        ("guardrails, entry 9", 5),
        ("guardrails", 5),
        ("grants, for the night shift", 2),
        ("grants, a grant", 2),
        ("tests, entry 1", None),
        ("document", None),
    ],
)
def test_a_place_is_found_in_the_text(place, line):
    assert line_of(TEXT, place) == line


@given(st.text(max_size=60), st.text(max_size=30))
def test_any_text_has_a_line_or_none(text, name):
    assert line_of(text, f"guardrails, {name}") in {None, *range(1, text.count("\n") + 99)}

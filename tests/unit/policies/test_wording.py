from __future__ import annotations

import pytest

from policies.documents import Change
from policies.wording import shown, title_of


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ([], ""),
        ({}, ""),
        (False, "no"),
        (True, "yes"),
        ("deny", "deny"),
        (["get_*", "put_*"], "get_*, put_*"),
        ({"a": 1}, '{"a": 1}'),
        ({"text": "x" * 100}, '{\n  "text": "' + "x" * 100 + '"\n}'),
    ],
)
def test_a_value_is_shown_as_people_read_it(value, text):
    assert shown(value) == text


@pytest.mark.parametrize(
    ("entry", "title"),
    [
        ({"connection": "orders", "group": {"provider": "Login", "name": "ops"}}, "group ops may use orders"),
        ({"connection": "orders", "principal": {"issuer": "i", "subject": "ada"}}, "ada may use orders"),
        (
            {"labels": ["production", "email"], "condition": "true"},
            "whoever meets the condition may use connections labelled production, email",
        ),
    ],
)
def test_a_grant_is_called_by_whom_it_lets_in_where(entry, title):
    assert title_of(Change("grants", "key", None, entry)) == title


def test_everything_else_is_called_by_its_name():
    assert title_of(Change("guardrails", "x", {"name": "x"}, None)) == "x"

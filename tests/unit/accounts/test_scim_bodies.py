"""Bodies: strict JSON within limits, or a refusal that repeats nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.scim import bodies
from accounts.scim.refusals import ScimRefused


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"", 400, "invalidSyntax"),
        (b"[]", 400, "invalidSyntax"),
        (b'"x"', 400, "invalidSyntax"),
        (b"{", 400, "invalidSyntax"),
        (b'{"a": 1, "a": 2}', 400, "invalidSyntax"),
        (b'{"a": {"b": 1, "b": 2}}', 400, "invalidSyntax"),
        (b'{"a": NaN}', 400, "invalidSyntax"),
        (b'{"a": 1e999}', 400, "invalidSyntax"),
        (b'\xef\xbb\xbf{"a": 1}', 400, "invalidSyntax"),
        ('{"a": "ä"}'.encode("utf-16"), 400, "invalidSyntax"),
        (b'{"a": "\xff"}', 400, "invalidSyntax"),
        (b'{"a": ' + b"9" * 5000 + b"}", 400, "invalidSyntax"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, "invalidSyntax"),
        (b'{"a":' + b"[" * 20 + b"]" * 20 + b"}", 400, "invalidSyntax"),
        (b'{"a": "\\u0000"}', 400, "invalidValue"),
        (b'{"\\u0000": "a"}', 400, "invalidValue"),
        (b'{"a": ["\\ud800"]}', 400, "invalidValue"),
        (b'{"a": "' + b"x" * (bodies.MAX_STRING + 1) + b'"}', 400, "invalidValue"),
        (b'{"a": "' + b"x" * bodies.MAX_BYTES + b'"}', 413, ""),
    ],
)
def test_a_body_that_could_be_read_in_two_ways_or_is_too_large_is_refused(raw, status, code):
    with pytest.raises(ScimRefused) as refused:
        bodies.loads(raw)
    assert (refused.value.status, refused.value.code) == (status, code)
    assert "x" * 20 not in str(refused.value)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(raw):
    try:
        assert isinstance(bodies.loads(raw), dict)
    except ScimRefused as refused:
        assert refused.status == 400


def test_names_that_differ_only_in_case_are_refused():
    assert bodies.folded({"userName": 1, "Active": 2}) == {"username": 1, "active": 2}
    with pytest.raises(ScimRefused):
        bodies.folded({"active": True, "Active": False})

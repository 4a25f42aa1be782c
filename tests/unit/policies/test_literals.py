from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine.literals import forms

SECRET = 'Bearer s3cr3t/+&"é\\~token'


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        "Bearer%20s3cr3t%2f%2b%26%22%c3%a9%5c~token",
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        html.escape(SECRET),
        html.escape(SECRET, quote=False),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        *(
            base64.b64encode(before + SECRET.encode() + after).decode()
            for before in (b"", b"u", b"u:", b"us:")
            for after in (b"", b"\n", b";x")
        ),
        *(base64.urlsafe_b64encode(before + SECRET.encode()).decode() for before in (b"", b"u", b"u:")),
    ],
)
def test_a_credential_is_recognised_in_what_echoes_it(echo):
    assert any(form.decode() in echo for form in forms(SECRET.encode()))


@given(st.binary(min_size=8, max_size=40), st.binary(max_size=7), st.binary(max_size=7))
def test_base64_is_recognised_wherever_the_credential_stands_in_it(secret, before, after):
    found = forms(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert any(form in encode(before + secret + after) for form in found)


def test_the_empty_credential_has_no_form():
    assert forms(b"") == ()


def test_a_short_credential_is_searched_for_as_it_stands_only():
    assert forms(b"ab") == (b"ab",)


def test_bytes_that_are_no_utf_8_are_recognised_when_read_as_latin_1():
    assert "sécret-tokén".encode() in forms("sécret-tokén".encode("latin-1"))

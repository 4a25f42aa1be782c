"""Paths of PATCH operations: one meaning for each, or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.scim import paths, schemas
from accounts.scim.filters import Term
from accounts.scim.paths import Path
from accounts.scim.refusals import ScimRefused

EXTRA = "urn:example:extra:2.0:User"


def parse(text):
    return paths.parse(text, core=schemas.USER, extensions={schemas.ENTERPRISE, EXTRA})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("active", Path("", "active")),
        ("name.familyName", Path("", "name", None, "familyName")),
        ("members", Path("", "members")),
        ('members[value eq "2819c223"]', Path("", "members", (Term("value", "2819c223"),))),
        ('emails[type eq "work"].value', Path("", "emails", (Term("type", "work"),), "value")),
        ('emails[type eq "a]b\\"].c"].value', Path("", "emails", (Term("type", 'a]b"].c'),), "value")),
        ('roles[primary eq "True"].value', Path("", "roles", (Term("primary", "True"),), "value")),
        ("roles[primary eq true].value", Path("", "roles", (Term("primary", True),), "value")),
        (
            'addresses[type eq "work" and primary eq true]',
            Path("", "addresses", (Term("type", "work"), Term("primary", True))),
        ),
        (f"{schemas.USER}:name.givenName", Path("", "name", None, "givenName")),
        (f'{schemas.USER.upper()}:emails[type eq "x:y"]', Path("", "emails", (Term("type", "x:y"),))),
        (schemas.ENTERPRISE, Path(schemas.ENTERPRISE, "")),
        (schemas.ENTERPRISE.lower(), Path(schemas.ENTERPRISE, "")),
        (f"{schemas.ENTERPRISE}:department", Path(schemas.ENTERPRISE, "department")),
        (f"{schemas.ENTERPRISE}:manager.value", Path(schemas.ENTERPRISE, "manager", None, "value")),
        (f"{EXTRA.lower()}:tag", Path(EXTRA, "tag")),
        ("urn:other:1.0:User:tag", Path("urn:other:1.0:User", "tag")),
    ],
)
def test_a_path_names_its_target(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalidPath"),
        (".", "invalidPath"),
        ("a.b.c", "invalidPath"),
        ("a b", "invalidPath"),
        ("1a", "invalidPath"),
        ("a[", "invalidPath"),
        ("a]", "invalidPath"),
        ('a[b eq "c"', "invalidPath"),
        ('a[b eq "c"]x', "invalidPath"),
        ('a[b eq "c"].d.e', "invalidPath"),
        ('a[b eq "c"][d eq "e"]', "invalidPath"),
        ('a.b[c eq "d"]', "invalidPath"),
        (schemas.USER, "invalidPath"),
        ("urn:", "invalidPath"),
        ("urn:x: y:a", "invalidPath"),
        ("a" * 129, "invalidPath"),
        ("a" * (paths.MAX_CHARACTERS + 1), "invalidPath"),
        ("a[]", "invalidFilter"),
        ("a[b]", "invalidFilter"),
        ('a[b ne "c"]', "invalidFilter"),
        ('a[b eq "c" or d eq "e"]', "invalidFilter"),
        ('a[not (b eq "c")]', "invalidFilter"),
    ],
)
def test_what_is_not_a_path_is_refused(text, code):
    with pytest.raises(ScimRefused) as refused:
        parse(text)
    assert (refused.value.status, refused.value.code) == (400, code)


@given(st.text(alphabet='ab.[]" eq:urn\\', max_size=40) | st.text(max_size=40))
def test_any_text_is_a_path_or_refused(text):
    try:
        path = parse(text)
    except ScimRefused as refused:
        assert refused.code in {"invalidPath", "invalidFilter"}
    else:
        assert path.attribute or path.schema


def test_brackets_without_an_end_cost_no_time():
    with pytest.raises(ScimRefused):
        parse("a[" + '"\\' * 500)

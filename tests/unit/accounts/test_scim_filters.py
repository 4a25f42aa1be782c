"""Filters: the few that are understood are understood exactly, and everything else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.scim import filters, schemas
from accounts.scim.filters import GROUP_ATTRIBUTES, USER_ATTRIBUTES, Term
from accounts.scim.refusals import ScimRefused

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)
names = st.sampled_from(sorted(set(USER_ATTRIBUTES.values())))


def users(text):
    return filters.parse(text, USER_ATTRIBUTES, schema=schemas.USER)


def code_of(text, attributes=USER_ATTRIBUTES):
    with pytest.raises(ScimRefused) as refused:
        filters.parse(text, attributes, schema=schemas.USER)
    assert refused.value.status == 400
    return refused.value.code


def in_any_case(draw, text):
    return "".join(draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in text)


@st.composite
def spelt(draw):
    """A filter, spelt in one of the ways that mean the same, and its terms."""
    terms = draw(st.lists(st.builds(Term, names, texts), min_size=1, max_size=filters.MAX_TERMS))
    written = []
    for term in terms:
        urn = draw(st.sampled_from(["", f"{schemas.USER}:"]))
        blanks = [" " * draw(st.integers(1, 3)) for _ in range(2)]
        value = json.dumps(term.value, ensure_ascii=draw(st.booleans()))
        name, operator = in_any_case(draw, term.attribute), in_any_case(draw, "eq")
        written.append(f"{urn}{name}{blanks[0]}{operator}{blanks[1]}{value}")
    joint = f" {in_any_case(draw, 'and')} "
    return draw(st.sampled_from(["", " "])) + joint.join(written), tuple(terms)


@given(spelt())
def test_whatever_way_it_is_spelt_a_filter_means_its_terms(case):
    text, terms = case
    if len(text) > filters.MAX_CHARACTERS:
        assert code_of(text) == "invalidFilter"
    else:
        assert users(text) == terms


@given(st.text(max_size=80))
def test_any_text_is_a_filter_or_refused_as_one(text):
    try:
        terms = users(text)
    except ScimRefused as refused:
        assert (refused.status, refused.code) == (400, "invalidFilter")
    else:
        assert terms
        assert all(term.attribute in USER_ATTRIBUTES.values() for term in terms)


@given(spelt(), st.data())
def test_a_filter_that_is_cut_short_is_refused_or_asks_for_its_first_terms(case, data):
    text, terms = case
    cut = text[: data.draw(st.integers(0, max(0, len(text) - 1)))]
    if len(cut) > filters.MAX_CHARACTERS:
        return
    try:
        found = users(cut)
    except ScimRefused as refused:
        assert refused.code == "invalidFilter"
    else:
        assert found == terms[: len(found)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "userName",
        "userName eq",
        "userName eq ",
        'userName eq"a"',
        'userNameeq "a"',
        "userName eq 'a'",
        "userName eq a",
        "userName eq 1",
        "userName eq null",
        "userName eq true",
        "active eq true",
        'active eq "True"',
        'userName ne "a"',
        'userName co "a"',
        'userName sw "a"',
        'userName ew "a"',
        'userName gt "a"',
        "userName pr",
        'not (userName eq "a")',
        '(userName eq "a")',
        'userName eq "a" or userName eq "b"',
        'userName eq "a" and',
        'userName eq "a" and ',
        'userName eq "a"and userName eq "b"',
        'userName eq "a" andid eq "b"',
        'userName eq "a" userName eq "b"',
        'userName eq "a" ; DROP TABLE users',
        'userName eq "a',
        'userName eq "a""',
        'userName eq "a\\"',
        'userName eq "\\x41"',
        'userName eq "a\nb"',
        'userName eq "\\u0000"',
        'userName eq "\\ud800"',
        'userName\teq\t"a"',
        'emails.value eq "a"',
        'emails[type eq "work"].value eq "a"',
        'meta.lastModified gt "2011-05-13T04:42:34Z"',
        'password eq "a"',
        f'{schemas.GROUP}:displayName eq "a"',
        f'{schemas.USER} eq "a"',
        'urn:x:userName eq "a"',
        'userName eq "' + "a" * filters.MAX_CHARACTERS + '"',
        " and ".join(['id eq "a"'] * (filters.MAX_TERMS + 1)),
    ],
)
def test_what_is_not_understood_is_refused(text):
    assert code_of(text) == "invalidFilter"


def test_groups_are_asked_for_by_their_own_attributes():
    assert filters.parse('displayName eq "a" and members.value eq "b"', GROUP_ATTRIBUTES, schema=schemas.GROUP) == (
        Term("displayName", "a"),
        Term("members", "b"),
    )
    assert code_of('userName eq "a"', GROUP_ATTRIBUTES) == "invalidFilter"


def test_a_refusal_repeats_nothing_of_the_filter():
    with pytest.raises(ScimRefused) as refused:
        users('secretThing eq "canary-7"')
    assert "secret" not in str(refused.value)
    assert "canary" not in str(refused.value)

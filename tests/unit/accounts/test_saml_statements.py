"""What a signed assertion says. Times, places and forged documents are in tests/security/test_saml.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from accounts.saml import statements
from accounts.saml.checks import AssertionRefused
from accounts.saml.statements import Profile
from tests.support.saml_idp import SamlIdp, stamp

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACS, ENTITY, REQUEST = "https://gateway.example/acs", "https://gateway.example/metadata", "_r"
PROFILE = Profile(
    entity_id="https://idp.example/saml",
    our_entity_id=ENTITY,
    subject_attribute="",
    groups_attribute="groups",
    name_attribute="name",
    email_attribute="mail",
    missing_groups_are_unknown=False,
    leeway_seconds=30,
)


def read(profile: Profile = PROFILE, *, change=lambda text: text, request_id: str | None = REQUEST, **values):
    text = SamlIdp(now=NOW).assertion_text(recipient=ACS, audience=ENTITY, **{"to": request_id, **values})
    root = etree.fromstring(change(text).replace("<!--signature-->", ""))
    return statements.read(root, profile, audiences={ENTITY}, recipient=ACS, request_id=request_id, now=NOW)


def refused(code: str):
    return pytest.raises(AssertionRefused, check=lambda error: error.code == code)


def test_everything_that_is_said_is_read():
    found = read(attributes={"name": ["Ada\u0085 L."], "mail": ["ada@example.com"]}, assertion_id="_a")
    assert (found.assertion_id, found.subject, found.groups) == ("_a", "u-17", {"staff", "sre"})
    assert (found.display_name, found.email, found.session_index) == ("Ada L.", "ada@example.com", "s-1")
    assert (found.issued_at, found.authenticated_at) == (NOW, NOW)
    assert found.expires_at == NOW + timedelta(minutes=5)
    assert found.last_use_at == found.expires_at + timedelta(seconds=30)


def test_name_and_mail_are_not_in_a_repr():
    assert "ada@" not in repr(read(attributes={"mail": ["ada@example.com"]}))


def test_the_subject_can_be_an_attribute():
    profile = replace(PROFILE, subject_attribute="oid")
    assert read(profile, attributes={"oid": ["0-1"]}).subject == "0-1"


@pytest.mark.parametrize(
    "values", [{}, {"oid": []}, {"oid": ["a", "b"]}, {"oid": [""]}, {"oid": [" a"]}, {"oid": ["a\n"]}]
)
def test_a_subject_attribute_has_exactly_one_usable_value(values):
    with refused("saml_subject"):
        read(replace(PROFILE, subject_attribute="oid"), attributes=values)


@pytest.mark.parametrize("subject", [" u", "u ", "\u2028", "a\u0085"])
def test_a_name_that_looks_like_another_is_no_key(subject):
    with pytest.raises(AssertionRefused):
        read(subject=subject)


def test_a_name_of_256_characters_is_too_long():
    assert read(subject="x" * 255).subject == "x" * 255
    with refused("saml_structure"):
        read(subject="x" * 256)


@pytest.mark.parametrize(
    ("qualifiers", "is_accepted"),
    [
        ('NameQualifier="https://idp.example/saml"', True),
        (f'SPNameQualifier="{ENTITY}"', True),
        ('NameQualifier="https://other.example"', False),
        ('SPNameQualifier="https://other.example"', False),
    ],
)
def test_a_name_out_of_another_name_space_is_another_person(qualifiers, is_accepted):
    def change(text):
        return text.replace("<saml:NameID ", f"<saml:NameID {qualifiers} ")

    if is_accepted:
        assert read(change=change).subject == "u-17"
    else:
        with refused("saml_subject"):
            read(change=change)


def test_no_group_no_attribute_and_left_out_groups_are_three_things():
    assert read(groups=[]).groups == frozenset()
    assert read(groups=None).groups == frozenset()
    assert read(replace(PROFILE, missing_groups_are_unknown=True), groups=None).groups is None
    linked = {"http://schemas.microsoft.com/claims/groups.link": ["https://graph.example/"]}
    assert read(groups=None, attributes=linked).groups is None


@pytest.mark.parametrize("groups", [["a", ""], [" a"], ["a" * 256], [f"g{n}" for n in range(1001)]])
def test_groups_that_cannot_be_used_are_refused(groups):
    with refused("saml_groups"):
        read(groups=groups)


def test_an_attribute_value_with_parts_is_refused_where_it_is_used():
    def change(text):
        return text.replace(">staff<", "><b>staff</b><")

    with refused("saml_attributes"):
        read(change=change)
    assert read(replace(PROFILE, groups_attribute="other"), change=change).groups == frozenset()


@pytest.mark.parametrize(
    "moment",
    [
        "",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:00+01:00",
        "2026-03-01T12:00:00-00:00",
        "2026-13-01T12:00:00Z",
        "2026-03-01T12:00:60Z",
        "1999-03-01T12:00:00Z",
        "9999-12-31T23:59:59Z",
        "2026-03-01t12:00:00z",
        " 2026-03-01T12:00:00Z",
        "２０26-03-01T12:00:00Z",
    ],
)
def test_a_time_is_in_utc_and_of_this_century(moment):
    with refused("saml_time"):
        read(change=lambda text: text.replace(stamp(NOW), moment))


@pytest.mark.parametrize("moment", ["2026-03-01T12:00:00.123Z", "2026-03-01T12:00:00+00:00"])
def test_the_usual_spellings_of_utc_are_read(moment):
    assert read(change=lambda text: text.replace(stamp(NOW), moment)).issued_at == NOW


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        ("", "saml_structure"),
        ("<saml:Conditions/>", "saml_audience"),
        ("<saml:Conditions><saml:AudienceRestriction/></saml:Conditions>", "saml_audience"),
        ("<saml:Conditions><saml:Condition/></saml:Conditions>", "saml_conditions"),
        (
            f"<saml:Conditions><saml:AudienceRestriction><saml:Audience>{ENTITY}</saml:Audience>"
            "</saml:AudienceRestriction><saml:AudienceRestriction><saml:Audience>https://other</saml:Audience>"
            "</saml:AudienceRestriction></saml:Conditions>",
            "saml_audience",
        ),
    ],
)
def test_conditions_that_do_not_name_us_are_refused(conditions, code):
    with refused(code):
        read(conditions=conditions)


def test_one_of_several_audiences_is_enough():
    conditions = (
        "<saml:Conditions><saml:OneTimeUse/><saml:AudienceRestriction><saml:Audience>https://other</saml:Audience>"
        f"<saml:Audience>{ENTITY}</saml:Audience></saml:AudienceRestriction></saml:Conditions>"
    )
    assert read(conditions=conditions).subject == "u-17"


@pytest.mark.parametrize(
    ("confirmation", "code"),
    [
        ("", "saml_structure"),
        ('<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"/>', "saml_structure"),
        (
            '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData'
            f' Recipient="{ACS}" InResponseTo="{REQUEST}"/></saml:SubjectConfirmation>',
            "saml_time",
        ),
    ],
)
def test_a_bearer_confirmation_names_its_end(confirmation, code):
    with refused(code):
        read(confirmation=confirmation)


def test_a_login_takes_one_statement_of_authentication_and_a_machine_none():
    with refused("saml_structure"):
        read(logins="")
    found = read(logins="", request_id=None)
    assert (found.session_index, found.authenticated_at) == ("", None)


def test_a_session_that_is_over_at_the_provider_is_over_here():
    logins = (
        f'<saml:AuthnStatement AuthnInstant="{stamp(NOW)}" SessionNotOnOrAfter="{stamp(NOW - timedelta(seconds=31))}"/>'
    )
    with refused("saml_expired"):
        read(logins=logins)

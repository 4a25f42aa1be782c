"""Logout tokens and security event tokens: what is accepted, and a corpus of forgeries of which nothing is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.event_tokens import (
    EFFECTS,
    EVENT_MAX_AGE_SECONDS,
    LOGOUT_EVENT,
    LOGOUT_MAX_AGE_SECONDS,
    Effect,
    Expected,
    LogoutToken,
    SecurityEvents,
    Subject,
    logout_token,
    security_events,
)
from accounts.tokens import Rejected, key_set
from tests.support.idp import ABSENT, encoded, signed, signing_key

NOW = 1_772_366_400
IDP = "https://login.example.com"
HUB = "https://events.example.com"
KEY = signing_key("ES256", "events")
RSA = signing_key("RS256", "events")
ATTACKER = signing_key("ES256", "attacker")
KEYS = key_set(
    {"keys": [KEY.as_dict(private=False), RSA.as_dict(private=False)]}, algorithms=["ES256", "RS256", "ES384"]
)
EXPECTED_LOGOUT = Expected(IDP, frozenset({"console"}), frozenset({"ES256", "RS256"}), 30)
AUDIENCE = "https://gw.example.com/events"
EXPECTED_EVENT = Expected(HUB, frozenset({AUDIENCE}), frozenset({"ES256"}), 30, (IDP, "urn:saml"))

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
ADA = {"format": "iss_sub", "iss": IDP, "sub": "ada"}


def without_absent(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not ABSENT}


def logout(key=KEY, algorithm="ES256", header=None, **claims) -> bytes:
    values = {
        "iss": IDP,
        "aud": "console",
        "iat": NOW,
        "exp": NOW + 120,
        "jti": "logout-1",
        "sub": "ada",
        "sid": "session-1",
        "events": {LOGOUT_EVENT: {}},
        **claims,
    }
    top = without_absent({"alg": algorithm, "kid": key.kid, "typ": "logout+jwt", **(header or {})})
    return signed(top, without_absent(values), key, algorithm).encode()


def event(name=CAEP + "session-revoked", body=None, key=KEY, algorithm="ES256", header=None, **claims) -> bytes:
    values = {
        "iss": HUB,
        "aud": AUDIENCE,
        "iat": NOW,
        "jti": "event-1",
        "sub_id": ADA,
        "events": {name: body or {}},
        **claims,
    }
    top = without_absent({"alg": algorithm, "kid": key.kid, "typ": "secevent+jwt", **(header or {})})
    return signed(top, without_absent(values), key, algorithm).encode()


def read_logout(raw: bytes, now: float = NOW):
    return logout_token(raw, expected=EXPECTED_LOGOUT, keys=KEYS, now=now)


def read_event(raw: bytes, now: float = NOW):
    return security_events(raw, expected=EXPECTED_EVENT, keys=KEYS, now=now)


def only(raw: bytes):
    found = read_event(raw)
    assert isinstance(found, SecurityEvents), found
    (occurrence,) = found.occurrences
    return occurrence


def test_a_logout_token_says_who_logged_out_of_which_session():
    assert read_logout(logout()) == LogoutToken(IDP, "logout-1", NOW, "ada", "session-1")


@pytest.mark.parametrize("typ", ["logout+jwt", "application/logout+jwt", "Logout+JWT", "JWT", ABSENT])
def test_the_types_that_providers_write_into_logout_tokens_are_accepted(typ):
    assert isinstance(read_logout(logout(header={"typ": typ})), LogoutToken)


@pytest.mark.parametrize("claims", [{"sub": ABSENT}, {"sid": ABSENT}, {"exp": ABSENT}, {"aud": ["other", "console"]}])
def test_a_logout_token_may_leave_out_what_it_need_not_say(claims):
    assert isinstance(read_logout(logout(**claims)), LogoutToken)


def unsigned(raw: bytes, algorithm: str = "none") -> bytes:
    header = json.loads(base64.urlsafe_b64decode(raw.split(b".")[0] + b"=="))
    return encoded({**header, "alg": algorithm}) + b"." + raw.split(b".")[1] + b"."


def by_hmac(raw: bytes) -> bytes:
    header = json.loads(base64.urlsafe_b64decode(raw.split(b".")[0] + b"=="))
    message = encoded({**header, "alg": "HS256"}) + b"." + raw.split(b".")[1]
    return message + b"." + encoded(hmac.new(KEY.as_pem(private=False), message, hashlib.sha256).digest())


def doubled(raw: bytes, member: str) -> bytes:
    """The same token, genuinely signed, with one member of its claims twice."""
    claims = base64.urlsafe_b64decode(raw.split(b".")[1] + b"==")
    header = base64.urlsafe_b64decode(raw.split(b".")[0] + b"==")
    value = json.dumps(json.loads(claims)[member]).encode()
    again = claims[:-1] + b', "' + member.encode() + b'": ' + value + b"}"
    return signed(header, again, KEY, "ES256").encode()


COMMON: list[tuple[str, Any, str]] = [
    ("empty", lambda make: b"", "token_missing"),
    ("not a token", lambda make: b"hello", "token_malformed"),
    ("too long", lambda make: make(padding="x" * 20_000), "token_too_long"),
    ("unsigned", lambda make: unsigned(make()), "token_algorithm"),
    ("unsigned in capitals", lambda make: unsigned(make(), "NONE"), "token_algorithm"),
    ("signed with the public key", lambda make: by_hmac(make()), "token_algorithm"),
    ("signature cut off", lambda make: make().rpartition(b".")[0] + b".", "token_malformed"),
    ("signature of another token", lambda make: make()[:-86] + make(jti="other")[-86:], "token_signature"),
    ("key of an attacker", lambda make: make(key=ATTACKER), "token_key_unknown"),
    ("key of an attacker by our name", lambda make: make(key=ATTACKER, header={"kid": KEY.kid}), "token_signature"),
    (
        "key that the token brings",
        lambda make: make(key=ATTACKER, header={"kid": KEY.kid, "jwk": ATTACKER.as_dict(private=False)}),
        "token_signature",
    ),
    ("critical header", lambda make: make(header={"crit": ["b64"], "b64": False}), "token_header"),
    ("type of an access token", lambda make: make(header={"typ": "at+jwt"}), "token_type"),
    ("type that is a list", lambda make: make(header={"typ": ["logout+jwt", "secevent+jwt"]}), "token_type"),
    ("another issuer", lambda make: make(iss="https://evil.example.com"), "token_issuer"),
    ("issuer with a slash", lambda make: make(iss=IDP + "/"), "token_issuer"),
    ("no issuer", lambda make: make(iss=ABSENT), "token_claim_missing"),
    ("another audience", lambda make: make(aud="other"), "token_audience"),
    ("no audience", lambda make: make(aud=ABSENT), "token_claim_missing"),
    ("empty audiences", lambda make: make(aud=[]), "token_audience"),
    ("audience that is an object", lambda make: make(aud={"console": 1}), "token_claim_type"),
    ("no iat", lambda make: make(iat=ABSENT), "token_claim_missing"),
    ("iat that is a text", lambda make: make(iat=str(NOW)), "token_claim_type"),
    ("iat that is true", lambda make: make(iat=True), "token_claim_type"),
    ("iat with a fraction", lambda make: make(iat=NOW + 0.5), "token_claim_type"),
    ("iat in the future", lambda make: make(iat=NOW + 31), "token_not_yet_valid"),
    ("nbf in the future", lambda make: make(nbf=NOW + 31), "token_not_yet_valid"),
    ("iat long ago", lambda make: make(iat=NOW - EVENT_MAX_AGE_SECONDS - 30, exp=ABSENT), "token_expired"),
    ("expired", lambda make: make(exp=NOW - 30), "token_expired"),
    ("exp that is a text", lambda make: make(exp="never"), "token_claim_type"),
    ("no jti", lambda make: make(jti=ABSENT), "token_claim_missing"),
    ("empty jti", lambda make: make(jti=""), "token_claim_type"),
    ("jti that is a number", lambda make: make(jti=7), "token_claim_type"),
    ("jti too long", lambda make: make(jti="x" * 256), "token_claim_type"),
    ("jti with a line break", lambda make: make(jti="a\nb"), "token_claim_type"),
    ("iss twice", lambda make: doubled(make(), "iss"), "token_malformed"),
    ("jti twice", lambda make: doubled(make(), "jti"), "token_malformed"),
    ("events twice", lambda make: doubled(make(), "events"), "token_malformed"),
    ("events that are a list", lambda make: make(events=[LOGOUT_EVENT]), None),
    ("events that are a text", lambda make: make(events=LOGOUT_EVENT), None),
    ("event that is null", lambda make: make(events={LOGOUT_EVENT: None}), None),
    ("event that is true", lambda make: make(events={LOGOUT_EVENT: True}), None),
]


@pytest.mark.parametrize(("forge", "code"), [case[1:] for case in COMMON], ids=[case[0] for case in COMMON])
@pytest.mark.parametrize(("make", "judge"), [(logout, read_logout), (event, read_event)], ids=["logout", "event"])
def test_a_forged_token_has_no_effect(make, judge, forge, code):
    """Where no code is named it depends on which token it is, and is a refusal all the same."""
    found = judge(forge(make))
    assert isinstance(found, Rejected), found
    assert code is None or found.code == code


@pytest.mark.parametrize("algorithm", ["RS256"])
def test_an_algorithm_that_the_transmitter_may_not_use_is_refused(algorithm):
    assert read_event(event(key=RSA, algorithm=algorithm)).code == "token_algorithm"
    assert isinstance(read_logout(logout(key=RSA, algorithm=algorithm)), LogoutToken)


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"nonce": "n"}, "token_type"),
        ({"nonce": None}, "token_type"),
        ({"events": ABSENT}, "token_type"),
        ({"events": {}}, "token_type"),
        ({"events": {CAEP + "session-revoked": {}}}, "token_type"),
        ({"sub": ABSENT, "sid": ABSENT}, "token_claim_missing"),
        ({"sub": ""}, "token_claim_type"),
        ({"sid": ["session-1"]}, "token_claim_type"),
        ({"iat": NOW - LOGOUT_MAX_AGE_SECONDS - 30}, "token_expired"),
        ({"header": {"typ": "secevent+jwt"}}, "token_type"),
        ({"header": {"typ": "id_token"}}, "token_type"),
    ],
)
def test_what_is_no_logout_token_of_now_is_refused(claims, code):
    assert read_logout(logout(**claims)).code == code


@pytest.mark.parametrize("typ", [ABSENT, "JWT", "logout+jwt"])
def test_a_security_event_says_that_it_is_one(typ):
    assert read_event(event(header={"typ": typ})).code == "token_type"


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"sub": "ada"}, "token_claim_type"),
        ({"events": {}}, "token_claim_type"),
        ({"events": ABSENT}, "token_claim_missing"),
        ({"events": {f"urn:{number}": {} for number in range(17)}}, "token_claim_type"),
        ({"events": {"": {}}}, "token_claim_type"),
        ({"sub_id": ABSENT}, "token_claim_missing"),
        ({"sub_id": "ada"}, "event_subject"),
        ({"body": {"subject": {**ADA, "sub": "grace"}}}, "token_claim_type"),
        ({"toe": "yesterday"}, "token_claim_type"),
        ({"body": {"event_timestamp": True}}, "token_claim_type"),
    ],
)
def test_an_event_that_can_be_read_in_two_ways_is_refused(claims, code):
    assert read_event(event(**claims)).code == code


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (ADA, Subject(IDP, "ada")),
        ({"subject_type": "iss-sub", "iss": IDP, "sub": "ada"}, Subject(IDP, "ada")),
        ({"format": "iss_sub", "iss": "urn:saml", "sub": "ada"}, Subject("urn:saml", "ada")),
        ({"format": "opaque", "id": "ada"}, Subject(IDP, "ada")),
        ({"format": "jwt_id", "iss": IDP, "jti": "t-1"}, Subject(IDP, token_id="t-1")),
        ({"format": "complex", "user": ADA}, Subject(IDP, "ada")),
        ({"user": ADA, "session": {"format": "opaque", "id": "s-1"}}, Subject(IDP, "ada", "s-1")),
        ({"format": "complex", "session": {"format": "opaque", "id": "s-1"}}, Subject(IDP, "", "s-1")),
        (
            {"format": "complex", "user": ADA, "device": {"format": "opaque", "id": "d-1"}},
            Subject(IDP, "ada", is_part=True),
        ),
        ({"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.c"}, ADA]}, Subject(IDP, "ada")),
    ],
)
def test_subjects_are_recognised_by_keys(subject, expected):
    assert only(event(sub_id=subject)).subject == expected
    assert only(event(sub_id=ABSENT, body={"subject": subject})).subject == expected


@pytest.mark.parametrize(
    "subject",
    [
        {},
        [],
        None,
        {"format": "email", "email": "ada@example.com"},
        {"format": "phone_number", "phone_number": "+441632960000"},
        {"format": "account", "uri": "acct:ada@example.com"},
        {"format": "uri", "uri": "https://example.com/ada"},
        {"format": "did", "url": "did:example:ada"},
        {"format": ["iss_sub"], "iss": IDP, "sub": "ada"},
        {"format": "iss_sub", "iss": "https://other.example.com", "sub": "ada"},
        {"format": "jwt_id", "iss": "https://other.example.com", "jti": "t-1"},
        {"format": "complex"},
        {"format": "complex", "device": {"format": "opaque", "id": "d-1"}},
        {"format": "complex", "user": {"format": "email", "email": "ada@example.com"}},
        {"format": "complex", "user": {"user": ADA}},
        {"format": "complex", "user": ADA, "session": ADA},
        {"format": "aliases", "identifiers": []},
        {"format": "aliases", "identifiers": [ADA, {**ADA, "sub": "grace"}]},
        {"format": "aliases", "identifiers": [{"format": "email", "email": "ada@example.com"}]},
        {"format": "aliases", "identifiers": [ADA] * 17},
    ],
)
def test_who_is_not_named_by_a_key_is_nobody(subject):
    assert read_event(event(sub_id=subject)).code == "event_subject"


@pytest.mark.parametrize("subject", [{"format": "iss_sub", "iss": IDP, "sub": ""}, {"format": "opaque", "id": 7}])
def test_a_key_that_cannot_be_one_is_refused(subject):
    assert read_event(event(sub_id=subject)).code == "token_claim_type"


@pytest.mark.parametrize("name", sorted(EFFECTS))
def test_every_event_of_the_table_has_its_effect(name):
    found = only(event(name))
    assert (found.effect, found.name) == (EFFECTS[name], name.rpartition("/")[2])


@pytest.mark.parametrize(
    "name",
    [
        CAEP + "assurance-level-change",
        CAEP + "device-compliance-change",
        RISC + "identifier-changed",
        RISC + "identifier-recycled",
        "https://schemas.openid.net/secevent/ssf/event-type/verification",
        "urn:example:tomorrow",
    ],
)
def test_other_events_are_acknowledged_whatever_their_subject_is(name):
    found = read_event(event(name, sub_id={"format": "email", "email": "ada@example.com"}))
    assert (found.occurrences, found.ignored) == ((), (name,))


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        (RISC + "account-disabled", {"format": "jwt_id", "iss": IDP, "jti": "t-1"}),
        (RISC + "account-purged", {"session": {"format": "opaque", "id": "s-1"}}),
        (RISC + "account-enabled", {"user": ADA, "session": {"format": "opaque", "id": "s-1"}}),
        (RISC + "account-enabled", {"user": ADA, "application": {"format": "opaque", "id": "a-1"}}),
    ],
)
def test_an_account_is_disabled_or_enabled_as_a_whole(name, subject):
    assert read_event(event(name, sub_id=subject)).code == "event_subject"


@pytest.mark.parametrize(
    ("claims", "at"),
    [
        ({}, NOW),
        ({"iat": NOW - 50}, NOW - 50),
        ({"toe": NOW - 100}, NOW - 100),
        ({"toe": NOW - 100, "body": {"event_timestamp": NOW - 200}}, NOW - 200),
        ({"body": {"event_timestamp": NOW - 0.5}}, NOW - 1),
        # A moment ahead, or one in milliseconds, must not refuse tokens that are issued later.
        ({"iat": NOW + 20}, NOW),
        ({"body": {"event_timestamp": NOW + 3600}}, NOW),
        ({"body": {"event_timestamp": NOW * 1000}}, NOW),
        ({"body": {"event_timestamp": -5}}, 0),
    ],
)
def test_an_event_happened_when_it_says_and_never_in_the_future(claims, at):
    assert only(event(**claims)).at == at


def test_only_reasons_of_the_specification_are_kept():
    disabled = RISC + "account-disabled"
    assert only(event(disabled, {"reason": "hijacking"})).reason == "hijacking"
    assert only(event(disabled, {"reason": "<script>"})).reason == ""


def test_several_events_of_one_token_keep_their_order():
    found = read_event(event(events={RISC + "account-disabled": {}, "urn:x": {}, RISC + "account-enabled": {}}))
    assert [occurrence.effect for occurrence in found.occurrences] == [Effect.DISABLE, Effect.ENABLE]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = st.sampled_from(
    ["format", "subject_type", "iss", "sub", "id", "user", "session", "identifiers", "jti", "tenant"]
)


@given(st.dictionaries(MEMBERS, JSON | st.sampled_from([IDP, "iss_sub", "opaque", "complex", "aliases", ADA])))
def test_no_subject_whatever_its_shape_becomes_anybody_of_another_issuer(subject):
    found = read_event(event(sub_id=subject))
    if isinstance(found, SecurityEvents):
        assert {occurrence.subject.issuer for occurrence in found.occurrences} <= {IDP, "urn:saml"}
    else:
        assert isinstance(found, Rejected)


@given(st.binary(max_size=300))
def test_no_bytes_are_an_error(raw):
    assert isinstance(read_event(raw), Rejected)
    assert isinstance(read_logout(raw), Rejected)

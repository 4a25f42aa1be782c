"""The receivers as other servers meet them: revocation, back-channel logout, security events."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from django.contrib.auth.models import Permission
from django.test import Client

from accounts import issuing, services
from accounts.event_tokens import LOGOUT_EVENT
from accounts.models import ConsoleSession, Lock, LoginClient, Principal, RevokedToken, SeenToken, SigningKey
from accounts.receivers.bodies import BODY_BYTES
from tests.support.idp import ABSENT, Issuer, signed, signing_key

ISSUER = "https://login.example.com"
HUB = "https://events.example.com"
AUDIENCE = "https://gw.example.com/events"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
ADA = {"format": "iss_sub", "iss": ISSUER, "sub": "ada"}
HUB_KEY = signing_key("ES256", "hub")
FORM = "application/x-www-form-urlencoded"
PATHS = ["/oauth/revoke", "/oidc/backchannel-logout", "/events/push"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def issuer():
    return Issuer(ISSUER, audience="gateway")


@pytest.fixture
def provider(issuer):
    return services.provider_save(
        name="Main", issuer=ISSUER, audiences=["gateway"], pinned_jwks=issuer.jwks(), now=datetime.now(UTC)
    )


@pytest.fixture
def transmitter(provider):
    return services.transmitter_save(
        provider=provider,
        name="Hub",
        issuer=HUB,
        audience=AUDIENCE,
        pinned_jwks={"keys": [HUB_KEY.as_dict(private=False)]},
        now=datetime.now(UTC),
    )


@pytest.fixture
def api_token(django_user_model, provider):
    """Return a new API token of a person with these permissions."""

    def made(*scopes, permissions=(), **values):
        user = django_user_model.objects.create_user(f"robot-{secrets.token_hex(4)}", is_superuser=False)
        for name in permissions:
            user.user_permissions.add(Permission.objects.get(codename=name, content_type__app_label="accounts"))
        owner = django_user_model.objects.create_superuser(f"owner-{secrets.token_hex(4)}")
        bound_to = provider if {"scim", "events"} & set(scopes) else None
        given = {"provider": bound_to, "actor": owner, "now": datetime.now(UTC), **values}
        _, plain = services.api_token_create(name="robot", user=user, scopes=list(scopes), **given)
        return {"Authorization": f"Bearer {plain}"}

    return made


@pytest.fixture
def pusher(api_token, transmitter, client):
    """Push a security event token as the transmitter's server does."""
    headers = api_token("events")

    def push(raw, content_type="application/secevent+jwt", **changed):
        return client.post("/events/push", raw, content_type=content_type, headers={**headers, **changed})

    return push


def set_token(name=CAEP + "session-revoked", body=None, key=HUB_KEY, typ="secevent+jwt", **claims):
    now = int(time.time())
    values = {"iss": HUB, "aud": AUDIENCE, "iat": now, "jti": secrets.token_hex(8), "sub_id": ADA}
    values |= {"events": {name: body or {}}, **claims}
    values = {name: value for name, value in values.items() if value is not ABSENT}
    return signed({"alg": "ES256", "kid": key.kid, "typ": typ}, values, key, "ES256").encode()


def logout_token(issuer, **claims):
    now = int(time.time())
    values = {"nbf": ABSENT, "client_id": ABSENT, "groups": ABSENT, "aud": "console", "sub": "ada", "sid": "s-1"}
    values |= {"exp": now + 120, "events": {LOGOUT_EVENT: {}}, **claims}
    return issuer.token(typ=values.pop("typ", "logout+jwt"), **values)


def log_out(client, token):
    return client.post("/oidc/backchannel-logout", f"logout_token={token}", FORM)


def revoke(client, token, **headers):
    return client.post("/oauth/revoke", f"token={token}&token_type_hint=access_token", FORM, headers=headers)


def revoked():
    return {(row.kind, row.issuer, row.value) for row in RevokedToken.objects.all()}


def by_digest(token):
    return ("digest", "", hashlib.sha256(token.encode()).hexdigest())


# What all three have in common.


@pytest.mark.parametrize("path", PATHS)
def test_a_receiver_needs_no_csrf_token_and_makes_no_session(path):
    answer = Client(enforce_csrf_checks=True).post(path, b"x", content_type="text/plain")
    assert answer.status_code in {400, 401}
    assert not answer.cookies
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "head", "options"])
def test_a_receiver_answers_to_post_alone(client, path, method):
    assert getattr(client, method)(path).status_code == 405


@pytest.mark.parametrize("path", PATHS[:2])
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", FORM),
        (b"token", FORM),
        (b"token=a&token=b&logout_token=a&logout_token=b", FORM),
        (b"token=%ff%fe&logout_token=%ff%fe", "application/json"),
        (b"\xff\xfe=1", FORM),
        (b"a=1&" * 17 + b"b=2", FORM),
        (b"token=" + b"x" * BODY_BYTES, FORM),
        (b"logout_token=" + b"x" * BODY_BYTES, FORM),
    ],
)
def test_a_body_that_is_not_one_small_form_is_refused(client, path, body, content_type):
    answer = client.post(path, body, content_type=content_type)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


# RFC 7009.


def test_the_bearer_revokes_its_own_token(client, provider, issuer):
    token = issuer.token(sub="ada", jti="t-1")
    answer = revoke(client, token)
    assert (answer.status_code, answer.content) == (200, b"")
    assert revoked() == {by_digest(token), ("token_id", ISSUER, "t-1")}
    assert RevokedToken.objects.first().source == "revocation"
    assert revoke(client, token).status_code == 200
    assert len(revoked()) == 2


def test_a_token_for_one_connection_is_the_bearers_to_revoke_too(client, provider, issuer, settings):
    token = issuer.token(aud=f"{settings.WARDGATE_PUBLIC_URL}/mcp/orders")
    revoke(client, token)
    assert by_digest(token) in revoked()


def test_the_bearer_of_a_token_of_the_gateway_revokes_that_one(client, settings):
    signer, now = issuing.Signer.new(), int(time.time())
    SigningKey.objects.create(
        kid=signer.kid,
        public_jwk=signer.public_jwk(),
        wrapped_key=b"",
        ciphertext=b"",
        signs_from=datetime.now(UTC),
        signs_until=datetime.now(UTC) + timedelta(hours=1),
        published_until=datetime.now(UTC) + timedelta(hours=2),
    )
    public = settings.WARDGATE_PUBLIC_URL
    claims = {"iss": public, "sub": "ada", "aud": f"{public}/mcp/orders", "jti": "row-1", "wg_iss": ISSUER}
    token = signer.sign({**claims, "iat": now, "nbf": now, "exp": now + 300})
    assert revoke(client, token).status_code == 200
    assert revoked() == {by_digest(token), ("token_id", public, "row-1")}


def test_a_token_of_ecdsa_without_an_id_takes_its_elders_along(client, provider, issuer):
    token = issuer.token(sub="ada", jti=ABSENT, algorithm="ES256")
    revoke(client, token)
    row = RevokedToken.objects.get(kind="subject")
    assert (row.issuer, row.value) == (ISSUER, "ada")
    assert row.issued_until <= datetime.now(UTC)


def test_a_token_of_rsa_without_an_id_is_revoked_by_its_digest_alone(client, provider, issuer):
    token = issuer.token(jti=ABSENT)
    revoke(client, token)
    assert revoked() == {by_digest(token)}


@pytest.mark.parametrize(
    "spoilt",
    [
        {"exp": int(time.time()) - 3600, "iat": int(time.time()) - 7000},
        {"aud": "https://other.example.com"},
        {"iss": "https://unknown.example.com"},
        {"header": {"kid": "RS256-attacker"}},
    ],
)
def test_a_token_that_would_not_be_accepted_is_answered_as_any_other_and_changes_nothing(
    client, provider, issuer, spoilt
):
    answer = revoke(client, issuer.token(**spoilt))
    assert (answer.status_code, answer.content) == (200, b"")
    assert not revoked()


@pytest.mark.parametrize("token", ["garbage", "a.b.c", "x" * 17_000, "%00"])
def test_garbage_is_answered_as_any_other_token(client, provider, token):
    assert revoke(client, token).status_code == 200
    assert not revoked()


def test_a_forged_token_revokes_nobodys(client, provider, issuer):
    honest = issuer.token(sub="ada", jti="t-1")
    forged = honest.rpartition(".")[0] + "." + issuer.token().rpartition(".")[2]
    assert revoke(client, forged).status_code == 200
    assert not revoked()


def test_an_api_token_revokes_what_it_cannot_use(client, provider, api_token):
    headers = api_token("revoke", permissions=["add_revokedtoken"])
    assert revoke(client, "opaque", **headers).status_code == 200
    assert revoked() == {by_digest("opaque")}


@pytest.mark.parametrize(
    ("scopes", "permissions"), [(["read"], ["add_revokedtoken"]), (["revoke"], []), (["events"], ["add_revokedtoken"])]
)
def test_an_api_token_needs_the_scope_and_its_person_the_permission(client, api_token, scopes, permissions):
    answer = revoke(client, "opaque", **api_token(*scopes, permissions=permissions))
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert "WWW-Authenticate" in answer.headers
    assert not revoked()


def test_a_bad_api_token_is_not_made_good_by_a_good_token_in_the_body(client, provider, issuer):
    answer = revoke(client, issuer.token(), Authorization="Bearer wg_" + "x" * 57)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert not revoked()


# Back-channel logout.


@pytest.fixture
def login_client(provider):
    return LoginClient.objects.create(provider=provider, client_id="console")


@pytest.fixture
def console(django_user_model):
    """Note a console session of Ada at the provider."""
    user = django_user_model.objects.create_user("ada")
    return partial(
        ConsoleSession.objects.create, user=user, issuer=ISSUER, subject="ada", method="oidc", provider_session="s-1"
    )


def is_open(session):
    session.refresh_from_db()
    return session.ended_at is None


def test_a_logout_ends_the_session_with_its_tokens_and_leaves_the_others(client, login_client, issuer, console):
    own, other, nameless = (
        console(session_digest=str(number), provider_session=name) for number, name in enumerate(["s-1", "s-2", ""])
    )
    answer = log_out(client, logout_token(issuer))
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Cache-Control"] == "no-store"
    assert revoked() == {("session", ISSUER, "s-1"), ("sessionless", ISSUER, "ada")}
    assert [is_open(session) for session in (own, other, nameless)] == [False, True, False]


def test_a_logout_of_a_subject_refuses_all_that_it_was_issued(client, login_client, issuer, console):
    sessions = [console(session_digest=name, provider_session=name) for name in ("s-1", "s-2")]
    moment = int(time.time()) - 5
    assert log_out(client, logout_token(issuer, sid=ABSENT, iat=moment)).status_code == 200
    row = RevokedToken.objects.get()
    assert (row.kind, row.value, row.issued_until) == ("subject", "ada", datetime.fromtimestamp(moment, UTC))
    assert not any(is_open(session) for session in sessions)


def test_a_logout_may_name_a_session_alone(client, login_client, issuer):
    assert log_out(client, logout_token(issuer, sub=ABSENT)).status_code == 200
    assert revoked() == {("session", ISSUER, "s-1")}


def test_a_logout_may_be_addressed_to_the_gateway_itself(client, provider, issuer):
    assert log_out(client, logout_token(issuer, aud="gateway")).status_code == 200


def test_a_logout_token_has_its_effect_once(client, login_client, issuer):
    token = logout_token(issuer)
    assert log_out(client, token).status_code == 200
    RevokedToken.objects.all().delete()
    again = log_out(client, token)
    assert (again.status_code, again.json()["error_description"]) == (400, "The token was received before.")
    assert not revoked()


@pytest.mark.parametrize(
    "spoilt",
    [
        {"aud": "other"},
        {"iss": "https://unknown.example.com"},
        {"nonce": "n"},
        {"events": {}},
        {"events": ABSENT},
        {"sub": ABSENT, "sid": ABSENT},
        {"iat": int(time.time()) - 3600},
        {"iat": int(time.time()) + 3600},
        {"exp": int(time.time()) - 3600},
        {"jti": ABSENT},
        {"typ": "at+jwt"},
        {"typ": "secevent+jwt"},
        {"header": {"kid": "RS256-attacker"}},
        {"header": {"alg": "none"}},
    ],
)
def test_a_logout_that_is_not_the_providers_word_to_us_ends_nothing(client, login_client, issuer, console, spoilt):
    session = console(session_digest="1")
    answer = log_out(client, logout_token(issuer, **spoilt))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert not revoked()
    assert not SeenToken.objects.exists()
    assert is_open(session)


def test_an_access_token_is_no_logout_token(client, provider, issuer):
    assert log_out(client, issuer.token()).status_code == 400
    assert log_out(client, "").status_code == 400
    assert not revoked()


def test_a_provider_that_is_not_active_logs_nobody_out(client, login_client, issuer, provider):
    provider.is_active = False
    provider.save()
    assert log_out(client, logout_token(issuer)).status_code == 400


# Security events.


def test_a_revoked_session_ends_with_its_console_sessions(pusher, transmitter, console):
    session = console(session_digest="1")
    subject = {"format": "complex", "user": ADA, "session": {"format": "opaque", "id": "s-1"}}
    answer = pusher(set_token(sub_id=subject))
    assert (answer.status_code, answer.content) == (202, b"")
    assert revoked() == {("session", ISSUER, "s-1"), ("sessionless", ISSUER, "ada")}
    assert not is_open(session)
    transmitter.refresh_from_db()
    assert transmitter.last_event_at is not None


@pytest.mark.parametrize(
    "name",
    [
        CAEP + "session-revoked",
        CAEP + "token-claims-change",
        CAEP + "credential-change",
        RISC + "account-credential-change-required",
    ],
)
def test_what_a_subject_was_issued_before_the_event_is_refused(pusher, console, name):
    session = console(session_digest="1")
    moment = int(time.time()) - 30
    assert pusher(set_token(name, {"event_timestamp": moment})).status_code == 202
    row = RevokedToken.objects.get()
    assert (row.kind, row.issuer, row.value) == ("subject", ISSUER, "ada")
    assert row.issued_until == datetime.fromtimestamp(moment, UTC)
    assert (row.source, row.reason) == ("event", f"Security event {name.rpartition('/')[2]} from Hub.")
    assert not is_open(session)


def test_a_changed_credential_concerns_every_session(pusher):
    subject = {"user": ADA, "session": {"format": "opaque", "id": "s-1"}}
    assert pusher(set_token(CAEP + "credential-change", sub_id=subject)).status_code == 202
    assert revoked() == {("subject", ISSUER, "ada")}


def test_one_token_can_be_revoked_by_its_id(pusher):
    subject = {"format": "jwt_id", "iss": ISSUER, "jti": "t-1"}
    assert pusher(set_token(sub_id=subject)).status_code == 202
    assert revoked() == {("token_id", ISSUER, "t-1")}


@pytest.mark.parametrize("name", ["account-disabled", "account-purged"])
def test_a_disabled_account_is_locked_even_if_it_was_never_seen(pusher, console, name):
    session = console(session_digest="1")
    assert pusher(set_token(RISC + name, {"reason": "hijacking"})).status_code == 202
    lock = Lock.objects.get()
    assert (lock.kind, lock.source, lock.principal.subject) == ("principal", "event", "ada")
    assert lock.reason == f"Security event {name} (hijacking) from Hub."
    assert revoked() == {("subject", ISSUER, "ada")}
    assert not is_open(session)


def test_an_enabled_account_is_unlocked_unless_a_person_locked_it(pusher):
    pusher(set_token(RISC + "account-disabled"))
    principal = Principal.objects.get()
    by_person = services.lock_place(
        kind="principal", principal=principal, reason="x", source="console", now=datetime.now(UTC)
    )
    assert pusher(set_token(RISC + "account-enabled")).status_code == 202
    in_force = Lock.objects.filter(services.in_force(datetime.now(UTC) + timedelta(seconds=1)))
    assert list(in_force) == [by_person]


def test_an_old_enabling_that_arrives_late_does_not_unlock(pusher):
    now = int(time.time())
    pusher(set_token(RISC + "account-disabled", toe=now - 10))
    assert pusher(set_token(RISC + "account-enabled", toe=now - 20)).status_code == 202
    assert Lock.objects.get().lifted_at is None
    assert pusher(set_token(RISC + "account-enabled", toe=now - 5)).status_code == 202
    assert Lock.objects.get().lifted_at is not None


def test_enabling_somebody_who_is_unknown_changes_nothing(pusher):
    assert pusher(set_token(RISC + "account-enabled")).status_code == 202
    assert not Principal.objects.exists()


@pytest.mark.parametrize(
    "name",
    [
        CAEP + "assurance-level-change",
        RISC + "identifier-changed",
        "https://schemas.openid.net/secevent/ssf/event-type/verification",
    ],
)
def test_other_events_are_acknowledged_and_change_nothing(pusher, name):
    email = {"format": "email", "email": "ada@example.com"}
    assert pusher(set_token(name, {"state": "x"}, sub_id=email)).status_code == 202
    assert not revoked()
    assert not Lock.objects.exists()


def test_an_event_that_comes_again_is_acknowledged_and_has_no_effect_again(pusher):
    token = set_token(RISC + "account-disabled")
    assert pusher(token).status_code == 202
    Lock.objects.all().delete()
    assert pusher(token).status_code == 202
    assert not Lock.objects.exists()


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        ({"iss": "https://evil.example.com"}, "invalid_issuer"),
        ({"aud": "https://other.example.com"}, "invalid_audience"),
        ({"key": signing_key("ES256", "attacker")}, "invalid_key"),
        ({"typ": "JWT"}, "invalid_request"),
        ({"typ": "logout+jwt"}, "invalid_request"),
        ({"iat": int(time.time()) - 8 * 86_400}, "invalid_request"),
        ({"jti": ABSENT}, "invalid_request"),
        ({"sub": "ada"}, "invalid_request"),
        ({"sub_id": {"format": "email", "email": "ada@example.com"}}, "invalid_request"),
        ({"sub_id": {**ADA, "iss": "https://other.example.com"}}, "invalid_request"),
        ({"events": {}}, "invalid_request"),
    ],
)
def test_an_event_that_is_forged_or_not_for_us_is_refused_with_the_code_of_the_specification(pusher, spoilt, code):
    answer = pusher(set_token(**spoilt))
    assert (answer.status_code, answer.json()["err"]) == (400, code)
    assert answer.headers["Content-Language"] == "en"
    assert answer.json()["description"]
    assert not revoked()
    assert not SeenToken.objects.exists()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "application/secevent+jwt"),
        (b"hello", "application/secevent+jwt"),
        (b"x" * (BODY_BYTES + 1), "application/secevent+jwt"),
        (set_token(), "application/jwt"),
        (set_token(), "application/json"),
    ],
)
def test_what_is_not_one_security_event_token_is_an_invalid_request(pusher, body, content_type):
    answer = pusher(body, content_type)
    assert (answer.status_code, answer.json()["err"]) == (400, "invalid_request")


def test_pushing_needs_an_api_token(client, transmitter):
    for headers in ({}, {"Authorization": "Bearer wg_" + "x" * 57}, {"Authorization": "Basic eDp5"}):
        answer = client.post("/events/push", set_token(), "application/secevent+jwt", headers=headers)
        assert (answer.status_code, answer.json()["err"]) == (401, "authentication_failed")
    assert not revoked()


def test_pushing_needs_the_scope_for_it(client, transmitter, api_token):
    answer = client.post("/events/push", set_token(), "application/secevent+jwt", headers=api_token("scim"))
    assert (answer.status_code, answer.json()["err"]) == (403, "access_denied")
    assert not revoked()


def test_an_api_token_of_another_provider_pushes_nothing_about_this_one(client, transmitter, api_token):
    other = services.provider_save(
        name="Other", issuer="https://other.example.com", audiences=["x"], now=datetime.now(UTC)
    )
    headers = api_token("events", provider=other)
    answer = client.post("/events/push", set_token(), "application/secevent+jwt", headers=headers)
    assert (answer.status_code, answer.json()["err"]) == (400, "invalid_issuer")
    assert not revoked()


def test_a_transmitter_that_is_not_active_is_unknown(pusher, transmitter):
    transmitter.is_active = False
    transmitter.save()
    assert pusher(set_token()).json()["err"] == "invalid_issuer"


def test_a_transmitter_without_keys_of_its_own_signs_with_those_of_the_provider(pusher, transmitter, issuer):
    transmitter.pinned_jwks = None
    transmitter.save()
    key = issuer.signing["ES256"]
    assert pusher(set_token(key=key)).status_code == 202
    assert pusher(set_token()).json()["err"] == "invalid_key"


def test_while_the_keys_cannot_be_had_the_transmitter_is_asked_to_try_again(pusher, transmitter):
    transmitter.pinned_jwks, transmitter.jwks_url = None, "https://127.0.0.1:1/keys"
    transmitter.save()
    answer = pusher(set_token())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert not SeenToken.objects.exists()

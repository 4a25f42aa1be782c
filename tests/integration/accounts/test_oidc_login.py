"""Logging in at an OpenID provider: what opens the console, and everything that must not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import threading
from datetime import timedelta
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import services
from accounts.models import ConsoleSession, LoginClient, Principal, RoleGrant, User
from accounts.oidc import discovery
from accounts.services import login_clients
from tests.support.idp import ABSENT, Issuer, Misbehaviour, encoded, signed, signing_key

NOW = timezone.now()
SECRET = "client-canary-8T"

pytestmark = pytest.mark.django_db


def get(url):
    """Ask without following redirects; return status and Location."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.getheader("Location") or ""


class Place:
    """A provider whose people may log in, and the steps of a login there."""

    def __init__(self, issuer: Issuer, name: str = "Main", **values):
        self.issuer = issuer
        issuer.client_secret = SECRET
        self.provider = services.provider_save(
            **{"name": name, "issuer": issuer.issuer, "allowed_networks": ["127.0.0.0/8"], "requires_nbf": False}
            | values,
            now=NOW,
        )
        self.client = login_clients.login_client_save(
            provider=self.provider, client_id="console", secret=SECRET, scopes=["profile", "groups"], now=NOW
        )
        self.give("sre", "operator")

    def give(self, group, role):
        row = services.group_save(provider=self.provider, name=group, now=NOW)
        services.role_grant_save(group=row, role=role, now=NOW)
        return row

    def begin(self, browser, **query):
        """Return the URL at the provider to which the browser is sent."""
        return browser.get(reverse("console_oidc_begin", args=[self.client.pk]), query).headers["Location"]

    def back(self, browser, begun=None, person="alice", **query):
        """Return the path with which the browser comes back from the provider."""
        begun = begun or self.begin(browser, **query)
        _, location = get(f"{begun}&{urlencode({'login_hint': person})}")
        parts = urlsplit(location)
        return f"{parts.path}?{parts.query}"

    def log_in(self, browser, person="alice", **query):
        return browser.get(self.back(browser, person=person, **query))


@pytest.fixture(scope="module")
def served():
    issuer = Issuer("http://127.0.0.1:1")
    with issuer.serving():
        yield issuer


@pytest.fixture(scope="module")
def served_beside():
    issuer = Issuer("http://127.0.0.1:1", name="beside")
    with issuer.serving():
        yield issuer


def fresh(issuer):
    """The same server, as if it had just begun."""
    issuer.misbehaviour, issuer.granted = Misbehaviour(), []
    issuer.people["alice"].groups = ("sre",)
    return issuer


@pytest.fixture
def idp(served):
    discovery.forget()
    return fresh(served)


@pytest.fixture
def beside(served_beside):
    """Another provider."""
    return Place(fresh(served_beside), name="Beside")


@pytest.fixture
def place(idp):
    return Place(idp)


def is_in(browser):
    return browser.get("/admin/").status_code == 200


def assert_out(browser, caplog=None, reason=None):
    assert not is_in(browser)
    if caplog is not None:
        assert [record.code for record in caplog.records if hasattr(record, "code")] == [reason]
    assert not ConsoleSession.objects.exists()
    assert not User.objects.exists()


def changed(path, **parameters):
    """The same way back with other parameters; `ABSENT` leaves one out."""
    parts = urlsplit(path)
    query = {
        name: value for name, value in {**dict(parse_qsl(parts.query)), **parameters}.items() if value is not ABSENT
    }
    return f"{parts.path}?{urlencode(query)}"


def test_a_member_of_a_group_with_a_role_gets_in_as_the_principal(client, place):
    answer = place.log_in(client, next="/admin/connections/connection/")
    assert answer.url == "/admin/connections/connection/"
    user = User.objects.get()
    assert (user.principal.issuer, user.principal.subject) == (place.issuer.issuer, "alice")
    assert (user.role_names, user.is_superuser, user.has_usable_password()) == (["operator"], False, False)
    assert (user.first_name, user.email) == ("Alice Example", "alice@example.org")
    row = ConsoleSession.objects.get()
    assert (row.method, row.issuer, row.subject) == ("oidc", place.issuer.issuer, "alice")
    assert client.get(reverse("admin:connections_connection_add")).status_code == 200
    assert client.get(reverse("admin:accounts_identityprovider_add")).status_code == 403


def test_the_request_has_pkce_state_nonce_and_its_own_redirect(client, place, settings):
    query = parse_qs(urlsplit(place.begin(client)).query)
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["scope"] == ["openid profile groups"]
    assert query["redirect_uri"] == [
        f"{settings.WARDGATE_PUBLIC_URL}{reverse('console_oidc_callback', args=[place.client.pk])}"
    ]
    assert len(query["state"][0]) >= 43
    assert len(query["nonce"][0]) >= 43
    assert len(query["code_challenge"][0]) == 43
    client.get(place.back(client))
    [form] = place.issuer.granted
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert len(base64.urlsafe_b64encode(digest).rstrip(b"=")) == 43
    assert "client_secret" not in form
    assert form["authorization"] == "Basic " + base64.b64encode(f"console:{SECRET}".encode()).decode()


def test_no_token_is_kept(client, place):
    place.log_in(client)
    stored = json.dumps(dict(client.session))
    assert "eyJ" not in stored
    assert SECRET not in stored


def test_a_provider_that_takes_the_secret_in_the_body_gets_it_there(client, place):
    place.issuer.misbehaviour.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    place.log_in(client)
    assert is_in(client)
    assert place.issuer.granted[0]["client_secret"] == SECRET


def test_groups_come_from_the_user_info_where_the_token_has_none(client, place):
    place.issuer.misbehaviour.id_claims = {"groups": ABSENT}
    place.log_in(client)
    assert is_in(client)
    assert User.objects.get().role_names == ["operator"]


def test_the_second_login_is_the_same_person_with_the_roles_of_now(client, place):
    place.log_in(client)
    place.give("platform", "owner")
    place.issuer.people["alice"].groups = ("platform",)
    place.log_in(Client())
    assert User.objects.get().role_names == ["owner"]
    assert Principal.objects.count() == 1


def test_who_has_left_every_group_gets_in_no_more_and_keeps_no_role(client, place):
    place.log_in(client)
    place.issuer.people["alice"].groups = ()
    other = Client()
    answer = place.log_in(other)
    assert answer.url == reverse("admin:login")
    assert "has a role in this console" in other.get(answer.url).content.decode()
    assert not is_in(other)
    assert User.objects.get().role_names == []


def test_a_person_with_a_role_of_their_own_needs_no_group(client, place):
    place.issuer.people["alice"].groups = ()
    principal = services.principal_ensure(issuer=place.issuer.issuer, subject="alice", now=NOW)
    user = User.objects.create(username="alice", principal=principal, is_staff=True)
    RoleGrant.objects.create(user=user, role="viewer")
    place.log_in(client)
    assert is_in(client)


# What a token, a provider or an attacker may send instead.

REASONS = {
    "issuer of another": "token_issuer",
    "issuer with a slash": "token_issuer",
    "audience of another client": "token_audience",
    "audience missing": "token_claim_missing",
    "audience empty": "token_audience",
    "audience of the gateway": "token_audience",
    "two audiences without azp": "token_claim_missing",
    "azp of another client": "token_party",
    "azp of another client among two": "token_party",
    "nonce missing": "token_claim_missing",
    "nonce of another login": "token_nonce",
    "nonce of another type": "token_claim_type",
    "expired": "token_expired",
    "no end": "token_claim_missing",
    "end as a text": "token_claim_type",
    "no beginning": "token_claim_missing",
    "made in the future": "token_not_yet_valid",
    "made long ago": "token_too_old",
    "not valid yet": "token_not_yet_valid",
    "no subject": "token_claim_missing",
    "subject empty": "token_claim_type",
    "subject of another type": "token_claim_type",
    "at_hash of another token": "token_at_hash",
    "a logout token": "token_type",
    "an access token of cognito": "token_type",
    "groups of another type": "token_claim_type",
    "groups left out": "login_not_allowed",
    "bound to a key": "token_type",
    "alg none": "token_algorithm",
    "alg none with the signature": "token_algorithm",
    "alg NONE": "token_algorithm",
    "hmac with the public key": "token_algorithm",
    "hmac with the client secret": "token_algorithm",
    "another key": "token_signature",
    "a key that the token brings": "token_signature",
    "an unknown key id": "token_key_unknown",
    "an algorithm that is not accepted": "token_algorithm",
    "an unknown critical header": "token_header",
    "the type of an access token": "token_type",
    "the type of a logout token": "token_type",
    "a cut signature": "token_malformed",
    "a signature of nothing": "token_malformed",
    "padding": "token_malformed",
    "four segments": "token_malformed",
    "a member twice": "token_malformed",
    "nothing": "token_missing",
    "not a text": "token_response",
    "missing": "token_missing",
    "longer than 16 KiB": "token_response",
    "an access token by its claims": "token_type",
    "no state": "state_unknown",
    "another state": "state_unknown",
    "an empty state": "state_unknown",
    "no code": "provider_refuses",
    "an empty code": "provider_refuses",
    "a code of nobody": "provider_refuses",
    "the name of another provider": "issuer_mixed_up",
    "no name of a provider that gives it": "issuer_missing",
    "an empty name": "issuer_mixed_up",
    "an error": "provider_refuses",
}
"""The check that has to refuse each of what follows: another one would mean that the test tries something else."""

BAD_CLAIMS = {
    "issuer of another": {"iss": "https://evil.example"},
    "issuer with a slash": {"iss": "SLASH"},
    "audience of another client": {"aud": "other"},
    "audience missing": {"aud": ABSENT},
    "audience empty": {"aud": []},
    "audience of the gateway": {"aud": "https://gateway.example/mcp/orders"},
    "two audiences without azp": {"aud": ["console", "other"]},
    "azp of another client": {"azp": "other"},
    "azp of another client among two": {"aud": ["console", "other"], "azp": "other"},
    "nonce missing": {"nonce": ABSENT},
    "nonce of another login": {"nonce": "x" * 43},
    "nonce of another type": {"nonce": ["x"]},
    "expired": {"exp": 1_700_000_000, "iat": 1_699_999_900, "nbf": ABSENT},
    "no end": {"exp": ABSENT},
    "end as a text": {"exp": "9999999999"},
    "no beginning": {"iat": ABSENT},
    "made in the future": {"iat": 4_000_000_000, "exp": 4_000_000_300, "nbf": ABSENT},
    "made long ago": {"iat": 1_700_000_000, "exp": 4_000_000_000, "nbf": ABSENT},
    "not valid yet": {"nbf": 4_000_000_000},
    "no subject": {"sub": ABSENT},
    "subject empty": {"sub": ""},
    "subject of another type": {"sub": 7},
    "at_hash of another token": {"at_hash": "x" * 22},
    "a logout token": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    "an access token of cognito": {"token_use": "access"},
    "groups of another type": {"groups": {"sre": True}},
    "groups left out": {"_claim_names": {"groups": "src1"}},
    "bound to a key": {"cnf": {"jkt": "x"}},
}


@pytest.mark.parametrize("what", BAD_CLAIMS)
def test_no_other_token_opens_the_console(client, place, caplog, what):
    claims = BAD_CLAIMS[what]
    if claims.get("iss") == "SLASH":
        claims = {"iss": place.issuer.issuer + "/"}
    place.issuer.misbehaviour.id_claims = claims
    place.log_in(client)
    assert_out(client, caplog, REASONS[what])


def hmac_signed(token: str, key: bytes) -> str:
    message = encoded({"alg": "HS256", "kid": "RS256-1"}) + b"." + token.split(".")[1].encode()
    return (message + b"." + encoded(hmac.digest(key, message, "sha256"))).decode()


def public_pem() -> bytes:
    return signing_key("RS256").as_pem(private=False)


def with_header(token: str, **header) -> str:
    _, claims, signature = token.split(".")
    return f"{encoded(header).decode()}.{claims}.{signature}"


def resigned(token: str, header: dict, algorithm: str, name: str) -> str:
    claims = base64.urlsafe_b64decode(token.split(".")[1] + "==")
    return signed(header, claims, signing_key(algorithm, name), algorithm)


BAD_TOKENS = {
    "alg none": lambda token: f"{encoded({'alg': 'none'}).decode()}.{token.split('.')[1]}.",
    "alg none with the signature": lambda token: with_header(token, alg="none"),
    "alg NONE": lambda token: with_header(token, alg="NONE"),
    "hmac with the public key": lambda token: hmac_signed(token, public_pem()),
    "hmac with the client secret": lambda token: hmac_signed(token, SECRET.encode() + b"-0123456789abcdef"),
    "another key": lambda token: resigned(token, {"alg": "RS256", "kid": "RS256-1"}, "RS256", "stranger"),
    "a key that the token brings": lambda token: resigned(
        token, {"alg": "RS256", "jwk": signing_key("RS256", "stranger").as_dict(private=False)}, "RS256", "stranger"
    ),
    "an unknown key id": lambda token: resigned(token, {"alg": "RS256", "kid": "../x"}, "RS256", "1"),
    "an algorithm that is not accepted": lambda token: resigned(
        token, {"alg": "PS256", "kid": "RS256-1"}, "RS256", "1"
    ),
    "an unknown critical header": lambda token: resigned(
        token, {"alg": "RS256", "kid": "RS256-1", "crit": ["x"], "x": 1}, "RS256", "1"
    ),
    "the type of an access token": lambda token: resigned(
        token, {"alg": "RS256", "kid": "RS256-1", "typ": "at+jwt"}, "RS256", "1"
    ),
    "the type of a logout token": lambda token: resigned(
        token, {"alg": "RS256", "kid": "RS256-1", "typ": "logout+jwt"}, "RS256", "1"
    ),
    "a cut signature": lambda token: token[:-5],
    "a signature of nothing": lambda token: token.rpartition(".")[0] + ".",
    "padding": lambda token: token + "=",
    "an access token by its claims": lambda token: signed(
        {"alg": "RS256", "kid": "RS256-1"},
        base64.urlsafe_b64decode(token.split(".")[1] + "==")[:-1] + b',"typ":"Bearer"}',
        signing_key("RS256"),
        "RS256",
    ),
    "four segments": lambda token: token + ".x",
    "a member twice": lambda token: signed(
        {"alg": "RS256", "kid": "RS256-1"},
        base64.urlsafe_b64decode(token.split(".")[1] + "==")[:-1] + b',"sub":"bob"}',
        signing_key("RS256"),
        "RS256",
    ),
    "nothing": lambda token: "",
    "not a text": lambda token: {"token": token},
    "missing": lambda token: ABSENT,
    "longer than 16 KiB": lambda token: token + "A" * 20_000,
}


@pytest.mark.parametrize("what", BAD_TOKENS)
def test_no_forged_token_opens_the_console(client, place, caplog, what):
    place.issuer.misbehaviour.id_token = BAD_TOKENS[what]
    place.log_in(client)
    assert_out(client, caplog, REASONS[what])


BAD_WAYS_BACK = {
    "no state": {"state": ABSENT},
    "another state": {"state": "x" * 43},
    "an empty state": {"state": ""},
    "no code": {"code": ABSENT},
    "an empty code": {"code": ""},
    "a code of nobody": {"code": "x" * 22},
    "the name of another provider": {"iss": "https://evil.example"},
    "no name of a provider that gives it": {"iss": ABSENT},
    "an empty name": {"iss": ""},
    "an error": {"error": "access_denied"},
}


@pytest.mark.parametrize("what", BAD_WAYS_BACK)
def test_no_other_way_back_opens_the_console(client, place, caplog, what):
    answer = client.get(changed(place.back(client), **BAD_WAYS_BACK[what]))
    assert answer.url == reverse("admin:login")
    assert_out(client, caplog, REASONS[what])


def test_parameters_that_come_twice_are_refused(client, place):
    for name in ("state", "code", "iss"):
        path = place.back(client)
        value = parse_qs(urlsplit(path).query)[name][0]
        client.get(f"{path}&{urlencode({name: value})}")
    assert_out(client)


def test_a_way_back_is_good_once(client, place):
    path = place.back(client)
    client.get(path)
    client.post(reverse("admin:logout"))
    client.get(path)
    assert not is_in(client)
    assert len(place.issuer.granted) == 1


@pytest.mark.django_db(transaction=True)
def test_a_way_back_that_comes_twice_at_once_is_good_once(client, place, settings):
    from django.db import connections

    path = place.back(client)
    key = client.cookies[settings.SESSION_COOKIE_NAME].value
    place.issuer.misbehaviour.delay_seconds = 0.1
    barrier = threading.Barrier(2, timeout=10)

    def come_back():
        browser = Client()
        browser.cookies[settings.SESSION_COOKIE_NAME] = key
        barrier.wait()
        browser.get(path)
        connections.close_all()

    threads = [threading.Thread(target=come_back) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(place.issuer.granted) == 1


def test_a_refused_login_uses_its_state_up(client, place):
    path = place.back(client)
    client.get(changed(path, error="access_denied"))
    client.get(path)
    assert_out(client)
    assert place.issuer.granted == []


def test_a_state_lasts_ten_minutes(client, place):
    path = place.back(client)
    session = client.session
    for held in session["oidc_states"].values():
        held["added_on"] -= 601
    session.save()
    client.get(path)
    assert_out(client)


def test_a_code_of_somebody_else_is_not_injected(client, place):
    """The attacker's code and state do nothing in the victim's browser, nor their code with the victim's state."""
    attacker = Client()
    theirs = place.back(attacker, person="bob")
    client.get(theirs)
    assert_out(client)
    code = parse_qs(urlsplit(theirs).query)["code"][0]
    client.get(changed(place.back(client), code=code))
    assert_out(client)


def test_a_provider_that_ignores_pkce_still_cannot_be_used_to_inject_a_code(client, place, caplog):
    """The nonce binds the token to the browser where the provider forgets the verifier."""
    attacker = Client()
    begun = changed(place.begin(attacker), code_challenge=ABSENT, code_challenge_method=ABSENT)
    full = place.issuer.issuer + "/oauth2/authorize?" + urlsplit(begun).query
    code = parse_qs(urlsplit(place.back(attacker, begun=full, person="bob")).query)["code"][0]
    client.get(changed(place.back(client), code=code))
    assert_out(client, caplog, "token_nonce")


def test_an_answer_of_one_provider_is_not_taken_by_another(client, place, beside):
    """Mix-up (RFC 9700 section 4.4): the code of the honest provider never goes to the other one."""
    client.get(f"{reverse('console_oidc_callback', args=[beside.client.pk])}?{urlsplit(place.back(client)).query}")
    assert_out(client)
    state = parse_qs(urlsplit(beside.begin(client)).query)["state"][0]
    honest = place.back(client)
    code = parse_qs(urlsplit(honest).query)["code"][0]
    client.get(changed(honest, state=state))
    assert_out(client)
    state = parse_qs(urlsplit(beside.begin(client)).query)["state"][0]
    back = reverse("console_oidc_callback", args=[beside.client.pk])
    client.get(f"{back}?{urlencode({'code': code, 'state': state, 'iss': place.issuer.issuer})}")
    assert_out(client)
    assert beside.issuer.granted == []


def test_user_info_of_somebody_else_gives_no_groups(client, place):
    place.issuer.misbehaviour.id_claims = {"groups": ABSENT}
    place.issuer.misbehaviour.userinfo = {"sub": "mallory"}
    place.log_in(client)
    assert_out(client)


@pytest.mark.parametrize(
    "discovered",
    [
        {"issuer": "https://evil.example"},
        {"issuer": ABSENT},
        {"token_endpoint": ABSENT},
        {"token_endpoint": "javascript:alert(1)"},
        {"authorization_endpoint": "ftp://x/"},
        {"authorization_endpoint": ["http://127.0.0.1/"]},
        {"token_endpoint": "http://169.254.169.254/latest/"},
    ],
)
def test_a_discovery_document_that_is_not_its_own_leads_nowhere(client, place, discovered):
    place.issuer.misbehaviour.discovery = discovered
    answer = client.get(reverse("console_oidc_begin", args=[place.client.pk]))
    if "169.254" in str(discovered):
        place.log_in(client)
    else:
        assert answer.url == reverse("admin:login")
    assert_out(client)
    assert place.issuer.granted == []


@pytest.mark.parametrize(
    "grant", [{"token_type": "DPoP"}, {"token_type": ABSENT}, {"access_token": 7}, {"access_token": "a\nb"}]
)
def test_an_odd_answer_of_the_token_endpoint_is_no_login(client, place, grant):
    place.issuer.misbehaviour.grant = grant
    place.log_in(client)
    assert_out(client)


def test_a_provider_that_answers_with_a_redirect_or_much_is_no_login(client, place):
    path = place.back(client)
    place.issuer.misbehaviour.padding_bytes = 1024 * 1024
    client.get(path)
    place.issuer.misbehaviour.padding_bytes = 0
    path = place.back(client)
    place.issuer.misbehaviour.redirect_to = place.issuer.issuer + "/elsewhere"
    client.get(path)
    assert_out(client)


def test_the_same_address_at_two_providers_is_two_people(client, place, beside):
    """E-mail is display only: A8, "nOAuth"."""
    place.log_in(client)
    mine = Client()
    beside.log_in(mine)
    assert is_in(mine)
    assert User.objects.count() == 2
    assert set(User.objects.values_list("email", flat=True)) == {"alice@example.org"}


def test_an_address_does_not_take_over_a_local_account(client, place):
    root = User.objects.create_superuser("root", email="alice@example.org", password="correct horse battery")
    place.log_in(client)
    root.refresh_from_db()
    assert root.principal is None
    assert User.objects.exclude(pk=root.pk).get().is_superuser is False


def test_a_subject_that_spells_a_local_account_does_not_become_it(client, place):
    User.objects.create_superuser("main.alice", password="correct horse battery")
    place.log_in(client)
    assert User.objects.filter(username__startswith="main.alice-").get().is_superuser is False


def test_a_provider_does_not_open_an_emergency_account(client, place):
    principal = services.principal_ensure(issuer=place.issuer.issuer, subject="alice", now=NOW)
    User.objects.create_superuser("root", password="correct horse battery", principal=principal)
    place.log_in(client)
    assert not is_in(client)


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_a_login_leads_to_no_other_site(client, place, target):
    assert place.log_in(client, next=target).url == reverse("admin:index")


def test_the_session_key_changes_with_the_login(client, place, settings):
    path = place.back(client)
    before = client.cookies[settings.SESSION_COOKIE_NAME].value
    client.get(path)
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != before
    attacker = Client()
    attacker.cookies[settings.SESSION_COOKIE_NAME] = before
    assert not is_in(attacker)


def test_tenants_and_required_claims_count_for_logins_too(client, place):
    place.provider.tenants, place.provider.required_claims = ["t-1"], {"hd": ["acme.example"]}
    place.provider.save()
    place.log_in(client)
    assert_out(client)
    place.issuer.misbehaviour.id_claims = {"tid": "t-2", "hd": "acme.example"}
    place.log_in(client)
    assert_out(client)
    place.issuer.misbehaviour.id_claims = {"tid": "t-1", "hd": "acme.example"}
    place.log_in(client)
    assert is_in(client)


# Being stopped, and ending from elsewhere.


def lock(**target):
    return services.lock_place(reason="stolen laptop", source="console", now=timezone.now(), **target)


@pytest.mark.parametrize("kind", ["principal", "group", "provider"])
def test_a_lock_ends_the_login_with_the_next_request_and_keeps_it_out(client, place, kind):
    place.log_in(client)
    assert is_in(client)
    target = {
        "principal": Principal.objects.get(),
        "provider": place.provider,
        "group": place.provider.groups.get(name="sre"),
    }[kind]
    held = lock(kind=kind, **{kind: target})
    assert not is_in(client)
    other = Client()
    place.log_in(other)
    assert not is_in(other)
    services.lock_lift(lock_id=held.pk, now=timezone.now())
    place.log_in(other)
    assert is_in(other)


def test_a_lock_of_somebody_else_stops_nobody(client, place):
    place.log_in(client)
    stranger = services.principal_ensure(issuer="https://other.example", subject="alice", now=NOW)
    other = services.provider_save(name="Other", issuer="https://other.example", now=NOW)
    lock(kind="principal", principal=stranger)
    lock(kind="provider", provider=other)
    lock(kind="group", group=services.group_save(provider=other, name="sre", now=NOW))
    assert is_in(client)


def test_a_provider_that_is_switched_off_takes_its_logins_along(client, place):
    place.log_in(client)
    place.provider.is_active = False
    place.provider.save()
    assert not is_in(client)
    assert client.get(reverse("console_oidc_begin", args=[place.client.pk])).url == reverse("admin:login")


def test_the_provider_ends_one_session_or_all_of_a_subject(client, place):
    place.issuer.misbehaviour.id_claims = {"sid": "s-1"}
    place.log_in(client)
    other = Client()
    place.issuer.misbehaviour.id_claims = {"sid": "s-2"}
    place.log_in(other)
    issuer = place.issuer.issuer
    assert services.console_sessions_end(issuer=issuer, provider_session="s-1", now=timezone.now()) == 1
    assert not is_in(client)
    assert is_in(other)
    assert services.console_sessions_end(issuer="https://evil.example", subject="alice", now=timezone.now()) == 0
    assert is_in(other)
    assert services.console_sessions_end(issuer=issuer, subject="alice", now=timezone.now()) == 1
    assert not is_in(other)


def test_taking_a_role_away_takes_it_from_those_who_are_logged_in(client, place):
    place.log_in(client)
    services.role_grant_delete(role_grant_id=RoleGrant.objects.get().pk, now=timezone.now())
    assert not is_in(client)
    assert User.objects.get().role_names == []


# A fresh proof.


def grow_old():
    ConsoleSession.objects.update(authenticated_at=timezone.now() - timedelta(seconds=301))


def test_a_fresh_proof_asks_the_provider_for_a_fresh_login(client, place):
    place.log_in(client)
    grow_old()
    begun = place.begin(client, proof="1", next="/admin/accounts/lock/")
    query = parse_qs(urlsplit(begun).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
    before = ConsoleSession.objects.get()
    assert client.get(place.back(client, begun=begun)).url == "/admin/accounts/lock/"
    after = ConsoleSession.objects.get()
    assert after.pk == before.pk
    assert after.authenticated_at > before.authenticated_at


@pytest.mark.parametrize("auth_time", [ABSENT, 1_700_000_000, "now"])
def test_a_provider_that_did_not_ask_anew_proves_nothing(client, place, auth_time):
    place.log_in(client)
    grow_old()
    place.issuer.misbehaviour.id_claims = {"auth_time": auth_time}
    before = ConsoleSession.objects.get().authenticated_at
    place.log_in(client, proof="1")
    assert ConsoleSession.objects.get().authenticated_at == before


def is_proof_recent(client):
    """Whether a dangerous page opens without asking."""
    answer = client.get(reverse("console_proof_done"))
    assert answer.status_code in {200, 302}
    return answer.status_code == 200


@pytest.mark.parametrize("auth_time", [ABSENT, 1_700_000_000, -1])
def test_a_login_by_a_session_that_was_open_at_the_provider_is_no_proof(client, place, auth_time):
    place.issuer.misbehaviour.id_claims = {"auth_time": auth_time}
    place.log_in(client)
    assert is_in(client)
    assert not is_proof_recent(client)


@pytest.mark.parametrize("ahead", [0, 10**12])
def test_a_login_with_a_password_of_this_moment_is_a_proof_and_none_of_the_future(client, place, ahead):
    place.issuer.misbehaviour.id_claims = {"auth_time": int(timezone.now().timestamp()) + ahead}
    place.log_in(client)
    assert is_proof_recent(client)
    assert ConsoleSession.objects.get().authenticated_at <= timezone.now()


def test_what_a_form_asked_is_not_done_when_a_proof_is_asked_for_and_the_person_is_told(client, place):
    place.give("sre", "owner")
    place.log_in(client)
    grow_old()
    row = RoleGrant.objects.first()
    path = reverse("admin:accounts_rolegrant_delete", args=[row.pk])
    asked = client.post(path, {"post": "yes"})
    assert asked.url == f"{reverse('console_proof')}?{urlencode({'next': path})}"
    assert "Confirmed" not in client.get(asked.url).content.decode()
    place.log_in(client, proof="1", next=path)
    assert "What you chose was not done yet" in client.get(path).content.decode()
    assert RoleGrant.objects.filter(pk=row.pk).exists()


def test_somebody_else_proves_nothing_for_this_login(client, place):
    place.give("support", "viewer")
    place.log_in(client)
    grow_old()
    before = ConsoleSession.objects.get().authenticated_at
    place.log_in(client, person="bob", proof="1")
    assert ConsoleSession.objects.get().authenticated_at == before


def test_a_login_that_comes_back_is_not_a_proof_and_a_proof_is_not_a_login(client, place):
    place.log_in(client)
    proof = place.back(client, proof="1")
    client.post(reverse("admin:logout"))
    client.get(proof)
    assert not is_in(client)


# The login page, and the secret.


def test_the_login_page_offers_the_providers_that_are_active(client, place):
    page = client.get(reverse("admin:login"), {"next": "/admin/policies/"}).content.decode()
    assert "Log in with Main" in page
    assert urlencode({"next": "/admin/policies/"}) in page
    LoginClient.objects.update(is_active=False)
    assert "Log in with" not in client.get(reverse("admin:login")).content.decode()
    assert client.get(reverse("console_oidc_begin", args=[place.client.pk])).url == reverse("admin:login")


def test_the_secret_opens_at_its_own_place_only(place):
    row = place.client
    assert login_clients.secret_of(row).reveal() == SECRET.encode()
    for change in ({"client_id": "other"}, {"pk": place.provider.pk}, {"provider_id": row.pk}):
        moved = LoginClient.objects.get()
        for name, value in change.items():
            setattr(moved, name, value)
        with pytest.raises(login_clients.SecretUnusable):
            login_clients.secret_of(moved)


# Somebody who asks and has no role.


def test_without_a_role_one_is_let_in_to_ones_own_requests_alone(client, place):
    place.give("sre", "operator")
    place.issuer.people["alice"].groups = ("nobody",)
    assert place.log_in(client).url == reverse("admin:login")
    assert not ConsoleSession.objects.exists()
    answer = place.log_in(client, next="/approvals/APR-AAAAAA/")
    assert answer.url == "/approvals/APR-AAAAAA/"
    user = User.objects.get()
    assert (user.is_staff, user.role_names, user.get_all_permissions()) == (False, [], set())
    assert not is_in(client)
    assert b'<a href="/approvals/">What you have asked for</a>' in client.get("/admin/login/").content
    for closed in ("/inbox/", "/api/v1/approvals/", "/api/v1/connections/", "/api/v1/metrics/"):
        assert client.get(closed).status_code == 403, closed


def test_whoever_has_lost_every_role_is_no_member_of_the_staff_after_the_next_login(client, place):
    place.log_in(client)
    assert is_in(client)
    place.issuer.people["alice"].groups = ("nobody",)
    place.log_in(client, next="/approvals/")
    assert not User.objects.get().is_staff
    assert not is_in(client)


def test_a_lock_keeps_out_who_has_no_role_too(client, place):
    place.issuer.people["alice"].groups = ("nobody",)
    place.log_in(client, next="/approvals/")
    services.lock_place(
        kind="principal", principal=Principal.objects.get(), reason="gone", source="console", now=timezone.now()
    )
    assert client.get("/approvals/").status_code == 302
    assert place.log_in(client, next="/approvals/").url == reverse("admin:login")

"""Logins, assertions and logouts over SAML, as the services and the views do them."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client

from accounts import services
from accounts.models import ConsoleSession, Group, RoleGrant, SamlAssertion, SamlRequest
from accounts.saml.checks import AssertionRefused
from accounts.services import saml
from accounts.services.people import console_session_begin, person_log_in
from tests.support import saml_idp
from tests.support.saml_idp import deflated, granted, posted, request_in
from tests.support.saml_site import BROWSER, ISSUER, SamlSite, form_body, saml_site

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN_ENDPOINT = "https://gateway.example/oauth/token"

pytestmark = pytest.mark.django_db


@pytest.fixture
def site() -> SamlSite:
    return saml_site(NOW)


@pytest.fixture
def live() -> SamlSite:
    """A site of the present, for what the views do; members of `staff` may enter the console."""
    site = saml_site(datetime.now(UTC).replace(microsecond=0))
    group = Group.objects.create(provider=site.provider, name="staff")
    RoleGrant.objects.create(group=group, role=RoleGrant.Role.VIEWER)
    return site


def refused(code: str):
    return pytest.raises(AssertionRefused, check=lambda error: error.code == code)


# The services.


@pytest.mark.parametrize("signed", ["assertion", "response", "both"])
def test_a_login_says_who_came_back_and_from_where(site, signed):
    request = site.begin(next_path="/admin/sessions/?a=1", now=NOW)
    assert site.answer(site.response(request, sign=signed)) == request
    login = site.finish(request)
    assert (login.issuer, login.subject, login.groups) == (ISSUER, "u-17", {"staff", "sre"})
    assert (login.provider_session, login.next_path) == ("s-1", "/admin/sessions/?a=1")


def test_the_answer_is_gone_once_it_was_used(site):
    request = site.begin(now=NOW)
    site.answer(site.response(request))
    site.finish(request)
    row = SamlRequest.objects.get(pk=request)
    assert (row.answer, row.used_at) == (None, NOW)
    with refused("saml_browser"):
        site.finish(request)


def test_another_browser_neither_logs_in_nor_spoils_the_login(site):
    request = site.begin(now=NOW)
    site.answer(site.response(request))
    with refused("saml_browser"):
        site.finish(request, browser="c" * 43)
    assert site.finish(request).subject == "u-17"


def test_a_login_that_nobody_answered_is_not_finished(site):
    request = site.begin(now=NOW)
    with refused("saml_browser"):
        site.finish(request)


def test_the_browser_is_kept_as_a_digest_only(site):
    request = site.begin(now=NOW)
    assert BROWSER not in SamlRequest.objects.get(pk=request).browser_digest


@pytest.mark.parametrize(
    "next_path",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "///evil.example",
        "\\\\evil.example",
        "evil",
        "/a" * 300,
    ],
)
def test_no_login_ends_on_another_site(site, next_path):
    request = site.begin(next_path=next_path, now=NOW)
    site.answer(site.response(request))
    assert site.finish(request).next_path == ""


def test_a_login_has_ten_minutes(site):
    request = site.begin(now=NOW)
    site.idp.now = NOW + timedelta(seconds=600)
    with refused("saml_request_unknown"):
        site.answer(site.response(request))


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"to": None}, "saml_unsolicited"),
        ({"response_to": None}, "saml_unsolicited"),
        ({"response_to": "_" + "f" * 40}, "saml_request_unknown"),
        ({"to": "_" + "f" * 40}, "saml_request_unknown"),
        ({"to": "x"}, "saml_request_unknown"),
        ({"to": "_" + "F" * 40}, "saml_request_unknown"),
        ({"to": None, "sign": "response"}, "saml_unsolicited"),
        ({"to": None, "sign": "both"}, "saml_unsolicited"),
    ],
)
def test_only_an_answer_to_a_request_that_waits_is_looked_at(site, values, code):
    request = site.begin(now=NOW)
    given = {"to": request, **values}
    document = site.response(given.pop("to"), **given)
    with refused(code):
        site.answer(document)
    assert not SamlAssertion.objects.exists()
    assert SamlRequest.objects.get(pk=request).answered_at is None


def test_an_answer_is_not_tied_to_another_request_by_its_envelope(site):
    """Only the assertion is signed, so anybody can write another request's id around it."""
    first, second = site.begin(now=NOW), site.begin(browser="c" * 43, now=NOW)
    document = site.response(first).decode()
    head, assertion = document[: document.index("<saml:Assertion")], document[document.index("<saml:Assertion") :]
    with refused("saml_in_response_to"):
        site.answer(head.replace(first, second) + assertion)


def test_a_request_is_answered_once(site):
    request = site.begin(now=NOW)
    site.answer(site.response(request))
    with refused("saml_request_unknown"):
        site.answer(site.response(request))


def test_the_same_assertion_answers_no_second_request(site):
    """It names the request, so this takes an identity provider that errs; the memory holds all the same."""
    first, second = site.begin(now=NOW), site.begin(now=NOW)
    site.answer(site.response(first, assertion_id="_same"))
    with refused("saml_replayed"):
        site.answer(site.response(second, assertion_id="_same"))
    assert SamlRequest.objects.get(pk=second).answered_at is None


def test_a_request_of_one_provider_is_not_answered_by_another(site):
    other_provider = services.provider_save(
        name="Other", issuer="https://other.example", jwks_url="https://o/k", now=NOW
    )
    other = services.saml_provider_save(
        name="Other SAML",
        provider=other_provider,
        metadata=saml_idp.SamlIdp("https://idp2.example", "two").metadata(),
        now=NOW,
    )
    request = site.begin(now=NOW)
    their = saml_idp.SamlIdp("https://idp2.example", "two", now=NOW)
    places = saml.saml_places(other.pk)
    with refused("saml_request_unknown"):
        saml.login_answer(
            saml_provider_id=other.pk,
            encoded=posted(their.response(to=request, acs=places.acs, audience=places.entity_id)),
            now=NOW,
        )


def test_a_proof_takes_a_fresh_login_at_the_provider(site):
    request = site.begin(is_proof=True, now=NOW)
    old = f'<saml:AuthnStatement AuthnInstant="{saml_idp.stamp(NOW - timedelta(hours=3))}"><saml:AuthnContext>'
    context = "<saml:AuthnContextClassRef>urn:p</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
    with refused("saml_not_proved"):
        site.answer(site.response(request, logins=old + context))
    site.answer(site.response(request))
    assert site.finish(request).authenticated_at == NOW


def test_an_old_login_at_the_provider_is_no_new_proof(site):
    request = site.begin(now=NOW)
    old = f'<saml:AuthnStatement AuthnInstant="{saml_idp.stamp(NOW - timedelta(hours=3))}"><saml:AuthnContext>'
    context = "<saml:AuthnContextClassRef>urn:p</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
    site.answer(site.response(request, logins=old + context))
    assert site.finish(request).authenticated_at == NOW - timedelta(hours=3)


@pytest.mark.parametrize("field", ["is_active", "allows_console_login"])
def test_a_provider_that_is_switched_off_logs_nobody_in(site, field):
    request = site.begin(now=NOW)
    setattr(site.row, field, False)
    site.row.save()
    with refused("saml_provider"):
        site.answer(site.response(request))
    with refused("saml_provider"):
        site.begin(now=NOW)


def test_the_logins_that_wait_are_bounded(site, monkeypatch):
    monkeypatch.setattr(saml, "MAX_OPEN_REQUESTS", 2)
    site.begin(now=NOW)
    site.begin(now=NOW)
    with refused("saml_busy"):
        site.begin(now=NOW)
    site.begin(now=NOW + timedelta(seconds=601))


def test_missing_groups_are_none_or_unknown_as_the_provider_says(site):
    request = site.begin(now=NOW)
    site.answer(site.response(request, groups=None))
    assert site.finish(request).groups == frozenset()
    site.provider.missing_groups_are_unknown = True
    site.provider.save()
    request = site.begin(now=NOW)
    site.answer(site.response(request, groups=None))
    assert site.finish(request).groups is None


# Assertions at the token endpoint.


def identity(site, document, now=NOW):
    return saml.assertion_identity(
        encoded=granted(document), recipient=TOKEN_ENDPOINT, audience=TOKEN_ENDPOINT, now=now
    )


def bare(site, **values):
    return site.idp.assertion(recipient=TOKEN_ENDPOINT, **{"audience": TOKEN_ENDPOINT, **values})


def test_an_assertion_says_who_a_machine_is(site):
    site.provider.principal_kind = "machine"
    site.provider.save()
    found = identity(site, bare(site, subject="batch-7", assertion_id="_a1"))
    assert (found.issuer, found.subject, found.groups) == (ISSUER, "batch-7", {"staff", "sre"})
    assert (found.token_id, found.session_id, found.kind) == ("_a1", "s-1", "machine")
    assert found.provider_id == str(site.provider.pk)
    assert (found.issued_at, found.expires_at) == (int(NOW.timestamp()), int(NOW.timestamp()) + 300)


def test_our_entity_id_is_an_audience_too(site):
    assert identity(site, bare(site, audience=site.places.entity_id)).subject == "u-17"


def test_an_assertion_is_exchanged_once(site):
    document = bare(site)
    identity(site, document)
    with refused("saml_replayed"):
        identity(site, document)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"audience": "https://other.example"}, "saml_audience"),
        ({"to": "_" + "a" * 40}, "saml_in_response_to"),
        ({"issuer": "https://other.example"}, "saml_issuer"),
        ({"ends_at": NOW - timedelta(seconds=30), "issued_at": NOW - timedelta(seconds=90)}, "saml_expired"),
        ({"ends_at": NOW + timedelta(seconds=3601)}, "saml_lifetime"),
        ({"issued_at": NOW + timedelta(seconds=31)}, "saml_not_yet_valid"),
        ({"sign": False}, "saml_unsigned"),
    ],
)
def test_an_assertion_that_is_not_for_the_token_endpoint_now_is_refused(site, values, code):
    with refused(code):
        identity(site, bare(site, **values))
    assert not SamlAssertion.objects.exists()


def test_an_assertion_of_a_login_gets_no_token(site):
    request = site.begin(now=NOW)
    document = site.response(request).decode()
    inner = document[document.index("<saml:Assertion") : document.index("</samlp:Response>")]
    with refused("saml_recipient"):
        saml.assertion_identity(
            encoded=granted(inner), recipient=TOKEN_ENDPOINT, audience=site.places.entity_id, now=NOW
        )


def test_a_provider_for_logins_only_gets_no_tokens(site):
    site.row.allows_token_exchange = False
    site.row.save()
    with refused("saml_issuer"):
        identity(site, bare(site))


# Replay.


@pytest.mark.django_db(transaction=True)
def test_of_a_hundred_at_the_same_time_exactly_one_passes():
    site = saml_site(NOW)
    encoded = granted(bare(site))
    start, outcomes = threading.Barrier(20), Counter()

    def work():
        try:
            start.wait(timeout=20)
            for _ in range(5):
                try:
                    saml.assertion_identity(encoded=encoded, recipient=TOKEN_ENDPOINT, audience=TOKEN_ENDPOINT, now=NOW)
                    outcomes["accepted"] += 1
                except AssertionRefused as error:
                    outcomes[error.code] += 1
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes == {"accepted": 1, "saml_replayed": 99}


@pytest.mark.django_db(transaction=True)
def test_of_twenty_answers_at_the_same_time_exactly_one_is_kept():
    site = saml_site(NOW)
    request = site.begin(now=NOW)
    document = site.response(request)
    start, outcomes = threading.Barrier(20), Counter()

    def work():
        try:
            start.wait(timeout=20)
            try:
                site.answer(document)
                outcomes["accepted"] += 1
            except AssertionRefused as error:
                outcomes["refused"] += error.code in {"saml_replayed", "saml_request_unknown"}
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert outcomes == {"accepted": 1, "refused": 19}


def test_sweeping_forgets_only_what_can_no_longer_be_used(site):
    request = site.begin(now=NOW)
    site.answer(site.response(request))
    last_use = NOW + timedelta(minutes=5, seconds=30)
    saml.saml_sweep(now=last_use)
    assert SamlAssertion.objects.count() == 1
    assert saml.saml_sweep(now=last_use + timedelta(hours=1)) == 2
    assert not SamlAssertion.objects.exists()
    assert not SamlRequest.objects.exists()


# Logout.


def logged_in(site, *, subject="u-17", session="s-1", key="k"):
    group, _ = Group.objects.get_or_create(provider=site.provider, name="staff")
    RoleGrant.objects.get_or_create(group=group, role=RoleGrant.Role.VIEWER)
    user = person_log_in(
        issuer=ISSUER, subject=subject, display_name="", email="", groups=frozenset({"staff"}), now=NOW
    )
    return console_session_begin(
        user=user, session_key=key, issuer=ISSUER, subject=subject, provider_session=session, method="saml", now=NOW
    )


def open_sessions() -> set[str]:
    return set(ConsoleSession.objects.filter(ended_at=None).values_list("provider_session", flat=True))


def test_a_signed_logout_request_ends_the_session_that_it_names(site):
    logged_in(site, session="s-1", key="1")
    logged_in(site, session="s-2", key="2")
    document = site.idp.logout_request(destination=site.places.slo, session_indexes=["s-1"])
    done = saml.logout_by_post(
        saml_provider_id=site.row.pk, encoded=posted(document), relay_state="https://evil.example", now=NOW
    )
    assert (done.sessions, open_sessions()) == (1, {"s-2"})
    answer = request_in(done.url)
    assert done.url.startswith("https://idp.example/slo?")
    assert answer.tag == f"{{{saml_idp.SAMLP}}}LogoutResponse"
    assert answer.get("InResponseTo") in document.decode()
    assert parse_qs(urlsplit(done.url).query)["RelayState"] == ["https://evil.example"]


def test_without_a_session_index_everything_of_the_person_ends(site):
    logged_in(site, session="s-1", key="1")
    logged_in(site, session="s-2", key="2")
    logged_in(site, subject="somebody-else", session="s-3", key="3")
    document = site.idp.logout_request(destination=site.places.slo, session_indexes=[])
    done = saml.logout_by_post(saml_provider_id=site.row.pk, encoded=posted(document), now=NOW)
    assert (done.sessions, open_sessions()) == (2, {"s-3"})


def test_a_logout_request_in_a_signed_query_ends_sessions_too(site):
    logged_in(site)
    plain = site.idp.logout_request(destination=site.places.slo, sign=False)
    query = site.idp.logout_query(plain, relay_state="r 1")
    done = saml.logout_by_redirect(saml_provider_id=site.row.pk, query=query, now=NOW)
    assert (done.sessions, open_sessions()) == (1, set())
    with refused("saml_replayed"):
        saml.logout_by_redirect(saml_provider_id=site.row.pk, query=query, now=NOW)


def test_a_logout_request_that_is_not_signed_ends_nothing(site):
    logged_in(site)
    plain = site.idp.logout_request(destination=site.places.slo, sign=False)
    with refused("saml_unsigned"):
        saml.logout_by_post(saml_provider_id=site.row.pk, encoded=posted(plain), now=NOW)
    with refused("saml_unsigned"):
        saml.logout_by_redirect(
            saml_provider_id=site.row.pk, query=form_body({"SAMLRequest": deflated(plain)}), now=NOW
        )
    assert open_sessions() == {"s-1"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda query: query.replace("RelayState=r", "RelayState=s"), "saml_signature"),
        (lambda query: query.replace("rsa-sha256", "rsa-sha512"), "saml_signature"),
        (
            lambda query: query.replace("2001%2F04%2Fxmldsig-more%23rsa-sha256", "2000%2F09%2Fxmldsig%23rsa-sha1"),
            "saml_algorithm",
        ),
        (lambda query: query + "&RelayState=t", "saml_encoding"),
        (lambda query: query.replace("&Signature=", "&Signature=AA"), "saml_signature"),
        (lambda query: query.replace("&Signature=", "&Ignored="), "saml_unsigned"),
        (lambda query: "SAMLRequest=AAAA&" + query, "saml_encoding"),
        (lambda query: query.replace("SAMLRequest=", "SAMLResponse="), "saml_encoding"),
    ],
)
def test_a_signed_query_that_was_changed_ends_nothing(site, change, code):
    logged_in(site)
    plain = site.idp.logout_request(destination=site.places.slo, sign=False)
    query = site.idp.logout_query(plain, relay_state="r")
    with refused(code):
        saml.logout_by_redirect(saml_provider_id=site.row.pk, query=change(query), now=NOW)
    assert open_sessions() == {"s-1"}


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"destination": "https://other.example/slo"}, "saml_destination"),
        ({"issuer": "https://other.example"}, "saml_issuer"),
        ({"issued_at": NOW - timedelta(seconds=631)}, "saml_expired"),
        ({"issued_at": NOW + timedelta(seconds=31)}, "saml_expired"),
        ({"ends_at": NOW - timedelta(seconds=31)}, "saml_expired"),
    ],
)
def test_a_logout_request_for_others_or_of_another_time_ends_nothing(site, values, code):
    logged_in(site)
    document = site.idp.logout_request(**{"destination": site.places.slo, **values})
    with refused(code):
        saml.logout_by_post(saml_provider_id=site.row.pk, encoded=posted(document), now=NOW)
    assert open_sessions() == {"s-1"}


# Through the views, as browsers and the identity provider see them.


def test_a_person_logs_in_and_is_logged_out_by_the_identity_provider(live):
    client = Client()
    request = live.sent_to_idp(client, next="/admin/accounts/principal/")
    assert request.get("AssertionConsumerServiceURL") == live.places.acs
    assert request.get("ForceAuthn") is None
    answer = live.post(client, live.response(request.get("ID")), RelayState="https://evil.example/")
    assert answer.status_code == 303
    assert "sessionid" not in answer.cookies
    assert "wardgate" not in answer.cookies
    finished = client.get(answer["Location"])
    assert (finished.status_code, finished["Location"]) == (302, "/admin/accounts/principal/")
    assert client.get("/admin/accounts/principal/").status_code == 200
    row = ConsoleSession.objects.get()
    assert (row.method, row.issuer, row.subject, row.provider_session) == ("saml", ISSUER, "u-17", "s-1")
    document = live.idp.logout_request(destination=live.places.slo)
    done = Client().post(
        urlsplit(live.places.slo).path,
        form_body({"SAMLRequest": posted(document)}),
        "application/x-www-form-urlencoded",
    )
    assert done.status_code == 303
    assert client.get("/admin/accounts/principal/").status_code == 302


def test_the_cookie_that_binds_the_login_is_lax_and_out_of_reach_of_scripts(live):
    client = Client()
    live.sent_to_idp(client)
    cookie = client.cookies["wardgate-saml"]
    assert (cookie["samesite"], cookie["httponly"], cookie["max-age"]) == ("Lax", True, 600)


def test_over_tls_the_cookie_belongs_to_this_host_alone(live, settings):
    settings.IS_SERVED_OVER_TLS = True
    client = Client()
    live.sent_to_idp(client)
    cookie = client.cookies["__Host-wardgate-saml"]
    assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "")


def test_two_tabs_can_both_be_finished(live):
    client = Client()
    first, second = live.sent_to_idp(client), live.sent_to_idp(client)
    answers = [live.post(client, live.response(request.get("ID"))) for request in (first, second)]
    for answer in answers:
        cookie = client.cookies["wardgate-saml"].value
        assert client.get(answer["Location"])["Location"] == "/admin/"
        client.cookies["wardgate-saml"] = cookie


def test_a_login_begun_by_somebody_else_logs_the_victim_in_nowhere(live):
    """Login CSRF: the attacker's own answer, posted from the victim's browser."""
    attacker, victim = Client(), Client()
    request = live.sent_to_idp(attacker)
    live.sent_to_idp(victim)
    answer = live.post(victim, live.response(request.get("ID"), subject="attacker"))
    assert victim.get(answer["Location"]).status_code == 403
    assert not ConsoleSession.objects.exists()


def test_a_stolen_answer_is_of_no_use_in_another_browser(live):
    victim, thief = Client(), Client()
    request = live.sent_to_idp(victim)
    answer = live.post(thief, live.response(request.get("ID")))
    assert thief.get(answer["Location"]).status_code == 403
    assert not ConsoleSession.objects.exists()


def test_whose_groups_give_no_role_is_told_so(live):
    client = Client()
    request = live.sent_to_idp(client)
    answer = live.post(client, live.response(request.get("ID"), groups=["guests"]))
    finished = client.get(answer["Location"])
    assert finished.status_code == 403
    assert b"login_not_allowed" in finished.content


@pytest.mark.parametrize(
    ("path", "method", "body", "content_type", "status"),
    [
        ("acs", "post", "", "application/x-www-form-urlencoded", 400),
        ("acs", "post", "SAMLResponse=%3C", "application/x-www-form-urlencoded", 403),
        ("acs", "post", "SAMLResponse=AA&SAMLResponse=AA", "application/x-www-form-urlencoded", 400),
        ("acs", "post", "SAMLResponse=AA", "text/plain", 400),
        ("acs", "post", "SAMLResponse=" + "A" * 262_144, "application/x-www-form-urlencoded", 400),
        ("acs", "get", None, None, 405),
        ("slo", "get", None, None, 403),
        ("slo", "post", "SAMLRequest=AA", "application/x-www-form-urlencoded", 403),
        ("continue", "get", None, None, 403),
        ("login", "post", "", "application/x-www-form-urlencoded", 405),
    ],
)
def test_garbage_is_refused_and_never_a_fault(live, path, method, body, content_type, status):
    url = f"/saml/{live.row.pk}/{path}"
    client = Client(raise_request_exception=True)
    answer = client.get(url) if method == "get" else client.post(url, body, content_type)
    assert answer.status_code == status


@pytest.mark.parametrize("request_id", ["", "\x00", "_" + "a" * 40, "x" * 9000, "_" + "ä" * 40])
def test_any_request_id_of_a_stranger_is_refused(live, request_id):
    assert Client().get(f"/saml/{live.row.pk}/continue", {"request": request_id}).status_code == 403


def test_nothing_of_an_unknown_provider_is_there():
    for path in ("metadata", "login"):
        assert Client().get(f"/saml/0198a0de-0000-7000-8000-000000000000/{path}").status_code == 404


def test_our_metadata_names_our_places(live):
    answer = Client().get(f"/saml/{live.row.pk}/metadata")
    assert answer["Content-Type"] == "application/samlmetadata+xml"
    for place in (live.places.entity_id, live.places.acs, live.places.slo):
        assert place.encode() in answer.content

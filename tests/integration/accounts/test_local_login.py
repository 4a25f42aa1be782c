"""Local accounts: password, second factor, lock-out, and logins that end at once."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from axes.models import AccessAttempt
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, reverse
from django.utils import timezone

from accounts import selectors, services
from accounts.models import ConsoleSession, User
from accounts.services import factors

PASSWORD = "correct horse battery"
LOGIN = "/admin/login/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _as_deployed(settings):
    settings.AXES_ENABLED = True
    settings.WARDGATE_REQUIRE_SECOND_FACTOR = True


@pytest.fixture
def grace():
    return User.objects.create_superuser("grace", password=PASSWORD, is_break_glass=True)


def code_of(secret: str, moment: datetime) -> str:
    return format_hotp_value(hotp_value(secret, int(moment.timestamp()) // 30))


@pytest.fixture
def secret(grace):
    """A secret that `grace` has enrolled, two steps ago."""
    made = factors.totp_secret()
    before = timezone.now() - timedelta(seconds=90)
    factors.totp_add(user=grace, secret=made, code=code_of(made, before), now=before)
    return made


def give_password(client, username="grace", password=PASSWORD, **values):
    return client.post(LOGIN, {"username": username, "password": password, **values})


def is_in(client):
    return client.get("/admin/").status_code == 200


def test_a_password_alone_is_no_login(client, grace, secret):
    answer = give_password(client)
    assert answer.url == reverse("console_login_factor")
    assert not is_in(client)
    assert not ConsoleSession.objects.exists()


def test_the_password_and_the_code_of_the_moment_open_the_console(client, grace, secret):
    give_password(client, next="/admin/accounts/user/")
    answer = client.post(reverse("console_login_factor"), {"code": code_of(secret, timezone.now())})
    assert answer.url == "/admin/accounts/user/"
    assert is_in(client)
    assert ConsoleSession.objects.get().method == "password+totp"


def test_a_code_is_good_once(client, grace, secret):
    code = code_of(secret, timezone.now())
    give_password(client)
    client.post(reverse("console_login_factor"), {"code": code})
    other = Client()
    give_password(other)
    assert other.post(reverse("console_login_factor"), {"code": code}).status_code == 200
    assert not is_in(other)


@pytest.mark.parametrize("code", ["", "000000", "12345678901234567890", "abcdef", "٠٠٠٠٠٠"])
def test_a_wrong_code_is_no_login(client, grace, secret, code):
    give_password(client)
    assert client.post(reverse("console_login_factor"), {"code": code}).status_code == 200
    assert not is_in(client)


def test_the_factor_cannot_be_given_without_the_password(client, grace, secret):
    answer = client.post(reverse("console_login_factor"), {"code": code_of(secret, timezone.now())})
    assert answer.url == reverse("admin:login")
    assert not is_in(client)


def test_a_password_that_was_changed_meanwhile_takes_the_half_login_away(client, grace, secret):
    give_password(client)
    grace.set_password("another horse battery")
    grace.save()
    client.post(reverse("console_login_factor"), {"code": code_of(secret, timezone.now())})
    assert not is_in(client)


def test_a_half_login_lasts_ten_minutes(client, grace, secret):
    give_password(client)
    session = client.session
    session["wardgate_pending"] = {**session["wardgate_pending"], "at": session["wardgate_pending"]["at"] - 601}
    session.save()
    client.post(reverse("console_login_factor"), {"code": code_of(secret, timezone.now())})
    assert not is_in(client)


def test_the_first_login_enrols_a_factor_and_shows_recovery_codes_once(client, grace):
    assert give_password(client).url == reverse("console_login_enrol")
    assert not is_in(client)
    page = client.get(reverse("console_login_enrol"))
    shown = re.search(r'<code class="wg-secret">([A-Z2-7 ]+)</code>', page.content.decode())[1].replace(" ", "")
    assert shown not in str(dict(client.session))
    assert client.post(reverse("console_login_enrol"), {"code": "000000"}).status_code == 200
    assert not factors.has_factor(grace)
    answer = client.post(reverse("console_login_enrol"), {"code": code_of(shown, timezone.now())})
    codes = re.findall(r"<li><code>(\d{8})</code></li>", answer.content.decode())
    assert len(codes) == 10
    assert is_in(client)
    assert "no-store" in answer.headers["Cache-Control"]
    row = factors.Authenticator.objects.get(user=grace, type="totp")
    assert shown not in str(row.data)
    other = Client()
    give_password(other)
    assert other.post(reverse("console_login_factor"), {"code": codes[0]}).status_code == 302
    assert is_in(other)
    third = Client()
    give_password(third)
    third.post(reverse("console_login_factor"), {"code": codes[0]})
    assert not is_in(third)


def test_who_has_a_factor_cannot_enrol_another_one_with_the_password_alone(client, grace, secret):
    give_password(client)
    assert client.get(reverse("console_login_enrol")).url == reverse("admin:login")
    answer = client.post(reverse("console_login_enrol"), {"code": code_of(factors.totp_secret(), timezone.now())})
    assert answer.url == reverse("admin:login")
    assert not is_in(client)


def test_five_wrong_passwords_lock_the_account_out_from_every_address(client, grace):
    for _ in range(5):
        give_password(client, password="wrong")
    answer = Client(REMOTE_ADDR="192.0.2.9").post(LOGIN, {"username": "grace", "password": PASSWORD})
    assert answer.status_code == 429
    assert "Wait 15 minutes" in answer.content.decode()


def test_five_failures_from_one_address_lock_it_out_for_every_account(client, grace):
    for number in range(5):
        give_password(client, username=f"guess-{number}", password="wrong")
    assert give_password(client).status_code == 429
    assert give_password(Client(REMOTE_ADDR="192.0.2.9")).status_code == 302


def test_wrong_codes_lock_out_like_wrong_passwords(client, grace, secret):
    give_password(client)
    statuses = [client.post(reverse("console_login_factor"), {"code": "000000"}).status_code for _ in range(6)]
    assert statuses[-1] == 429
    client.post(reverse("console_login_factor"), {"code": code_of(secret, timezone.now())})
    assert not is_in(client)


def test_the_right_password_does_not_forget_wrong_codes(client, grace, secret):
    for _ in range(5):
        give_password(client)
        client.post(reverse("console_login_factor"), {"code": "000000"})
    assert give_password(client).status_code == 429


def test_a_login_forgets_the_failures_of_its_own_account_only(client, grace, secret):
    User.objects.create_superuser("ada", password=PASSWORD, is_break_glass=True)
    for _ in range(2):
        give_password(client, password="wrong")
        give_password(client, username="ada", password="wrong")
    give_password(client)
    client.post(reverse("console_login_factor"), {"code": code_of(secret, timezone.now())})
    assert is_in(client)
    assert set(AccessAttempt.objects.values_list("username", flat=True)) == {"ada"}


def test_a_header_does_not_choose_the_address_that_is_counted(grace):
    for number in range(5):
        Client(HTTP_X_FORWARDED_FOR=f"198.51.100.{number}").post(LOGIN, {"username": f"u{number}", "password": "x"})
    assert give_password(Client(HTTP_X_FORWARDED_FOR="198.51.100.77")).status_code == 429


def test_behind_a_trusted_proxy_the_client_is_counted(grace, settings):
    settings.WARDGATE_TRUSTED_PROXIES = ["127.0.0.0/8"]
    for number in range(5):
        Client(HTTP_X_FORWARDED_FOR="198.51.100.1").post(LOGIN, {"username": f"u{number}", "password": "x"})
    assert give_password(Client(HTTP_X_FORWARDED_FOR="198.51.100.2")).status_code == 302
    assert give_password(Client(HTTP_X_FORWARDED_FOR="198.51.100.2, 198.51.100.1")).status_code == 429


@pytest.mark.parametrize("kind", ["unknown", "wrong", "inactive", "no_staff", "no_emergency", "unusable"])
def test_whatever_is_wrong_the_answer_is_the_same(client, grace, kind):
    values = {
        "inactive": {"is_active": False},
        "no_staff": {"is_staff": False},
        "no_emergency": {"is_superuser": False, "is_break_glass": False},
    }
    User.objects.filter(pk=grace.pk).update(**values.get(kind, {}))
    if kind == "unusable":
        grace.set_unusable_password()
        grace.save()
    username = "nobody" if kind == "unknown" else "grace"
    answer = give_password(client, username=username, password="wrong" if kind == "wrong" else PASSWORD)
    assert answer.status_code == 200
    [error] = answer.context["form"].non_field_errors()
    assert error == "The user name or the password is wrong, or this account may not log in here."


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "http:evil.example",
        "admin/",
        "/\t/evil.example",
        "",
    ],
)
def test_a_login_leads_to_no_other_site(client, grace, settings, target):
    settings.WARDGATE_REQUIRE_SECOND_FACTOR = False
    assert give_password(client, next=target).url == "/admin/"
    assert client.get(LOGIN, {"next": target}).url == "/admin/"


def test_a_login_gets_a_new_session_key(client, grace, settings):
    settings.WARDGATE_REQUIRE_SECOND_FACTOR = False
    session = client.session
    session["planted"] = True
    session.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = session.session_key
    before = session.session_key
    give_password(client)
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != before
    attacker = Client()
    attacker.cookies[settings.SESSION_COOKIE_NAME] = before
    assert not is_in(attacker)


def test_the_half_login_and_the_login_have_different_keys(client, grace, secret, settings):
    give_password(client)
    half = client.cookies[settings.SESSION_COOKIE_NAME].value
    client.post(reverse("console_login_factor"), {"code": code_of(secret, timezone.now())})
    assert client.cookies[settings.SESSION_COOKIE_NAME].value != half


@pytest.fixture
def opened(client, grace, settings):
    settings.WARDGATE_REQUIRE_SECOND_FACTOR = False
    give_password(client)
    assert is_in(client)
    return client


def test_a_login_that_was_ended_is_over_with_the_next_request(opened, grace):
    services.console_session_end(session_id=ConsoleSession.objects.get().pk, now=timezone.now())
    assert not is_in(opened)


def test_signing_out_everywhere_ends_every_login_at_once(opened, grace):
    other = Client()
    give_password(other)
    assert opened.post(reverse("console_end_all_logins")).url == reverse("admin:login")
    assert not is_in(opened)
    assert not is_in(other)
    give_password(other)
    assert is_in(other)


def test_a_person_ends_their_own_other_login_and_nobody_elses(opened, grace):
    stranger = User.objects.create_superuser("ada", password=PASSWORD)
    theirs = services.console_session_begin(user=stranger, session_key="k", method="oidc", now=timezone.now())
    opened.post(reverse("console_end_login", args=[theirs.pk]))
    theirs.refresh_from_db()
    assert theirs.ended_at is None
    other = Client()
    give_password(other)
    row = ConsoleSession.objects.filter(user=grace).latest("began_at")
    opened.post(reverse("console_end_login", args=[row.pk]))
    assert not is_in(other)
    assert is_in(opened)


def test_an_inactive_person_is_out_with_the_next_request(opened, grace):
    User.objects.filter(pk=grace.pk).update(is_active=False)
    assert not is_in(opened)


@pytest.mark.parametrize(("setting", "field"), [("WARDGATE_CONSOLE_SESSION_SECONDS", "began_at")])
def test_a_login_ends_after_its_longest_time(opened, settings, setting, field):
    old = timezone.now() - timedelta(seconds=getattr(settings, setting) + 1)
    ConsoleSession.objects.update(**{field: old})
    assert not is_in(opened)
    assert ConsoleSession.objects.get().ended_at is not None


def test_a_login_ends_when_nobody_used_it(opened, settings):
    session = opened.session
    session["wardgate_seen"] -= settings.WARDGATE_CONSOLE_IDLE_SECONDS + 1
    session.save()
    assert not is_in(opened)


def test_a_session_without_a_row_is_no_login(opened):
    ConsoleSession.objects.all().delete()
    assert not is_in(opened)


def test_logging_out_ends_the_row_too(opened):
    assert opened.get(reverse("admin:logout")).status_code == 405
    opened.post(reverse("admin:logout"))
    assert not is_in(opened)
    assert ConsoleSession.objects.get().ended_at is not None


def test_changing_the_password_keeps_this_login_and_ends_the_others(opened, grace):
    other = Client()
    give_password(other)
    new = "another horse battery"
    answer = opened.post(
        reverse("admin:password_change"), {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    )
    assert answer.status_code == 302
    assert is_in(opened)
    assert not is_in(other)


def test_a_proof_for_new_recovery_codes_leads_back_to_the_account(opened, grace):
    ConsoleSession.objects.update(authenticated_at=timezone.now() - timedelta(hours=1))
    asked = opened.post(reverse("console_make_codes"))
    assert asked.url == f"{reverse('console_proof')}?next=%2Fadmin%2Faccount%2F"
    proved = opened.post(reverse("console_proof"), {"password": PASSWORD, "next": reverse("console_account")})
    assert proved.url == reverse("console_account")
    assert "What you chose was not done yet" in opened.get(proved.url).content.decode()
    assert opened.post(reverse("console_make_codes")).status_code == 302


def test_a_login_is_judged_by_one_query(opened, django_assert_num_queries):
    digest = ConsoleSession.objects.get().session_digest
    with django_assert_num_queries(1):
        found = selectors.console_session_for(digest=digest, group_ids=[1, 2], now=timezone.now())
    assert found is not None


def test_no_page_of_allauth_exists(client):
    names = {name for name in get_resolver().reverse_dict if isinstance(name, str)}
    assert not [name for name in names if name.startswith(("account_", "mfa_", "socialaccount_"))]
    with pytest.raises(NoReverseMatch):
        reverse("account_signup")
    for path in ("/accounts/signup/", "/accounts/login/", "/accounts/2fa/", "/accounts/password/reset/"):
        assert client.get(path).status_code == 404


def test_the_cookies_are_bound_to_the_host_when_the_console_is_served_over_tls():
    import os
    import subprocess
    import sys

    environment = {**os.environ, "WARDGATE_PUBLIC_URL": "https://gate.example", "ALLOWED_HOSTS": "gate.example"}
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            "import gateway_project.settings.base as s;"
            "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE,"
            "s.SESSION_COOKIE_SAMESITE, s.SESSION_COOKIE_HTTPONLY)",
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert shown.stdout.split() == ["__Host-wardgate", "__Host-wardgate-csrf", "True", "True", "Lax", "True"]

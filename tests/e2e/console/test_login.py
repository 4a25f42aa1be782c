"""Logging in, confirming and signing out as people do it: in a browser, with a device, at an identity provider."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.db.models import QuerySet
from django.urls import reverse
from joserfc.jwk import RSAKey

from accounts import services
from accounts.models import ConsoleSession, Lock, Principal, User
from accounts.oidc import discovery
from gateway_project.demo.idp import Application, Issuer
from gateway_project.demo.login import Logins
from gateway_project.demo.people import PEOPLE
from gateway_project.demo.seed import PROVIDER_NAME, seed

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]

PASSWORD = "correct horse battery"
LOGIN = reverse("admin:login")
ACCOUNT = reverse("console_account")


@pytest.fixture(autouse=True)
def _as_deployed(settings, live_server):
    settings.AXES_ENABLED = True
    settings.WARDGATE_REQUIRE_SECOND_FACTOR = True
    settings.WARDGATE_PUBLIC_URL = live_server.url


@pytest.fixture
def grace(transactional_db):
    return User.objects.create_superuser("grace", password=PASSWORD, is_break_glass=True)


@pytest.fixture
def demo(live_server, transactional_db) -> Iterator[Issuer]:
    """The demo's identity provider, and its rows."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    key = RSAKey.generate_key(2048, {"kid": "k"}, private=True)
    issuer = Issuer(url, key, {name: f"password of {name}" for name in PEOPLE}, Logins(live_server.url))
    server = uvicorn.Server(uvicorn.Config(Application(issuer), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    discovery.forget()
    seed(
        issuer=url,
        upstream_url="http://127.0.0.1:9/mcp",
        credential="orders-credential",
        is_new_credential=True,
        now=datetime.now(UTC),
    )
    try:
        yield issuer
    finally:
        server.should_exit = True
        thread.join(timeout=10)


def logins() -> QuerySet[ConsoleSession]:
    """Return the logins of this test, without the one of the administrator that `open_page` has ready."""
    return ConsoleSession.objects.exclude(method="test").order_by("began_at")


def in_database(work: Callable[[], Any]) -> Any:
    """Do `work` while a page is open: this thread has an event loop then."""

    def run() -> Any:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(run).result(timeout=20)


def an_hour_passes_since_the_last_proof() -> None:
    old = datetime.now(UTC) - timedelta(hours=1)
    in_database(lambda: ConsoleSession.objects.update(authenticated_at=old))


def code_of(secret: str, *, steps_from_now: int = 0) -> str:
    step = int(datetime.now(UTC).timestamp()) // 30 + steps_from_now
    return format_hotp_value(hotp_value(secret.replace(" ", ""), step))


def give_password(page, username="grace", password=PASSWORD):
    if not page.get_by_label("Username").is_visible():
        page.get_by_text("Emergency account").click()
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()


def enrol(page) -> str:
    """Enrol an authenticator application at the first login; return its secret."""
    secret = page.locator("code.wg-secret").inner_text()
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Confirm").click()
    page.get_by_role("link", name="I have kept them: continue").wait_for()
    return secret


def log_in_at_demo(page, name, password=None):
    page.get_by_role("link", name=f"Log in with {PROVIDER_NAME}").click()
    give_demo_password(page, name, password)


def give_demo_password(page, name, password=None):
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password or f"password of {name}")
    page.get_by_role("button", name="Log in").click()


def log_out(page):
    page.context.clear_cookies()
    page.goto(LOGIN)


@contextmanager
def security_key(page) -> Iterator[None]:
    """A security key in the browser, whose owner is there and touches it."""
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "usb", "hasUserVerification": True, "isUserVerified": True}
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": options | {"automaticPresenceSimulation": True}})
    yield
    devices.detach()


def test_a_local_account_enrols_an_application_and_logs_in_with_it_from_then_on(open_page, grace):
    with open_page(LOGIN, login=False) as page:
        give_password(page)
        page.wait_for_url("**/login/enrol/")
        secret = enrol(page)
        codes = page.locator(".wg-codes code").all_inner_texts()
        page.get_by_role("link", name="I have kept them: continue").click()
        page.wait_for_url("**/admin/")
        log_out(page)
        give_password(page)
        page.wait_for_url("**/login/factor/")
        page.goto("/admin/")
        assert page.url.split("?")[0].endswith(LOGIN)
        page.goto(reverse("console_login_factor"))
        page.get_by_label("Code").fill("000000")
        page.get_by_role("button", name="Continue").click()
        page.get_by_role("alert").get_by_text("was not accepted").wait_for()
        page.get_by_label("Code").fill(code_of(secret, steps_from_now=1))
        page.get_by_role("button", name="Continue").click()
        page.wait_for_url("**/admin/")
        log_out(page)
        give_password(page)
        page.get_by_label("Code").fill(codes[0])
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("You used a recovery code").wait_for()
        assert page.problems == []
    assert list(logins().values_list("method", flat=True)) == ["password+totp", "password+totp", "password+recovery"]


def test_a_security_key_is_added_and_opens_the_console_and_confirms(open_page, grace):
    with open_page(LOGIN, login=False) as page, security_key(page):
        give_password(page)
        enrol(page)
        page.goto(ACCOUNT)
        page.get_by_role("link", name="Add a security key").click()
        page.get_by_label("Name").fill("Blue key")
        page.get_by_role("button", name="Add the key").click()
        page.wait_for_url(f"**{ACCOUNT}")
        page.get_by_text("Blue key").first.wait_for()
        log_out(page)
        give_password(page)
        page.get_by_role("button", name="Use a security key").click()
        page.wait_for_url("**/admin/")
        an_hour_passes_since_the_last_proof()
        page.goto(ACCOUNT)
        page.get_by_role("button", name="Make new recovery codes").click()
        page.get_by_role("heading", name="Confirm that it is you").wait_for()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Use a security key").click()
        page.wait_for_url(lambda url: "/proof/" not in url)
    newest = logins().last()
    assert newest.method == "password+webauthn"
    assert newest.authenticated_at > datetime.now(UTC) - timedelta(minutes=1)


def test_people_log_in_at_their_identity_provider_and_may_do_what_their_groups_may(open_page, demo):
    add = reverse("admin:connections_connection_add")
    with open_page(f"{LOGIN}?next={ACCOUNT}", login=False) as page:
        log_in_at_demo(page, "bob")
        page.wait_for_url(f"**{ACCOUNT}")
        page.get_by_text("approver, auditor, operator").wait_for()
        assert page.goto(add).status == 200
        log_out(page)
        log_in_at_demo(page, "alice")
        page.wait_for_url("**/admin/")
        assert page.goto(add).status == 403
        assert page.problems == ["Failed to load resource: the server responded with a status of 403 (Forbidden)"]
    assert list(logins().values_list("subject", "method")) == [("demo-bob", "oidc"), ("demo-alice", "oidc")]


def test_who_has_no_role_is_told_so_and_stays_outside(open_page, demo):
    with open_page(LOGIN, login=False) as page:
        log_in_at_demo(page, "mallory")
        page.get_by_text("None of your groups has a role in this console.").wait_for()
        assert page.url.endswith(LOGIN)
        page.goto("/admin/")
        assert page.url.split("?")[0].endswith(LOGIN)
    assert not logins().exists()


def test_who_types_a_wrong_password_at_the_provider_comes_back_only_with_the_right_one(open_page, demo):
    with open_page(LOGIN, login=False) as page:
        log_in_at_demo(page, "bob", "wrong")
        page.get_by_role("alert").get_by_text("User name or password is wrong.").wait_for()
        give_demo_password(page, "bob")
        page.wait_for_url("**/admin/")


def test_a_dangerous_action_asks_the_provider_for_a_fresh_login(open_page, demo):
    with open_page(LOGIN, login=False) as page:
        log_in_at_demo(page, "bob")
        page.wait_for_url("**/admin/")
        in_database(lock_alice)
        an_hour_passes_since_the_last_proof()
        page.goto(reverse("admin:accounts_lock_changelist"))
        page.locator("tbody input[type=checkbox]").first.check()
        choose(page, "Lift")
        page.get_by_role("heading", name="Confirm that it is you").wait_for()
        page.get_by_role("link", name=f"Confirm with {PROVIDER_NAME}").click()
        give_demo_password(page, "bob")
        page.wait_for_url(re.compile(reverse("admin:accounts_lock_changelist")))
        page.locator("tbody input[type=checkbox]").first.check()
        choose(page, "Lift")
        page.locator("main").get_by_role("button", name="Lift", exact=True).click()
        page.get_by_text("1 lifted.").wait_for()
    assert Lock.objects.get().lifted_at is not None


def test_a_proof_of_somebody_else_counts_for_nothing(open_page, demo):
    with open_page(LOGIN, login=False) as page:
        log_in_at_demo(page, "bob")
        page.wait_for_url("**/admin/")
        an_hour_passes_since_the_last_proof()
        page.goto(reverse("console_proof"))
        page.get_by_role("link", name=f"Confirm with {PROVIDER_NAME}").click()
        give_demo_password(page, "alice")
        page.get_by_text("The login did not work (proof_of_another)").wait_for()
    row = logins().get()
    assert row.subject == "demo-bob"
    assert row.authenticated_at < datetime.now(UTC) - timedelta(minutes=50)


def test_a_form_without_a_proof_keeps_what_was_entered_until_it_was_confirmed_in_another_tab(open_page, grace):
    with open_page(LOGIN, login=False) as page:
        give_password(page)
        secret = enrol(page)
        an_hour_passes_since_the_last_proof()
        page.goto(reverse("admin:accounts_identityprovider_add"))
        page.locator("#id_name").fill("Main")
        page.locator("#id_issuer").fill("https://login.example.com")
        page.get_by_role("button", name="Save", exact=True).click()
        with page.expect_popup() as opened:
            page.get_by_role("link", name="Confirm that it is you").click()
        other = opened.value
        other.get_by_label("Password").fill(PASSWORD)
        other.get_by_label("Code").fill(code_of(secret, steps_from_now=1))
        other.get_by_role("button", name="Confirm").click()
        other.wait_for_url(f"**{reverse('console_proof_done')}")
        other.close()
        assert page.locator("#id_name").input_value() == "Main"
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("was added successfully").wait_for()


def test_signing_out_everywhere_ends_the_login_of_another_browser_with_its_next_click(open_page, demo, browser_of):
    with open_page(LOGIN, login=False) as page:
        log_in_at_demo(page, "bob")
        page.wait_for_url("**/admin/")
        other = browser_of(page)
        other.goto(LOGIN)
        log_in_at_demo(other, "bob")
        other.wait_for_url("**/admin/")
        page.goto(ACCOUNT)
        assert page.get_by_role("row").count() == 3
        page.get_by_role("button", name="Sign out everywhere").click()
        page.wait_for_url(re.compile(LOGIN))
        other.get_by_role("link", name="Connections").first.click()
        other.wait_for_url(re.compile(LOGIN))
        page.goto("/admin/")
        assert page.url.split("?")[0].endswith(LOGIN)


@pytest.mark.parametrize(("scheme", "size"), [("light", "phone"), ("dark", "desktop")])
def test_the_pages_of_the_login_are_accessible_and_fit_their_window(open_page, demo, grace, scheme, size):
    found = {}

    def look(page, name):
        found[name] = Axe().run(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name

    with open_page(LOGIN, login=False, scheme=scheme, size=size) as page, security_key(page):
        look(page, "login")
        give_password(page, password="wrong")
        page.get_by_role("alert").wait_for()
        look(page, "wrong password")
        give_password(page)
        page.wait_for_url("**/login/enrol/")
        look(page, "enrol")
        secret = enrol(page)
        look(page, "codes")
        page.goto(ACCOUNT)
        look(page, "account")
        page.goto(reverse("console_add_application"))
        look(page, "application")
        page.goto(reverse("console_add_key"))
        look(page, "key")
        page.get_by_label("Name").fill("Blue key")
        page.get_by_role("button", name="Add the key").click()
        page.wait_for_url(f"**{ACCOUNT}")
        page.goto(reverse("console_proof"))
        look(page, "proof")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Confirm").click()
        page.get_by_role("alert").get_by_text("This was not accepted").wait_for()
        look(page, "proof refused")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_label("Code").fill(code_of(secret, steps_from_now=1))
        page.get_by_role("button", name="Confirm").click()
        page.wait_for_url("**/admin/")
        page.goto(reverse("console_proof_done"))
        look(page, "proof done")
        log_out(page)
        give_password(page)
        page.wait_for_url("**/login/factor/")
        look(page, "factor")
        page.goto(LOGIN)
        log_in_at_demo(page, "mallory")
        page.get_by_text("None of your groups has a role").wait_for()
        look(page, "no role")
        log_in_at_demo(page, "bob")
        page.wait_for_url("**/admin/")
        page.goto(reverse("console_proof"))
        look(page, "proof at the provider")
        assert page.problems == []
    assert {name: result.generate_report() for name, result in found.items() if result.violations_count} == {}


def lock_alice() -> None:
    principal = Principal.objects.filter(subject="demo-bob").get()
    alice = services.principal_ensure(issuer=principal.issuer, subject="demo-alice", now=datetime.now(UTC))
    services.lock_place(
        kind=Lock.Kind.PRINCIPAL,
        principal=alice,
        reason="Lost laptop",
        source=Lock.Source.CONSOLE,
        now=datetime.now(UTC),
    )


def choose(page, action):
    page.locator("select[name=action]").select_option(label=action)
    page.get_by_role("button", name="Run").click()


@pytest.fixture
def browser_of(live_server):
    """Return a page of another browser, with cookies of its own."""

    def opened(page):
        context = page.context.browser.new_context(base_url=live_server.url)
        context.set_default_timeout(10_000)
        return context.new_page()

    return opened

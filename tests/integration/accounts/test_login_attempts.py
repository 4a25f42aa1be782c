"""Attempts that arrive together, and what an answer costs: nobody gets more tries by sending them at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.hashers import MD5PasswordHasher
from django.db import connection
from django.test import Client, RequestFactory
from django.urls import reverse

from accounts import attempts
from accounts.models import User
from accounts.services import factors

PASSWORD = "correct horse battery"
LOGIN = "/admin/login/"
TRIES = 16


@pytest.fixture(autouse=True)
def _as_deployed(settings):
    settings.AXES_ENABLED = True


@pytest.fixture
def grace(db):
    return User.objects.create_superuser("grace", password=PASSWORD, is_break_glass=True)


@pytest.fixture
def computed(monkeypatch):
    """How often a password hash was computed."""
    count, encode = [], MD5PasswordHasher.encode

    def counted(self, *args, **kwargs):
        count.append(1)
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    return count


def give_password(client, username="grace", password=PASSWORD):
    return client.post(LOGIN, {"username": username, "password": password})


def at_once(*calls):
    """Run all of them in threads that begin together; return what they returned."""
    barrier, found = threading.Barrier(len(calls)), []

    def run(call):
        try:
            barrier.wait(timeout=10)
            found.append(call())
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    return found


@contextmanager
def held(username, address="127.0.0.1"):
    """Another attempt, which is being judged all the while."""
    inside, over = threading.Event(), threading.Event()

    def hold():
        try:
            with attempts.alone(RequestFactory(REMOTE_ADDR=address).post(LOGIN), username):
                inside.set()
                over.wait(timeout=30)
        finally:
            connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert inside.wait(timeout=10)
        yield
    finally:
        over.set()
        thread.join(timeout=10)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("same", ["account", "address"])
def test_of_many_attempts_at_once_five_are_judged(grace, monkeypatch, same):
    monkeypatch.setattr(attempts, "_places", threading.BoundedSemaphore(TRIES))
    judged, inside = [], []

    def slow(self, request=None, username=None, password=None, **kwargs):
        assert not inside
        inside.append(username)
        judged.append(username)
        threading.Event().wait(0.02)
        inside.remove(username)

    monkeypatch.setattr("accounts.backends.LocalBackend.authenticate", slow)

    def attempt(number):
        name = "grace" if same == "account" else f"guess-{number}"
        address = f"192.0.2.{number}" if same == "account" else "192.0.2.1"
        return lambda: give_password(Client(REMOTE_ADDR=address), username=name).status_code

    statuses = at_once(*map(attempt, range(TRIES)))
    assert len(judged) == 5
    assert len(statuses) == TRIES
    assert statuses.count(200) <= 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("username", "address"), [("grace", "192.0.2.9"), ("somebody else", "127.0.0.1")])
def test_an_attempt_that_waits_too_long_is_not_judged_and_does_not_count(client, grace, monkeypatch, username, address):
    monkeypatch.setattr(attempts, "WAIT_MILLISECONDS", 50)
    with held(username, address):
        answer = give_password(client)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "1"
    assert "Too many logins are being checked at this moment" in answer.content.decode()
    assert not AccessAttempt.objects.exists()
    assert give_password(client).url == "/admin/"


@pytest.mark.django_db(transaction=True)
def test_an_attempt_of_another_account_from_another_address_does_not_wait(client, grace, monkeypatch):
    monkeypatch.setattr(attempts, "WAIT_MILLISECONDS", 50)
    with held("ada", "192.0.2.9"):
        assert give_password(client).url == "/admin/"


@pytest.mark.django_db(transaction=True)
def test_the_second_factor_waits_like_the_password(client, grace, monkeypatch, settings):
    settings.WARDGATE_REQUIRE_SECOND_FACTOR = True
    give_password(client)
    factors.recovery_codes_make(user=grace, now=grace.date_joined)
    monkeypatch.setattr(attempts, "WAIT_MILLISECONDS", 50)
    with held("grace", "192.0.2.9"):
        assert client.post(reverse("console_login_factor"), {"code": "000000"}).status_code == 429
    assert not AccessAttempt.objects.exists()


def test_a_process_judges_a_few_attempts_at_once(client, grace, monkeypatch):
    places = threading.BoundedSemaphore(1)
    monkeypatch.setattr(attempts, "_places", places)
    with places:
        assert give_password(client).status_code == 429
    assert give_password(client).url == "/admin/"
    assert give_password(Client()).url == "/admin/"


@pytest.mark.parametrize("kind", ["unknown", "wrong", "inactive", "no_staff", "no_emergency", "unusable"])
def test_whatever_is_wrong_costs_one_computation(client, grace, computed, kind):
    values = {
        "inactive": {"is_active": False},
        "no_staff": {"is_staff": False},
        "no_emergency": {"is_superuser": False, "is_break_glass": False},
    }
    User.objects.filter(pk=grace.pk).update(**values.get(kind, {}))
    if kind == "unusable":
        grace.set_unusable_password()
        grace.save()
    computed.clear()
    username = "nobody" if kind == "unknown" else "grace"
    assert give_password(client, username, "wrong" if kind == "wrong" else PASSWORD).status_code == 200
    assert len(computed) == 1

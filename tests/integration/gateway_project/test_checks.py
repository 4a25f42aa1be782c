"""Unsafe settings are refused with a sentence that says what to do and repeats no value."""

from __future__ import annotations

import asyncio
import base64

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import override_settings

from gateway_project import checks

SECRET = "v8Kd-qPz3_mLw7Yx0TnB5sRj2HcF9gUe4AiXoZ6kWtQyEhNbM1uVlSpD"
KEY = base64.b64encode(bytes(range(32))).decode()
SAFE = {
    "SECRET_KEY": SECRET,
    "DEBUG": False,
    "ALLOWED_HOSTS": ["gateway.example.com"],
    "WARDGATE_MASTER_KEYS": f"main:{KEY}",
    "WARDGATE_PUBLIC_URL": "https://gateway.example.com",
    "WARDGATE_REQUIRE_SECOND_FACTOR": True,
}


def found(**settings):
    with override_settings(**{**SAFE, **settings}):
        return checks.unsafe_settings()


def test_safe_settings_are_not_complained_about():
    assert found() == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"SECRET_KEY": ""}, {"wardgate.E001"}),
        ({"SECRET_KEY": "x" * 49 + "y"}, {"wardgate.E002"}),
        ({"SECRET_KEY": SECRET[:49]}, {"wardgate.E002"}),
        ({"SECRET_KEY": "django-insecure-" + SECRET}, {"wardgate.E003"}),
        ({"SECRET_KEY": "ChangeMe" + SECRET}, {"wardgate.E003"}),
        ({"DEBUG": True}, {"wardgate.E004"}),
        ({"ALLOWED_HOSTS": ["*"]}, {"wardgate.E005"}),
        ({"ALLOWED_HOSTS": []}, {"wardgate.E006"}),
        ({"WARDGATE_MASTER_KEYS": ""}, {"wardgate.E010"}),
        ({"WARDGATE_MASTER_KEYS": KEY}, {"wardgate.E010"}),
        ({"WARDGATE_MASTER_KEYS": "main:c2hvcnQ="}, {"wardgate.E010"}),
        ({"WARDGATE_MASTER_KEYS": f"main:{base64.b64encode(bytes(32)).decode()}"}, {"wardgate.E010"}),
        ({"WARDGATE_MASTER_KEYS": f"main:{KEY},main:{KEY}"}, {"wardgate.E010"}),
        ({"SECRET_KEY": KEY + SECRET}, {"wardgate.E011"}),
        ({"WARDGATE_MASTER_KEYS": f"main:{base64.b64encode(SECRET[:32].encode()).decode()}"}, {"wardgate.E011"}),
        ({"WARDGATE_PUBLIC_URL": "ftp://gateway.example.com"}, {"wardgate.E012"}),
        ({"WARDGATE_PUBLIC_URL": "gateway.example.com"}, {"wardgate.E012"}),
        ({"WARDGATE_PUBLIC_URL": "https://gateway.example.com/sub"}, {"wardgate.E012"}),
        ({"WARDGATE_PUBLIC_URL": "https://gateway.example.com:99999"}, {"wardgate.E012"}),
        ({"WARDGATE_REQUIRE_SECOND_FACTOR": False}, {"wardgate.E030"}),
        ({"WARDGATE_REQUIRE_SECOND_FACTOR": False, "WARDGATE_PUBLIC_URL": "http://10.0.0.1"}, {"wardgate.E030"}),
        (
            {"WARDGATE_REQUIRE_SECOND_FACTOR": False, "WARDGATE_PUBLIC_URL": "http://127.0.0.1.evil.example"},
            {"wardgate.E030"},
        ),
        ({"WARDGATE_REQUIRE_SECOND_FACTOR": False, "WARDGATE_PUBLIC_URL": "http://127.0.0.1:8080"}, set()),
        ({"WARDGATE_REQUIRE_SECOND_FACTOR": False, "WARDGATE_PUBLIC_URL": "http://[::1]:8080"}, set()),
        ({"WARDGATE_REQUIRE_SECOND_FACTOR": False, "WARDGATE_PUBLIC_URL": "http://localhost"}, set()),
        ({"WARDGATE_TRUSTED_PROXIES": ["10.0.0.1/8"]}, {"wardgate.E031"}),
        ({"EMAIL_USE_TLS": True, "EMAIL_USE_SSL": True}, {"wardgate.E040"}),
        (
            {"EMAIL_HOST": "mail.example.com", "EMAIL_USE_TLS": False, "EMAIL_HOST_PASSWORD": "correct-horse-battery"},
            {"wardgate.E041"},
        ),
        ({"EMAIL_HOST": "127.0.0.1", "EMAIL_USE_TLS": False, "EMAIL_HOST_PASSWORD": "correct-horse"}, set()),
        ({"EMAIL_HOST": "mail.example.com", "EMAIL_USE_TLS": True, "EMAIL_HOST_PASSWORD": "correct-horse"}, set()),
    ],
)
def test_an_unsafe_setting_is_named_and_its_value_is_not_repeated(settings, expected):
    errors = found(**settings)
    assert {error.id for error in errors} == expected
    for value in settings.values():
        for error in errors:
            assert not (isinstance(value, str) and len(value) > 12 and value in error.msg)


def test_a_server_refuses_to_start_and_says_everything_at_once():
    with (
        override_settings(**{**SAFE, "DEBUG": True, "ALLOWED_HOSTS": ["*"]}),
        pytest.raises(ImproperlyConfigured, match=r"(?s)wardgate\.E004: .*wardgate\.E005: "),
    ):
        checks.refuse_unsafe()


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "expected"), [("synchronous_commit", "wardgate.E021")])
def test_a_database_that_may_lose_records_is_refused(settings, name, expected):
    settings.WARDGATE_REQUIRE_DURABLE_DATABASE = True
    with connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL {name} = off")
    errors = {error.id: error.msg for error in checks.durable_database(databases=["default"])}
    assert f"{name} off" in errors[expected]
    settings.WARDGATE_REQUIRE_DURABLE_DATABASE = False
    assert checks.durable_database(databases=["default"]) == []


@pytest.mark.django_db(transaction=True)
def test_the_database_can_be_asked_inside_a_running_event_loop(settings, monkeypatch):
    asked = []
    monkeypatch.setattr(checks, "durable_database", lambda **kwargs: asked.append(kwargs) or [])
    for name, value in SAFE.items():
        setattr(settings, name, value)

    async def start():
        checks.refuse_unsafe()

    asyncio.run(start())
    assert asked == [{"databases": ["default"]}]


def test_a_database_that_is_away_is_no_reason_to_refuse(settings, monkeypatch):
    settings.WARDGATE_REQUIRE_DURABLE_DATABASE = True

    class Away:
        vendor = "postgresql"

        def cursor(self):
            raise checks.DatabaseError

    monkeypatch.setattr(checks, "connections", {"default": Away()})
    assert checks.durable_database(databases=["default"]) == []

"""Connections and credentials as they are saved."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.test import override_settings

from connections import services, vault
from connections.exceptions import CredentialUnreadable, MasterKeysUnusable
from connections.models import Connection, Credential

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEWER_KEY = "newer:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="
SECRET = "upstream-canary-7Q"

pytestmark = pytest.mark.django_db


def save(**values):
    return services.connection_save(
        **{"slug": "orders", "name": "Orders", "upstream_url": "https://orders.example.com/mcp", **values}, now=NOW
    )


def opened(credential: Credential) -> bytes:
    ring = vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    sealed = vault.Sealed(credential.key_id, bytes(credential.wrapped_key), bytes(credential.ciphertext))
    return vault.open_sealed(ring, sealed, aad=services.credential_aad(credential)).reveal()


def codes(refused: pytest.ExceptionInfo[ValidationError]) -> dict[str, list[str]]:
    return {field: [error.code for error in errors] for field, errors in refused.value.error_dict.items()}


def test_saving_the_same_slug_twice_changes_the_one_connection():
    first = save()
    second = save(name="Orders, again")
    assert first.pk == second.pk
    assert Connection.objects.get().name == "Orders, again"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"slug": "Orders"}, {"slug": ["invalid"]}),
        ({"slug": "orders/../x"}, {"slug": ["invalid"]}),
        ({"upstream_url": "ftp://orders.example.com"}, {"upstream_url": ["url_scheme"]}),
        ({"upstream_url": "https://u:p@orders.example.com"}, {"upstream_url": ["url_userinfo"]}),
        ({"upstream_url": "http://2130706433/mcp"}, {"upstream_url": ["url_host"]}),
        ({"upstream_url": ""}, {"upstream_url": ["blank"]}),
        ({"allowed_networks": ["10.0.0.1/8"]}, {"allowed_networks": ["network_refused"]}),
        ({"timeout_seconds": 0}, {"timeout_seconds": ["min_value"]}),
    ],
)
def test_what_the_gateway_could_not_reach_is_refused_at_its_field(values, expected):
    with pytest.raises(ValidationError) as refused:
        save(**values)
    assert codes(refused) == expected


def test_a_secret_is_sealed_and_opens_only_in_its_own_row():
    credential = services.credential_set(connection=save(), kind="bearer", secret=SECRET, now=NOW)
    stored = Credential.objects.get()
    assert opened(stored) == SECRET.encode()
    assert SECRET.encode() not in bytes(stored.ciphertext) + bytes(stored.wrapped_key)
    stored.connection_id = save(slug="other").pk
    with pytest.raises(vault.CannotOpen):
        opened(stored)
    assert credential.version == 1


def test_replacing_a_secret_moves_the_version():
    connection = save()
    services.credential_set(connection=connection, kind="bearer", secret="first-one", now=NOW)
    later = NOW + timedelta(days=1)
    services.credential_set(connection=connection, kind="header", header_name="X-Api-Key", secret=SECRET, now=later)
    stored = Credential.objects.get()
    assert (stored.version, stored.kind, stored.created_at, stored.rotated_at) == (2, "header", NOW, later)
    assert opened(stored) == SECRET.encode()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"secret": ""}, {"secret": ["credential_characters"]}),
        ({"secret": "two\r\nX-Injected: 1"}, {"secret": ["credential_characters"]}),
        ({"kind": "basic", "secret": "no-colon-canary"}, {"secret": ["credential_basic"]}),
        ({"kind": "header"}, {"header_name": ["header_name_missing"]}),
        ({"kind": "header", "header_name": "Mcp-Session-Id"}, {"header_name": ["credential_header"]}),
        ({"kind": "bearer", "header_name": "X-Api-Key"}, {"header_name": ["header_name_not_used"]}),
    ],
)
def test_what_could_not_be_sent_is_refused_without_repeating_the_secret(values, expected):
    connection = save()
    with pytest.raises(ValidationError) as refused:
        services.credential_set(connection=connection, **{"kind": "bearer", "secret": SECRET, **values}, now=NOW)
    assert {field: found[:1] for field, found in codes(refused).items() if field in expected} == expected
    assert not Credential.objects.exists()
    for secret in (SECRET, "Injected", "no-colon-canary"):
        assert secret not in str(refused.value)


def test_without_master_keys_nothing_is_sealed():
    connection = save()
    with override_settings(WARDGATE_MASTER_KEYS=""), pytest.raises(MasterKeysUnusable):
        services.credential_set(connection=connection, kind="bearer", secret=SECRET, now=NOW)
    assert not Credential.objects.exists()


def test_a_rewrapped_secret_opens_without_the_older_master_key():
    credential = services.credential_set(connection=save(), kind="bearer", secret=SECRET, now=NOW)
    with override_settings(WARDGATE_MASTER_KEYS=f"{NEWER_KEY},{settings.WARDGATE_MASTER_KEYS}"):
        services.credential_rewrap(credential_id=credential.pk)
    with override_settings(WARDGATE_MASTER_KEYS=NEWER_KEY):
        stored = Credential.objects.get()
        assert opened(stored) == SECRET.encode()
        assert stored.version == 1


def test_a_secret_of_a_lost_master_key_is_said_to_be_unreadable():
    credential = services.credential_set(connection=save(), kind="bearer", secret=SECRET, now=NOW)
    with override_settings(WARDGATE_MASTER_KEYS=NEWER_KEY), pytest.raises(CredentialUnreadable):
        services.credential_rewrap(credential_id=credential.pk)

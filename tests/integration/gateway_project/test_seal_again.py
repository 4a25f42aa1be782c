"""`seal_again` with an old and a new master key: afterwards nothing needs the old one, or it says what does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core.management import CommandError, call_command

from accounts import vault
from accounts.models import IdentityProvider, LoginClient, SigningKey, User
from accounts.services import factors, login_clients, principal_ensure, provider_save
from accounts.services.providers import introspection_secret
from accounts.services.signing import signer_at, signing_key_rotate
from connections.models import Connection, Credential
from connections.services import connection_save, credential_aad, credential_set
from policies import services
from policies.models import ApprovalRequest
from policies.services import HeldCall
from policies.services.approval_seal import open_body

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ISSUER = "https://login.example.com"
NEW = "next:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OTHER = "other:MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
SECRET = "canary-7Q"
BODY = b'{"jsonrpc":"2.0"}'
DONE = "Everything is sealed under the first master key."

pytestmark = pytest.mark.django_db


@pytest.fixture
def provider() -> IdentityProvider:
    return provider_save(
        name="Main",
        issuer=ISSUER,
        audiences=["gateway"],
        introspection_url=f"{ISSUER}/introspect",
        introspection_client_id="gateway",
        introspection_secret=SECRET,
        now=NOW,
    )


@pytest.fixture
def orders() -> Connection:
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example/mcp", now=NOW)


@pytest.fixture
def grace() -> User:
    return User.objects.create_superuser("grace", password="a long enough password", is_break_glass=True)


@pytest.fixture
def held(orders: Connection) -> ApprovalRequest:
    """A call that waits for a decision."""
    principal_ensure(issuer=ISSUER, subject="alice", kind="human", now=NOW)
    call = HeldCall(
        issuer=ISSUER, subject="alice", client_id="agent", client_name="", client_version="", user_agent="",
        address="", connection_id=orders.pk, session_id=None, call_id=uuid4(), method="tools/call", name="refund",
        arguments={"id": 1}, masked_count=0, arguments_sha256=bytes(32), binding=bytes(32), body=BODY,
        rule_name="refunds wait", why="",
    )  # fmt: skip
    return services.request_open(held=call, now=NOW)


def replace_master_key(settings: Any) -> None:
    """Put the new key in front, run the command, and remove the old one."""
    settings.WARDGATE_MASTER_KEYS = f"{NEW},{settings.WARDGATE_MASTER_KEYS}"
    call_command("seal_again")
    settings.WARDGATE_MASTER_KEYS = NEW


def test_a_secret_for_introspection_opens_without_the_old_key(provider: IdentityProvider, settings: Any) -> None:
    replace_master_key(settings)
    kept = introspection_secret(IdentityProvider.objects.get())
    assert kept is not None
    assert kept.reveal() == SECRET.encode()


def test_the_keys_that_sign_tokens_open_without_the_old_key(settings: Any) -> None:
    signing_key_rotate(now=NOW)
    waiting = signing_key_rotate(now=NOW)
    replace_master_key(settings)
    assert signer_at(NOW).kid != waiting.kid
    assert signer_at(waiting.signs_from).kid == waiting.kid


def test_a_secret_of_a_login_client_opens_without_the_old_key(provider: IdentityProvider, settings: Any) -> None:
    login_clients.login_client_save(provider=provider, client_id="console", secret=SECRET, now=NOW)
    replace_master_key(settings)
    kept = login_clients.secret_of(LoginClient.objects.get())
    assert kept is not None
    assert kept.reveal() == SECRET.encode()


def test_a_public_login_client_has_nothing_to_move(provider: IdentityProvider, settings: Any) -> None:
    login_clients.login_client_save(provider=provider, client_id="console", now=NOW)
    replace_master_key(settings)
    assert LoginClient.objects.get().ciphertext is None


def test_a_credential_opens_without_the_old_key_under_the_same_version(orders: Connection, settings: Any) -> None:
    credential_set(connection=orders, kind="bearer", secret=SECRET, now=NOW)
    replace_master_key(settings)
    row = Credential.objects.get()
    kept = vault.Sealed(row.key_id, bytes(row.wrapped_key), bytes(row.ciphertext))
    assert vault.open_sealed(vault.KeyRing.parse(NEW), kept, aad=credential_aad(row)).reveal() == SECRET.encode()
    assert row.version == 1


def test_one_time_and_recovery_codes_are_good_without_the_old_key(grace: User, settings: Any) -> None:
    secret = factors.totp_secret()
    step = int(NOW.timestamp()) // factors.PERIOD_SECONDS
    factors.totp_add(user=grace, secret=secret, code=format_hotp_value(hotp_value(secret, step - 1)), now=NOW)
    codes = factors.recovery_codes_make(user=grace, now=NOW)
    replace_master_key(settings)
    assert factors.code_check(user=grace, code=format_hotp_value(hotp_value(secret, step)), now=NOW) == "totp"
    assert factors.code_check(user=grace, code=codes[0], now=NOW) == "recovery"


@pytest.mark.parametrize("text", ["changed", "dev:AAAA:AAAA", "dev:AAAA:A"])
def test_a_factor_that_does_not_open_is_counted_and_the_others_move(grace: User, settings: Any, text: str) -> None:
    factors.recovery_codes_make(user=grace, now=NOW)
    broken = Authenticator.objects.create(user=grace, type=Authenticator.Type.TOTP, data={"secret": text})
    settings.WARDGATE_MASTER_KEYS = f"{NEW},{settings.WARDGATE_MASTER_KEYS}"
    assert factors.factor_secrets_seal_again() == (1, 1)
    broken.refresh_from_db()
    assert broken.data == {"secret": text}


@pytest.mark.parametrize("state", ApprovalRequest.State.values)
def test_the_bytes_of_a_held_call_open_without_the_old_key(held: ApprovalRequest, settings: Any, state: str) -> None:
    ApprovalRequest.objects.update(state=state)
    replace_master_key(settings)
    assert open_body(ApprovalRequest.objects.get()) == BODY


def test_a_held_call_that_was_changed_is_stuck(held: ApprovalRequest, settings: Any) -> None:
    ApprovalRequest.objects.update(name="transfer")
    with pytest.raises(CommandError, match=r"do not open: 1 held calls\. Keep every master key"):
        replace_master_key(settings)


def test_a_held_call_that_is_over_and_does_not_open_stands_in_nobodys_way(
    held: ApprovalRequest, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ApprovalRequest.objects.update(name="transfer", state=ApprovalRequest.State.EXPIRED)
    replace_master_key(settings)
    assert capsys.readouterr().out.splitlines()[-1] == DONE


def test_everything_that_does_not_open_is_named_and_the_rest_moves(
    provider: IdentityProvider, orders: Connection, grace: User, held: ApprovalRequest, settings: Any
) -> None:
    login_clients.login_client_save(provider=provider, client_id="console", secret=SECRET, now=NOW)
    credential_set(connection=orders, kind="bearer", secret=SECRET, now=NOW)
    factors.recovery_codes_make(user=grace, now=NOW)
    settings.WARDGATE_MASTER_KEYS = OTHER
    signing_key_rotate(now=NOW)
    settings.WARDGATE_MASTER_KEYS = f"{NEW},{OTHER}"
    with pytest.raises(CommandError) as refused:
        call_command("seal_again")
    assert str(refused.value) == (
        "These do not open: 1 credentials of upstreams, 1 secrets of login clients, 1 second factors, "
        "1 secrets for introspection, 1 held calls. Keep every master key."
    )
    assert SigningKey.objects.get().key_id == "next"


def test_without_master_keys_the_command_does_not_say_that_all_is_well(settings: Any) -> None:
    settings.WARDGATE_MASTER_KEYS = ""
    with pytest.raises(CommandError, match="WARDGATE_MASTER_KEYS"):
        call_command("seal_again")


def test_a_second_run_finds_nothing_to_do(
    held: ApprovalRequest, settings: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_master_key(settings)
    assert "held calls: 1 sealed again" in capsys.readouterr().out
    call_command("seal_again")
    *kinds, last = capsys.readouterr().out.splitlines()
    assert last == DONE
    assert all(kind.endswith(": 0 sealed again") for kind in kinds)

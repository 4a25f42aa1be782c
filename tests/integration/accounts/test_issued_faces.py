"""API tokens, exchanged tokens and signing keys at the console, over REST, as task and as command."""

from __future__ import annotations

import io
import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts import api_tokens, tasks
from accounts.models import ApiToken, ConsoleSession, ExchangedToken, Principal, SigningKey, User
from accounts.services import api_token_create, signing_key_rotate

pytestmark = pytest.mark.django_db
TOKENS = "/admin/accounts/apitoken/"
KEYS = "/admin/accounts/signingkey/"
FORM = {"name": "ci", "scopes": ["read", "audit"], "provider": "", "expires_at_0": "", "expires_at_1": ""}


@pytest.fixture
def staff(client):
    user = User.objects.create_user("robot", is_staff=True)
    client.force_login(user)
    return user


def forget_proof() -> None:
    ConsoleSession.objects.update(authenticated_at=timezone.now() - timedelta(days=1))


def test_the_console_shows_a_token_once_in_an_answer_that_nothing_keeps(client, staff):
    answer = client.post(f"{TOKENS}add/", FORM)
    assert answer.status_code == 200, answer.context["errors"]
    assert "no-store" in answer["Cache-Control"]
    raw = re.search(r"wg_[0-9A-Za-z]{57}", answer.content.decode())[0]
    row = ApiToken.objects.get()
    assert (row.user, row.scopes, row.digest) == (staff, ["read", "audit"], api_tokens.digest_of(raw))
    for page in (TOKENS, f"{TOKENS}{row.pk}/change/"):
        seen = client.get(page, follow=True)
        assert seen.status_code == 200
        assert raw[11:] not in seen.content.decode()
        assert row.digest not in seen.content.decode()


def test_what_cannot_be_made_is_said_at_its_field_and_makes_nothing(client, staff):
    answer = client.post(f"{TOKENS}add/", {**FORM, "scopes": ["scim"]})
    assert "Name the identity provider" in answer.content.decode()
    assert "wg_" not in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_making_a_token_takes_a_recent_proof(client, staff):
    forget_proof()
    assert client.post(f"{TOKENS}add/", FORM).status_code == 302
    answer = client.post("/api/v1/api-tokens/", {"name": "ci", "scopes": ["read"]}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "proof_needed")
    assert not ApiToken.objects.exists()


def test_nobody_sees_or_revokes_the_tokens_of_others_without_the_permission(client, staff, admin_user):
    row, _ = api_token_create(user=admin_user, actor=admin_user, name="theirs", scopes=["read"], now=timezone.now())
    assert "theirs" not in client.get(TOKENS).content.decode()
    assert client.get(f"{TOKENS}{row.pk}/change/").status_code == 302
    client.post(TOKENS, {"action": "revoke_selected", "_selected_action": [str(row.pk)]})
    row.refresh_from_db()
    assert row.revoked_at is None


def test_nobody_makes_a_token_for_others_by_adding_a_field_to_the_form(client, staff, admin_user):
    client.post(f"{TOKENS}add/", {**FORM, "user": admin_user.pk})
    assert ApiToken.objects.get().user == staff


def test_a_token_is_revoked_from_the_list(client, staff):
    row, _ = api_token_create(user=staff, actor=staff, name="mine", scopes=["read"], now=timezone.now())
    client.post(TOKENS, {"action": "revoke_selected", "_selected_action": [str(row.pk)]})
    row.refresh_from_db()
    assert row.revoked_at is not None


def test_keys_are_rotated_and_withdrawn_at_the_console(admin_client):
    signing_key_rotate(now=timezone.now())
    assert admin_client.get(f"{KEYS}rotate/").status_code == 200
    assert SigningKey.objects.count() == 1
    assert admin_client.post(f"{KEYS}rotate/").status_code == 302
    first, second = SigningKey.objects.order_by("signs_from")
    admin_client.post(KEYS, {"action": "withdraw_selected", "_selected_action": [first.kid]})
    second.refresh_from_db()
    assert second.signs_from <= timezone.now()
    assert first.kid in admin_client.get(KEYS).content.decode()


def test_changing_keys_takes_a_recent_proof_and_the_permission(admin_client, client, staff):
    signing_key_rotate(now=timezone.now())
    assert client.post(f"{KEYS}rotate/").status_code == 403
    assert client.post("/api/v1/signing-keys/rotate/", {}, content_type="application/json").status_code == 403
    forget_proof()
    assert "/proof/" in admin_client.post(f"{KEYS}rotate/")["Location"]
    answer = admin_client.post("/api/v1/signing-keys/rotate/", {}, content_type="application/json")
    assert answer.json()["code"] == "proof_needed"
    assert SigningKey.objects.count() == 1


def test_no_page_shows_anything_of_a_private_key(admin_client):
    key = signing_key_rotate(now=timezone.now())
    for page in (KEYS, f"{KEYS}{key.kid}/change/", "/api/v1/signing-keys/", "/oauth/jwks"):
        text = admin_client.get(page).content.decode()
        assert key.kid in text
        assert "ciphertext" not in text
        assert '"d"' not in text


def test_keys_are_rotated_and_withdrawn_over_rest(admin_client):
    def post(path, body=None):
        answer = admin_client.post(f"/api/v1/signing-keys/{path}", body or {}, content_type="application/json")
        return answer.status_code, answer.json()

    status, first = post("rotate/")
    assert (status, first["state"]) == (200, "signs")
    assert post("rotate/")[1]["state"] == "waits"
    assert post(f"{first['kid']}/withdraw/")[1]["state"] == "signs"
    assert post("rotate/", {"kid": "mine"})[0] == 400
    shown = admin_client.get(f"/api/v1/signing-keys/{first['kid']}/").json()
    assert shown["state"] == "over"


def test_what_was_given_out_is_listed_and_never_changed(admin_client):
    now = timezone.now()
    row = ExchangedToken.objects.create(
        principal=Principal.objects.create(issuer="https://ci.example", subject="job"),
        grant_type="x",
        connection_slug="orders",
        tools=["get_*"],
        subject_digest="0" * 64,
        issued_at=now,
        expires_at=now,
    )
    assert "get_*" in admin_client.get("/admin/accounts/exchangedtoken/").content.decode()
    assert admin_client.get(f"/admin/accounts/exchangedtoken/{row.pk}/change/").status_code == 200
    assert admin_client.get(f"/api/v1/exchanged-tokens/{row.pk}/").json()["tools"] == ["get_*"]
    assert admin_client.delete(f"/api/v1/exchanged-tokens/{row.pk}/").status_code == 405
    assert admin_client.post(f"/admin/accounts/exchangedtoken/{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_task_makes_the_first_key_and_is_idempotent():
    tasks.tend_signing_keys()
    tasks.tend_signing_keys()
    assert SigningKey.objects.count() == 1


def test_the_command_lists_rotates_and_withdraws():
    def run(*arguments: str) -> list[str]:
        out = io.StringIO()
        call_command("signing_keys", *arguments, stdout=out)
        return [line.split()[1] for line in out.getvalue().splitlines()]

    assert run() == []
    assert run("--rotate") == ["signs"]
    kid = SigningKey.objects.get().kid
    assert run("--rotate") == ["waits", "signs"]
    assert run("--withdraw", kid) == ["signs", "over"]
    with pytest.raises(CommandError, match="no such key"):
        run("--withdraw", "nothing")

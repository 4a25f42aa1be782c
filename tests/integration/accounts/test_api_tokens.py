"""API tokens: their form, who they speak for, what bounds them, and that they are shown once."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

from accounts import api_tokens
from accounts.models import ApiToken, Lock, Principal, User
from accounts.scopes import SCOPES
from accounts.services import NotYours, api_token_create, api_token_revoke, provider_save
from tests.support.record import START

pytestmark = pytest.mark.django_db
ALL = sorted(set(SCOPES) - {"scim", "events"})


@pytest.fixture
def person():
    return User.objects.create_user("robot")


@pytest.fixture
def provider():
    return provider_save(name="Main", issuer="https://login.example.com", now=START)


def token_for(user, *, scopes=("read",), now=START, **values) -> str:
    return api_token_create(user=user, actor=user, name="ci", scopes=scopes, now=now, **values)[1]


def refusal(raw: str, *, scope: str | None = "read", now: datetime = START) -> str:
    with pytest.raises(api_tokens.ApiTokenRefused) as caught:
        api_tokens.authenticate(f"Bearer {raw}", scope=scope, now=now, address="192.0.2.1")
    assert raw not in str(caught.value)
    return caught.value.code


def permit(user: User, *names: str) -> User:
    for name in names:
        app, _, codename = name.partition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return User.objects.get(pk=user.pk)


def call(raw: str, method: str, path: str, body=None, **headers):
    extra = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
    client = Client(enforce_csrf_checks=True)
    return getattr(client, method)(f"/api/v1/{path}", HTTP_AUTHORIZATION=f"Bearer {raw}", **extra, **headers)


def test_a_token_is_one_word_with_256_bits_of_secret_and_a_checksum():
    one, other = api_tokens.made(), api_tokens.made()
    assert one != other
    assert re.fullmatch(r"wg_[0-9A-Za-z]{57}", one)
    assert 62**43 > 2**256
    assert api_tokens.has_form(one)


def test_no_single_mistyped_character_keeps_the_checksum():
    token = api_tokens.made()
    spoilt = [token[:at] + ("a" if token[at] != "a" else "b") + token[at + 1 :] for at in range(3, len(token))]
    assert not any(map(api_tokens.has_form, spoilt))


def test_a_good_token_speaks_for_its_user(person):
    raw = token_for(person)
    token = api_tokens.authenticate(f"Bearer {raw}", scope="read", now=START, address="192.0.2.1")
    assert token.user == person
    assert token.prefix == raw[:11]


def test_the_row_keeps_no_part_of_the_secret(person):
    raw = token_for(person)
    row = ApiToken.objects.values().get()
    assert row["digest"] == api_tokens.digest_of(raw)
    assert raw[11:] not in json.dumps(row, default=str)
    assert not any(raw[at : at + 8] in json.dumps(row, default=str) for at in range(11, len(raw) - 8))


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "token_missing"),
        ("Bearer", "token_malformed"),
        ("Bearer ", "token_malformed"),
        ("Bearer wg_short", "token_malformed"),
        ("Basic d2c6d2c=", "token_malformed"),
        ("Bearer a b", "token_malformed"),
        ("Bearer eyJhbGciOiJub25lIn0.e30.", "token_malformed"),
    ],
)
def test_a_header_without_a_token_of_ours_is_refused(header, code):
    with pytest.raises(api_tokens.ApiTokenRefused) as caught:
        api_tokens.authenticate(header, scope="read", now=START, address="")
    assert caught.value.code == code


def test_made_up_tokens_are_unknown_even_with_the_prefix_of_a_real_one(person):
    raw = token_for(person)
    body = raw[:11] + "A" * 43
    assert refusal(body + api_tokens._checksum(body)) == "token_unknown"
    assert refusal(api_tokens.made()) == "token_unknown"


def test_a_token_ends_at_its_moment_and_not_before(person):
    raw = token_for(person, expires_at=START + timedelta(days=1))
    api_tokens.authenticate(
        f"Bearer {raw}", scope="read", now=START + timedelta(hours=23, minutes=59, seconds=59), address=""
    )
    assert refusal(raw, now=START + timedelta(days=1)) == "token_expired"


def test_a_revoked_token_is_refused_at_once_and_revoking_again_changes_nothing(person):
    raw = token_for(person)
    row = api_token_revoke(token_id=ApiToken.objects.get().pk, actor=person, now=START)
    assert refusal(raw) == "token_revoked"
    again = api_token_revoke(token_id=row.pk, actor=person, now=START + timedelta(days=1))
    assert again.revoked_at == START


def test_the_token_of_an_inactive_person_is_refused(person):
    raw = token_for(person)
    User.objects.update(is_active=False)
    assert refusal(raw) == "user_inactive"


def test_the_token_of_a_locked_person_is_refused_until_the_lock_ends(person):
    raw = token_for(person)
    person.principal = Principal.objects.create(issuer="https://login.example.com", subject="robot")
    person.save()
    Lock.objects.create(
        kind="principal",
        principal=person.principal,
        reason="left",
        created_at=START,
        ends_at=START + timedelta(hours=1),
    )
    assert refusal(raw) == "locked"
    assert api_tokens.authenticate(f"Bearer {raw}", scope="read", now=START + timedelta(hours=1), address="")


def test_the_token_of_a_provider_dies_with_it(person, provider):
    raw = token_for(person, scopes=["scim"], provider=provider)
    assert api_tokens.authenticate(f"Bearer {raw}", scope="scim", now=START, address="").provider == provider
    lock = Lock.objects.create(kind="provider", provider=provider, reason="breach", created_at=START)
    assert refusal(raw, scope="scim") == "locked"
    lock.delete()
    type(provider).objects.update(is_active=False)
    assert refusal(raw, scope="scim") == "provider_inactive"


def test_a_scope_holds_no_other_one_and_a_place_without_a_scope_takes_no_token(person):
    raw = token_for(person, scopes=["admin"])
    assert refusal(raw, scope="read") == "scope_missing"
    assert refusal(raw, scope=None) == "scope_missing"


def test_the_last_use_is_noted_once_a_minute(person):
    raw = token_for(person)
    moments = []
    for seconds in (0, 59, 60, 61):
        at = START + timedelta(seconds=seconds)
        api_tokens.authenticate(f"Bearer {raw}", scope="read", now=at, address=f"192.0.2.{seconds}")
        row = ApiToken.objects.get()
        moments.append((row.last_used_at, row.last_used_address))
    first, second = (START, "192.0.2.0"), (START + timedelta(seconds=60), "192.0.2.60")
    assert moments == [first, first, second, second]


@pytest.mark.parametrize(
    ("values", "field", "code"),
    [
        ({"scopes": []}, "scopes", "no_scope"),
        ({"scopes": ["root"]}, "scopes", "unknown_scope"),
        ({"scopes": "read"}, "scopes", "not_a_list_of_texts"),
        ({"scopes": ["scim"]}, "provider", "provider_missing"),
        ({"name": ""}, "name", "blank"),
        ({"expires_at": START}, "expires_at", "bad_end"),
        ({"expires_at": START + timedelta(days=91)}, "expires_at", "bad_end"),
    ],
)
def test_what_cannot_be_made_is_refused_at_its_field(person, values, field, code):
    with pytest.raises(ValidationError) as caught:
        api_token_create(**{"user": person, "actor": person, "name": "ci", "scopes": ["read"], "now": START, **values})
    assert code in [error.code for error in caught.value.error_dict[field]]
    assert not ApiToken.objects.exists()


def test_a_provider_is_only_named_by_tokens_that_speak_for_it(person, provider):
    with pytest.raises(ValidationError) as caught:
        token_for(person, scopes=["read"], provider=provider)
    assert caught.value.error_dict["provider"][0].code == "provider_unused"


def test_nobody_makes_a_token_for_somebody_who_may_do_more(person, admin_user):
    operator = permit(User.objects.create_user("operator"), "accounts.add_apitoken")
    permit(person, "accounts.add_lock")
    for target in (admin_user, User.objects.get(pk=person.pk)):
        with pytest.raises(NotYours):
            api_token_create(user=target, actor=operator, name="ci", scopes=["read"], now=START)
    equal = User.objects.create_user("equal")
    assert api_token_create(user=equal, actor=operator, name="ci", scopes=["read"], now=START)[0].user == equal
    with pytest.raises(NotYours):
        api_token_create(user=operator, actor=equal, name="ci", scopes=["read"], now=START)


def test_a_token_makes_none_that_may_more_or_lives_longer(person):
    first, _ = api_token_create(
        user=person, actor=person, name="ci", scopes=["admin"], expires_at=START + timedelta(days=2), now=START
    )
    made, _ = api_token_create(user=person, actor=person, name="next", scopes=["admin"], made_with=first, now=START)
    assert made.expires_at == first.expires_at
    for values, field in (
        ({"scopes": ["admin", "write"]}, "scopes"),
        ({"scopes": ["admin"], "expires_at": START + timedelta(days=3)}, "expires_at"),
    ):
        with pytest.raises(ValidationError) as caught:
            api_token_create(user=person, actor=person, name="next", made_with=first, now=START, **values)
        assert list(caught.value.error_dict) == [field]


def test_rest_asks_for_the_scope_and_for_the_permission(person):
    now = timezone.now()
    reading, writing = token_for(person, now=now), token_for(person, scopes=["write"], now=now)
    assert call(reading, "get", "connections/").status_code == 403
    permit(person, "connections.view_connection", "connections.add_connection")
    assert call(reading, "get", "connections/").status_code == 200
    body = {"slug": "wiki", "name": "Wiki", "upstream_url": "https://wiki.example.com/mcp"}
    answer = call(reading, "post", "connections/", body)
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_missing")
    assert call(writing, "get", "connections/").json()["code"] == "scope_missing"
    assert call(writing, "post", "connections/", body).status_code == 201


def test_rest_notes_from_where_a_token_was_used_behind_a_trusted_proxy(person, settings):
    settings.WARDGATE_TRUSTED_PROXIES = ["10.0.0.0/8"]
    for place, peer in (("198.51.100.7", "10.0.0.1"), ("192.0.2.9", "192.0.2.9")):
        token = token_for(person, now=timezone.now())
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": "198.51.100.7"}
        assert Client(headers=headers).get("/api/v1/connections/", REMOTE_ADDR=peer).status_code == 403
        assert ApiToken.objects.get(prefix=api_tokens.prefix_of(token)).last_used_address == place


def test_rest_answers_401_to_a_bad_token_even_beside_a_good_session(admin_client):
    answer = admin_client.get("/api/v1/connections/", HTTP_AUTHORIZATION=f"Bearer {api_tokens.made()}")
    assert (answer.status_code, answer.json()["code"]) == (401, "token_unknown")
    assert answer["WWW-Authenticate"] == 'Bearer realm="wardgate"'
    assert admin_client.get("/api/v1/connections/").status_code == 200


def test_rest_shows_a_token_once_and_to_nobody_else(person, client):
    client.force_login(person)
    answer = client.post("/api/v1/api-tokens/", {"name": "ci", "scopes": ["read"]}, content_type="application/json")
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    raw = answer.json()["token"]
    assert api_tokens.has_form(raw)
    path = f"/api/v1/api-tokens/{answer.json()['id']}/"
    for seen in (client.get(path), client.get("/api/v1/api-tokens/")):
        assert seen.status_code == 200
        assert raw[11:] not in seen.content.decode()
        assert "digest" not in seen.content.decode()
    stranger = Client()
    stranger.force_login(User.objects.create_user("stranger"))
    assert stranger.get(path).status_code == 404
    assert stranger.delete(path).status_code == 404
    assert client.delete(path).status_code == 204
    assert call(raw, "get", "connections/").json()["code"] == "token_revoked"


def test_rest_refuses_what_a_token_may_not_set(person, client):
    client.force_login(person)
    fields = ["id", "prefix", "digest", "created_at", "last_used_at", "revoked_at", "is_superuser"]
    body = {"name": "ci", "scopes": ["read"], **dict.fromkeys(fields, "2030-01-01T00:00:00Z")}
    answer = client.post("/api/v1/api-tokens/", body, content_type="application/json")
    assert answer.status_code == 400
    assert sorted(answer.json()["fields"]) == sorted(fields)


def test_rest_makes_no_token_for_somebody_else(person, client, admin_user):
    client.force_login(person)
    body = {"name": "ci", "scopes": ["read"], "user": admin_user.pk}
    answer = client.post("/api/v1/api-tokens/", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "not_yours")


def test_a_session_still_needs_its_csrf_token(admin_user):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    answer = strict.post("/api/v1/api-tokens/", {"name": "ci", "scopes": ["read"]}, content_type="application/json")
    assert answer.status_code == 403
    assert "CSRF" in answer.json()["detail"]

"""The token endpoint: who gets a token for what, who gets none, and what stays behind as evidence."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.test import Client
from django.utils import timezone

from accounts import issuing, tokens
from accounts.keys import decode_segment, key_set
from accounts.models import ExchangedToken, Principal, SigningKey
from accounts.services import lock_place, provider_save, token_revoke
from accounts.services.signing import signing_key_rotate
from connections.services import connection_save
from gateway_project import oauth
from policies.services import grant_save
from tests.support.idp import Issuer

PUBLIC = "http://127.0.0.1:8080"
HERE = f"{PUBLIC}/oauth/token"
ORDERS = f"{PUBLIC}/mcp/orders"
FORM = "application/x-www-form-urlencoded"

pytestmark = pytest.mark.django_db


@pytest.fixture
def issuer(settings):
    settings.WARDGATE_PUBLIC_URL = PUBLIC
    return Issuer("https://ci.example", audience=HERE)


@pytest.fixture
def provider(issuer):
    return provider_save(
        name="CI", issuer=issuer.issuer, pinned_jwks=issuer.jwks(), principal_kind="machine", now=timezone.now()
    )


@pytest.fixture
def connection():
    return connection_save(
        slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=timezone.now()
    )


@pytest.fixture
def grant(provider, connection):
    principal = Principal.objects.create(issuer=provider.issuer, subject="alice")
    return grant_save(connection=connection, principal=principal, tools=["get_*"], now=timezone.now())


@pytest.fixture
def asked(issuer, grant):
    return {
        "grant_type": oauth.EXCHANGE,
        "subject_token": issuer.token(),
        "subject_token_type": oauth.ACCESS_TOKEN,
        "resource": ORDERS,
    }


def post(fields, **headers):
    body = fields if isinstance(fields, str | bytes) else urlencode(fields)
    answer = Client(enforce_csrf_checks=True).post("/oauth/token", body, content_type=FORM, **headers)
    assert answer["Cache-Control"] == "no-store"
    return answer.status_code, answer.json()


def error(fields, **headers) -> tuple[int, str]:
    status, body = post(fields, **headers)
    assert set(body) == {"error", "error_description"}
    return status, body["error"]


def claims(raw: str) -> dict:
    return json.loads(decode_segment(raw.split(".")[1].encode()))


def test_a_workload_token_is_exchanged_for_one_of_minutes_at_one_connection(asked, issuer):
    status, body = post({**asked, "tools": "get_order get_*"})
    assert status == 200, body
    assert (body["token_type"], body["issued_token_type"]) == ("Bearer", oauth.ACCESS_TOKEN)
    assert 299 <= body["expires_in"] <= 300
    assert body["scope"] == "tool:get_order tool:get_*"
    made = claims(body["access_token"])
    assert (made["iss"], made["aud"], made["sub"]) == (PUBLIC, ORDERS, "alice")
    assert (made["wg_iss"], made["wg_kind"], made["wg_groups"]) == (issuer.issuer, "machine", ["sre"])
    assert (made["wg_connection"], made["wg_tools"]) == ("orders", ["get_order", "get_*"])


def test_the_evidence_is_the_row_and_never_the_token(asked, issuer):
    _, body = post(asked, REMOTE_ADDR="192.0.2.7")
    row = ExchangedToken.objects.get()
    assert claims(body["access_token"])["jti"] == str(row.pk)
    assert (row.principal.subject, row.connection_slug, row.tools) == ("alice", "orders", ["*"])
    assert row.address == "192.0.2.7"
    assert row.expires_at - row.issued_at <= timedelta(seconds=300)
    kept = json.dumps(list(ExchangedToken.objects.values()), default=str)
    assert body["access_token"].rpartition(".")[2] not in kept
    assert asked["subject_token"].rpartition(".")[2] not in kept


def test_what_is_given_out_verifies_with_the_published_keys(asked):
    _, body = post(asked)
    published = Client().get("/oauth/jwks")
    assert published["Cache-Control"] == "public, max-age=300"
    rows, now = SigningKey.objects.all(), timezone.now()
    provider = issuing.signing_provider(rows, now=now, public_url=PUBLIC)
    assert provider.pinned_jwks == published.json()
    identity = tokens.verify(
        body["access_token"].encode(),
        provider=provider,
        keys=key_set(published.json(), algorithms=provider.algorithms),
        now=now.timestamp(),
        audience=ORDERS,
    )
    assert isinstance(identity, tokens.Identity)


def test_the_metadata_names_the_places(settings):
    settings.WARDGATE_PUBLIC_URL = PUBLIC
    body = Client().get("/.well-known/oauth-authorization-server").json()
    assert (body["issuer"], body["token_endpoint"], body["jwks_uri"]) == (PUBLIC, HERE, f"{PUBLIC}/oauth/jwks")
    assert body["grant_types_supported"] == [oauth.EXCHANGE, oauth.SAML_BEARER]
    assert body["response_types_supported"] == []


def test_the_token_never_outlives_what_it_was_exchanged_for(asked, issuer):
    soon = int(time.time()) + 60
    _, body = post({**asked, "subject_token": issuer.token(exp=soon)})
    assert claims(body["access_token"])["exp"] == soon
    assert body["expires_in"] <= 60


@pytest.mark.parametrize(("wanted", "given"), [("45", 45), ("300", 300), ("86400", 300)])
def test_a_shorter_life_may_be_asked_for_and_a_longer_one_is_cut(asked, issuer, wanted, given):
    asked["subject_token"] = issuer.token(exp=int(time.time()) + 3000)
    _, body = post({**asked, "lifetime": wanted})
    made = claims(body["access_token"])
    assert made["exp"] - made["iat"] == given


def test_a_scope_narrows_as_tools_do(asked):
    _, body = post({**asked, "scope": "tool:get_order"})
    assert claims(body["access_token"])["wg_tools"] == ["get_order"]


def test_an_actor_is_named_before_those_who_acted_earlier(asked, issuer):
    asked["subject_token"] = issuer.token(act={"sub": "planner"})
    actor = {"actor_token": issuer.token(sub="agent"), "actor_token_type": oauth.JWT}
    _, body = post({**asked, **actor})
    assert claims(body["access_token"])["act"] == {"iss": issuer.issuer, "sub": "agent", "act": {"sub": "planner"}}
    assert ExchangedToken.objects.get().actors == [f"{issuer.issuer}|agent", "planner"]


def test_the_subject_token_may_say_who_may_act(asked, issuer):
    asked["subject_token"] = issuer.token(may_act={"sub": "agent"})
    asked["actor_token_type"] = oauth.JWT
    assert post({**asked, "actor_token": issuer.token(sub="agent")})[0] == 200
    assert error({**asked, "actor_token": issuer.token(sub="other")}) == (400, "invalid_request")


@pytest.mark.parametrize(
    "spoilt",
    [
        {"aud": ORDERS},
        {"aud": PUBLIC},
        {"aud": "https://elsewhere.example"},
        {"exp": 1_000_000_000},
        {"iss": "https://stranger.example"},
        {"iss": PUBLIC},
        {"typ": "JWT", "nonce": "n"},
        {"cnf": {"jkt": "x"}},
        {"token_use": "id"},
    ],
)
def test_a_token_that_was_not_made_for_this_endpoint_is_refused(asked, issuer, spoilt):
    assert error({**asked, "subject_token": issuer.token(**spoilt)}) == (400, "invalid_request")
    assert not ExchangedToken.objects.exists()


@pytest.mark.parametrize("presented", ["", "garbage", "a.b.c", "x" * 20_000, "\u00e9.\u00e9.\u00e9"])
def test_garbage_is_refused_with_a_sentence_that_does_not_repeat_it(asked, presented):
    status, body = post({**asked, "subject_token": presented})
    assert (status, body["error"]) == (400, "invalid_request")
    assert len(presented) < 4 or presented not in body["error_description"]


def test_a_token_of_the_gateway_is_not_exchanged_again(asked, connection):
    _, body = post(asked)
    assert error({**asked, "subject_token": body["access_token"]}) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"grant_type": None}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token_type": None}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"actor_token_type": oauth.JWT}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"resource": None}, "invalid_target"),
        ({"resource": f"{PUBLIC}/mcp/nothing"}, "invalid_target"),
        ({"resource": f"{ORDERS}/"}, "invalid_target"),
        ({"resource": f"{ORDERS}?x=1"}, "invalid_target"),
        ({"resource": "orders"}, "invalid_target"),
        ({"resource": "https://elsewhere.example/mcp/orders"}, "invalid_target"),
        ({"audience": f"{PUBLIC}/mcp/wiki"}, "invalid_target"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"scope": "tool:"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"tools": " "}, "invalid_scope"),
        ({"tools": "x" * 300}, "invalid_scope"),
        ({"tools": "a", "scope": "tool:a"}, "invalid_scope"),
        ({"tools": " ".join(f"t{number}" for number in range(51))}, "invalid_scope"),
        ({"lifetime": "0"}, "invalid_request"),
        ({"lifetime": "-1"}, "invalid_request"),
        ({"lifetime": "1e9"}, "invalid_request"),
        ({"lifetime": "\u0665"}, "invalid_request"),
    ],
)
def test_a_request_that_is_not_right_is_refused_with_its_code(asked, changes, code):
    fields = {name: value for name, value in {**asked, **changes}.items() if value is not None}
    assert error(fields) == (400, code)
    assert not ExchangedToken.objects.exists()


def test_a_field_that_is_there_twice_is_refused(asked):
    assert error(urlencode(asked) + "&" + urlencode({"resource": ORDERS})) == (400, "invalid_request")


def test_a_body_that_is_no_form_or_too_large_is_refused(asked):
    answer = Client().post("/oauth/token", json.dumps(asked), content_type="application/json")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert error({**asked, "padding": "x" * oauth.BODY_BYTES}) == (400, "invalid_request")


def test_there_are_no_clients_to_authenticate(asked):
    assert error(asked, HTTP_AUTHORIZATION="Basic Zm9vOmJhcg==") == (401, "invalid_client")


def test_fields_of_the_query_count_for_nothing(asked):
    answer = Client().post(f"/oauth/token?{urlencode(asked)}", "", content_type=FORM)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


def test_no_grant_and_no_connection_are_the_same_to_whoever_asks(asked, issuer, connection):
    stranger = {**asked, "subject_token": issuer.token(sub="bob", groups=[])}
    nowhere = {**asked, "resource": f"{PUBLIC}/mcp/nothing"}
    assert post(stranger) == post(nowhere)
    type(connection).objects.update(is_active=False)
    assert post(asked) == post(nowhere)


def test_a_grant_to_a_group_counts_and_one_that_is_over_does_not(asked, issuer, provider, connection, grant):
    grant.delete()
    assert error(asked) == (400, "invalid_target")
    group = provider.groups.create(name="sre")
    ended = grant_save(
        connection=connection,
        group=group,
        tools=["*"],
        valid_until=timezone.now() - timedelta(seconds=1),
        now=timezone.now(),
    )
    assert error(asked) == (400, "invalid_target")
    type(ended).objects.update(valid_until=None)
    assert post(asked)[0] == 200


def test_a_grant_by_label_and_condition_counts_as_it_does_at_a_call(asked, connection, grant):
    grant.delete()
    type(connection).objects.update(labels=["prod"])
    values = {"labels": ["prod"], "tools": ["*"], "now": timezone.now()}
    row = grant_save(condition='"sre" in identity.groups && identity.kind == "robot"', **values)
    assert error(asked) == (400, "invalid_target")
    grant_save(grant_id=row.pk, condition='"sre" in identity.groups', **values)
    assert post(asked)[0] == 200
    type(connection).objects.update(labels=["test"])
    assert error(asked) == (400, "invalid_target")
    type(connection).objects.update(labels=["prod"])
    grant_save(grant_id=row.pk, condition='"sre" in identity.groups', networks=["198.51.100.0/24"], **values)
    assert error(asked) == (400, "invalid_target")


@pytest.mark.parametrize("kind", ["principal", "provider", "connection", "agent"])
def test_who_is_locked_gets_no_token(asked, provider, connection, grant, kind):
    target = {
        "principal": grant.principal,
        "provider": provider,
        "connection": connection,
        "agent": "test-client",
    }[kind]
    lock_place(kind=kind, reason="incident", source="console", now=timezone.now(), **{kind: target})
    assert error(asked) == (400, "invalid_request")
    assert not ExchangedToken.objects.exists()


def test_a_locked_actor_gets_no_token_for_anybody(asked, issuer):
    actor = Principal.objects.create(issuer=issuer.issuer, subject="agent")
    lock_place(kind="principal", principal=actor, reason="incident", source="console", now=timezone.now())
    presented = {"actor_token": issuer.token(sub="agent"), "actor_token_type": oauth.JWT}
    assert error({**asked, **presented}) == (400, "invalid_request")


def test_a_revoked_token_is_exchanged_for_nothing(asked, issuer):
    now = timezone.now()
    asked["subject_token"] = issuer.token(jti="one")
    token_revoke(
        kind="token_id",
        issuer=issuer.issuer,
        value="one",
        source="api",
        reason="leaked",
        expires_at=now + timedelta(hours=1),
        now=now,
    )
    assert error(asked) == (400, "invalid_request")


def test_a_provider_that_is_switched_off_vouches_for_nobody(asked, provider):
    type(provider).objects.update(is_active=False)
    assert error(asked) == (400, "invalid_request")


def test_one_principal_gets_so_many_tokens_a_minute_and_others_go_on(asked, issuer, connection, settings):
    settings.WARDGATE_EXCHANGES_PER_MINUTE = 3
    assert [post(asked)[0] for _ in range(4)] == [200, 200, 200, 429]
    bob = Principal.objects.create(issuer=issuer.issuer, subject="bob")
    grant_save(connection=connection, principal=bob, tools=["*"], now=timezone.now())
    assert post({**asked, "subject_token": issuer.token(sub="bob")})[0] == 200


def test_when_nothing_can_be_signed_nothing_is_given_out_and_nothing_is_claimed(asked, settings):
    settings.WARDGATE_MASTER_KEYS = ""
    assert error(asked) == (503, "temporarily_unavailable")
    assert not ExchangedToken.objects.exists()


def test_exchanges_go_on_through_a_rotation_and_all_tokens_verify(asked):
    raw = [post(asked)[1]["access_token"]]
    SigningKey.objects.update(signs_from=timezone.now() - timedelta(days=1))
    signing_key_rotate(now=timezone.now() - timedelta(seconds=601))
    raw.append(post(asked)[1]["access_token"])
    kids = {json.loads(decode_segment(one.split(".")[0].encode()))["kid"] for one in raw}
    published = {key["kid"] for key in Client().get("/oauth/jwks").json()["keys"]}
    assert len(kids) == 2
    assert kids <= published


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "options", "head"])
def test_only_a_post_asks_for_a_token(method):
    assert getattr(Client(), method)("/oauth/token").status_code == 405

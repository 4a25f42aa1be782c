"""The demo's identity provider and its orders: what they give, and to whom."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from gateway_project.demo.idp import Answer, Issuer, load_key
from gateway_project.demo.orders import ORDERS, with_credential
from gateway_project.demo.people import AUDIENCE, PEOPLE, TOKEN_SECONDS
from policies.engine.luhn import is_card_number

NOW = 1_790_000_000


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    key = RSAKey.generate_key(2048, {"kid": "k"}, private=True)
    return Issuer("http://127.0.0.1:8081", key, {name: f"password of {name}" for name in PEOPLE})


def login(issuer: Issuer, form: dict[str, str], *, authorization: str = "") -> Answer:
    return issuer.grant(form, authorization=authorization, now=NOW)


def as_alice(**changed: str) -> dict[str, str]:
    return {"grant_type": "password", "username": "alice", "password": "password of alice", **changed}


def test_a_person_gets_an_access_token_with_groups_for_an_hour(issuer):
    answer = login(issuer, as_alice())
    assert answer.status == 200
    keys = KeySet.import_key_set(dict(issuer.key_set().body))  # type: ignore[arg-type]
    token = jwt.decode(answer.body["access_token"], keys, algorithms=["RS256"])
    assert token.header["typ"] == "at+jwt"
    claims = token.claims
    assert (claims["iss"], claims["aud"], claims["sub"]) == (issuer.issuer, AUDIENCE, "demo-alice")
    assert claims["groups"] == ["support"]
    assert claims["exp"] - claims["iat"] == TOKEN_SECONDS
    assert claims["nbf"] == NOW


def test_a_token_names_the_resource_that_was_asked_for(issuer):
    answer = login(issuer, as_alice(resource="https://gate.example/mcp/orders"))
    token = jwt.decode(answer.body["access_token"], issuer.key, algorithms=["RS256"])
    assert token.claims["aud"] == "https://gate.example/mcp/orders"


def test_a_program_proves_itself_with_its_secret(issuer):
    credentials = base64.b64encode(b"nightly-report:password%20of%20nightly-report").decode()
    answer = login(issuer, {"grant_type": "client_credentials"}, authorization=f"Basic {credentials}")
    assert answer.status == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        (as_alice(password="wrong"), 400, "invalid_grant"),
        (as_alice(password=""), 400, "invalid_grant"),
        (as_alice(username="nobody"), 400, "invalid_grant"),
        (as_alice(username="nightly-report", password="password of nightly-report"), 400, "invalid_grant"),
        ({"grant_type": "client_credentials", "client_id": "alice", "client_secret": "password of alice"}, 401,
         "invalid_client"),
        ({"grant_type": "authorization_code"}, 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
    ],
)  # fmt: skip
def test_everything_else_gets_no_token(issuer, form, status, error):
    answer = login(issuer, form)
    assert (answer.status, dict(answer.body)) == (status, {"error": error})


def test_the_published_key_is_public(issuer):
    (key,) = issuer.key_set().body["keys"]
    assert key.keys() == {"kty", "n", "e", "kid", "use", "alg"}


def test_the_signing_key_is_kept_for_its_owner_only(tmp_path):
    path = tmp_path / "key.json"
    made = load_key(path)
    assert load_key(path).as_dict(private=True) == made.as_dict(private=True)
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_password_or_key_is_in_the_issuers_repr(issuer):
    assert "password of" not in repr(issuer)


def test_every_card_of_the_demo_passes_the_luhn_check():
    for order in ORDERS.values():
        assert is_card_number(re.sub(r"\D", "", order.card).encode())


@pytest.mark.parametrize(
    "headers",
    [[], [(b"authorization", b"Bearer wrong")], [(b"authorization", b"Bearer right"), (b"authorization", b"Bearer x")]],
)
async def test_without_exactly_the_credential_the_orders_server_answers_401(headers):
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("the request went through")

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    await with_credential(app, "right")({"type": "http", "headers": headers}, receive, send)
    assert sent[0]["status"] == 401

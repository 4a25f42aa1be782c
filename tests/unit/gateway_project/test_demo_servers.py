"""The demo's identity provider and its orders: what they give, and to whom."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from gateway_project.demo.idp import Answer, Issuer, load_key
from gateway_project.demo.login import CODE_SECONDS, MAX_CODES, Logins
from gateway_project.demo.orders import ORDERS, with_credential
from gateway_project.demo.people import AUDIENCE, CLIENT_ID, PEOPLE, TOKEN_SECONDS
from policies.engine.luhn import is_card_number

NOW = 1_790_000_000
CONSOLE = "http://127.0.0.1:8080"
VERIFIER = "v" * 43
CALLBACK = f"{CONSOLE}/admin/login/oidc/8b0c/callback/"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    key = RSAKey.generate_key(2048, {"kid": "k"}, private=True)
    passwords = {name: f"password of {name}" for name in PEOPLE}
    return Issuer("http://127.0.0.1:8081", key, passwords, Logins(CONSOLE))


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
        ({"grant_type": "authorization_code"}, 400, "invalid_grant"),
        ({"grant_type": "device_code"}, 400, "unsupported_grant_type"),
        ({}, 400, "unsupported_grant_type"),
    ],
)  # fmt: skip
def test_everything_else_gets_no_token(issuer, form, status, error):
    answer = login(issuer, form)
    assert (answer.status, dict(answer.body)) == (status, {"error": error})


def asked(**changed: str) -> dict[str, str]:
    digest = hashlib.sha256(VERIFIER.encode()).digest()
    return {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": CALLBACK,
        "state": "s t",
        "nonce": "n",
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        **changed,
    }


def code_for_bob(issuer: Issuer, **changed: str) -> str:
    answers = asked(username="bob", password="password of bob", **changed)
    shown = issuer.authorize(answers, is_answer=True, now=NOW)
    assert shown.status == 303
    place = urlsplit(shown.location)
    query = dict(parse_qsl(place.query))
    assert (f"{place.scheme}://{place.netloc}{place.path}", query["state"]) == (CALLBACK, "s t")
    assert query["iss"] == issuer.issuer
    return query["code"]


def redemption(code: str, **changed: str) -> dict[str, str]:
    form = {"client_id": CLIENT_ID, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, "code": code}
    return {"grant_type": "authorization_code", **form, **changed}


def test_a_code_gives_an_id_token_for_the_console_once(issuer):
    code = code_for_bob(issuer)
    answer = login(issuer, redemption(code))
    claims = jwt.decode(answer.body["id_token"], issuer.key, algorithms=["RS256"]).claims
    assert (claims["iss"], claims["aud"], claims["sub"]) == (issuer.issuer, CLIENT_ID, "demo-bob")
    assert (claims["nonce"], claims["groups"], claims["auth_time"]) == ("n", ["admins"], NOW)
    assert login(issuer, redemption(code)).body == {"error": "invalid_grant"}


@pytest.mark.parametrize(
    "changed",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": ""},
        {"redirect_uri": f"{CALLBACK}x"},
        {"client_id": "another"},
        {"code": "guess"},
    ],
)
def test_a_code_is_good_only_for_whoever_asked_for_it(issuer, changed):
    assert login(issuer, redemption(code_for_bob(issuer)) | changed).body == {"error": "invalid_grant"}


def test_a_code_is_good_for_a_minute(issuer):
    code = code_for_bob(issuer)
    late = issuer.grant(redemption(code), authorization="", now=NOW + CODE_SECONDS + 1)
    assert late.body == {"error": "invalid_grant"}


def test_the_oldest_of_too_many_codes_gives_way(issuer):
    first = code_for_bob(issuer)
    for _ in range(MAX_CODES):
        last = code_for_bob(issuer)
    assert login(issuer, redemption(first)).status == 400
    assert login(issuer, redemption(last)).status == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"client_id": "another"},
        {"redirect_uri": "https://evil.example/admin/login/oidc/8b0c/callback/"},
        {"redirect_uri": f"{CONSOLE}@evil.example/admin/login/oidc/"},
        {"redirect_uri": f"{CONSOLE}/admin/"},
        {"redirect_uri": f"{CALLBACK}?next=x"},
        {"response_type": "token"},
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
    ],
)
def test_only_the_console_may_ask_for_a_login_and_only_with_pkce(issuer, changed):
    answers = asked(username="bob", password="password of bob", **changed)
    for is_answer in (False, True):
        shown = issuer.authorize(answers, is_answer=is_answer, now=NOW)
        assert (shown.status, shown.location) == (400, "")


@pytest.mark.parametrize(
    ("name", "password"),
    [("bob", "wrong"), ("bob", ""), ("nobody", "x"), ("nightly-report", "password of nightly-report")],
)
def test_a_wrong_password_shows_the_page_again(issuer, name, password):
    shown = issuer.authorize(asked(username=name, password=password), is_answer=True, now=NOW)
    assert (shown.status, shown.location) == (200, "")
    assert "User name or password is wrong." in shown.html


def test_the_login_page_repeats_the_request_as_text_only(issuer):
    shown = issuer.authorize(asked(state='"><script>x</script>'), is_answer=False, now=NOW)
    assert "&quot;&gt;&lt;script&gt;" in shown.html
    assert "<script>" not in shown.html


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

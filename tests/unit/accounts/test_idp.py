"""The tests' issuer is itself held to what the tests rely on, over a real socket on the loopback address."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import pytest

from accounts.tokens import Identity, Rejected, verify
from tests.support.idp import ABSENT, Issuer

RESOURCE = "https://gateway.example/mcp/orders"


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = build_opener(_NoRedirects)


def asked(url: str, form: dict[str, str] | None = None, token: str = "") -> tuple[int, bytes, str]:
    """Return status, body and Location."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = Request(url, data=urlencode(form).encode() if form is not None else None, headers=headers)
    try:
        with _OPENER.open(request, timeout=5) as answer:
            return answer.status, answer.read(), ""
    except HTTPError as error:
        with error:
            return error.code, error.read(), error.headers.get("Location", "")


def judged(issuer: Issuer, token: str, audience: str = RESOURCE) -> Identity | Rejected:
    return verify(token.encode(), provider=issuer.provider(), keys=issuer.keys(), now=time.time(), audience=audience)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    served = Issuer(audience=RESOURCE)
    with served.serving():
        yield served


def test_a_machine_gets_an_access_token_for_the_resource_it_names(issuer: Issuer) -> None:
    discovery = json.loads(asked(issuer.issuer + "/.well-known/openid-configuration")[1])
    assert discovery["issuer"] == issuer.issuer
    assert json.loads(asked(discovery["jwks_uri"])[1]) == issuer.jwks()
    form = {"grant_type": "client_credentials", "client_id": "robot", "resource": "https://gateway.example/mcp/x"}
    token = json.loads(asked(discovery["token_endpoint"], form)[1])["access_token"]
    identity = judged(issuer, token, "https://gateway.example/mcp/x")
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.client_id) == ("robot", "robot")


def test_a_person_logs_in_once_with_a_code_and_its_verifier(issuer: Issuer) -> None:
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"verifier").digest()).rstrip(b"=").decode()
    query = {
        "client_id": "console",
        "redirect_uri": "https://console.example/back?a=b",
        "state": "s",
        "nonce": "n",
        "login_hint": "bob",
        "code_challenge": challenge,
    }
    status, _, location = asked(issuer.issuer + "/oauth2/authorize?" + urlencode(query))
    back = parse_qs(urlsplit(location).query)
    assert (status, back["state"], back["a"]) == (302, ["s"], ["b"])
    form = {"grant_type": "authorization_code", "code": back["code"][0], "code_verifier": "verifier"}
    grant = json.loads(asked(issuer.issuer + "/oauth2/token", form)[1])
    access, identity_token = judged(issuer, grant["access_token"]), judged(issuer, grant["id_token"], "console")
    assert isinstance(access, Identity)
    assert (access.subject, access.groups, access.client_id) == ("bob", frozenset({"support"}), "console")
    assert isinstance(identity_token, Rejected)
    assert identity_token.code == "token_type"
    assert json.loads(asked(issuer.issuer + "/userinfo", token=grant["access_token"])[1])["sub"] == "bob"
    assert asked(issuer.issuer + "/userinfo", token="other")[0] == 401
    assert asked(issuer.issuer + "/oauth2/token", form)[0] == 400


def test_a_code_is_worth_nothing_with_another_verifier(issuer: Issuer) -> None:
    query = {"redirect_uri": "https://console.example/", "code_challenge": "x" * 43}
    code = parse_qs(urlsplit(asked(issuer.issuer + "/oauth2/authorize?" + urlencode(query))[2]).query)["code"][0]
    assert asked(issuer.issuer + "/oauth2/token", {"code": code, "code_verifier": "verifier"})[0] == 400


def test_it_misbehaves_as_it_is_told(issuer: Issuer) -> None:
    wrong, keys_url = issuer.misbehaviour, issuer.issuer + "/jwks"
    wrong.jwks, wrong.padding_bytes = b"rubbish", 1000
    assert asked(keys_url)[:2] == (200, b"rubbish" + b" " * 1000)
    wrong.redirect_to = "http://169.254.169.254/"
    assert asked(keys_url)[::2] == (302, "http://169.254.169.254/")
    wrong.redirect_to, wrong.status = "", 503
    assert asked(keys_url)[0] == 503
    wrong.claims, wrong.header = {"aud": "elsewhere"}, {"kid": ABSENT}
    verdict = judged(issuer, issuer.token())
    assert isinstance(verdict, Rejected)
    assert verdict.code == "token_audience"
    assert issuer.requests["/jwks"] == 3


def test_it_serves_no_page_that_it_does_not_have(issuer: Issuer) -> None:
    assert asked(issuer.issuer + "/admin")[0] == 404

"""The demo's identity provider: an OpenID Connect issuer with four known people and tokens for an hour.

It offers what the demo needs and no more: discovery, the key set, a login page for the console (`demo.login`), and a
token endpoint for its codes, with `client_credentials` and the password grant. The password grant is not for anything
real (RFC 9700 section 2.4); here `run.py token` stands in for a client that opens a browser. Access tokens are those of
RFC 9068; everything is signed RS256 with a key that is made at the first start.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway_project.demo.login import Given, Logins, page
from gateway_project.demo.people import AUDIENCE, PEOPLE, TOKEN_SECONDS, Person
from gateway_project.demo.serving import Receive, Scope, Send, required, serve

FORM_BYTES = 16 * 1024
_PAGE_HEADERS = [
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]
ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a JSON object."""

    status: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shown:
    """A page for the browser, or where it goes instead."""

    status: int
    html: str = field(default="", repr=False)
    location: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuer's name, its key, the password of each person (a program's is its client secret), and logins."""

    issuer: str
    key: RSAKey = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    logins: Logins = field(default_factory=lambda: Logins(""), repr=False)

    def discovery(self) -> Answer:
        """Return the metadata (RFC 8414 section 2 and OpenID Connect Discovery 1.0 section 3)."""
        return Answer(
            200,
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/jwks",
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "grant_types_supported": ["authorization_code", "client_credentials", "password"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
                "response_types_supported": ["code"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [ALGORITHM],
            },
        )

    def key_set(self) -> Answer:
        """Return the public key (RFC 7517 section 5)."""
        public = self.key.as_dict(private=False)
        return Answer(200, {"keys": [{**public, "kid": self.key.kid, "use": "sig", "alg": ALGORITHM}]})

    def grant(self, form: Mapping[str, str], *, authorization: str, now: int) -> Answer:
        """Answer a token request (RFC 6749 sections 4.3, 4.4 and 5.2); `now` is in seconds since 1970."""
        kind = form.get("grant_type", "")
        if kind == "authorization_code":
            given = self.logins.redeem(form, now=now)
            return Answer(400, {"error": "invalid_grant"}) if given is None else self._logged_in(given, now=now)
        if kind == "password":
            name, password = form.get("username", ""), form.get("password", "")
        elif kind == "client_credentials":
            name, password = _basic(authorization) or (form.get("client_id", ""), form.get("client_secret", ""))
        else:
            return Answer(400, {"error": "unsupported_grant_type"})
        person = self._person(name, password, is_machine=kind == "client_credentials")
        if person is None:
            is_login = kind == "password"
            return Answer(400 if is_login else 401, {"error": "invalid_grant" if is_login else "invalid_client"})
        return Answer(
            200,
            {
                "access_token": self.token(name, person, audience=form.get("resource") or AUDIENCE, now=now),
                "token_type": "Bearer",
                "expires_in": TOKEN_SECONDS,
            },
        )

    def authorize(self, parameters: Mapping[str, str], *, is_answer: bool, now: int) -> Shown:
        """Ask for a password, or with `is_answer` send the browser back with a code (RFC 6749 section 4.1.2)."""
        asked = self.logins.asked(parameters)
        if asked is None:
            return Shown(400, "<!doctype html><title>Refused</title>This is not a request of the console.")
        name = parameters.get("username", "")
        if not is_answer or self._person(name, parameters.get("password", ""), is_machine=False) is None:
            return Shown(200, page(parameters, has_failed=is_answer))
        code = self.logins.give(asked, name, now=now)
        return Shown(303, location=asked.back({"code": code, "iss": self.issuer}))

    def _logged_in(self, given: Given, *, now: int) -> Answer:
        """Return an ID token (OpenID Connect Core 1.0 section 3.1.3.3), and an access token that opens nothing."""
        person = PEOPLE[given.name]
        claims = {
            "iss": self.issuer,
            "aud": given.asked.client_id,
            "sub": person.subject,
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "auth_time": given.at,
            "nonce": given.asked.nonce,
            "sid": secrets.token_urlsafe(16),
            "name": person.name,
            "email": person.email,
            "groups": list(person.groups),
        }
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": self.key.kid}
        body = {
            "id_token": jwt.encode(header, claims, self.key, algorithms=[ALGORITHM]),
            "access_token": secrets.token_urlsafe(32),
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
        }
        return Answer(200, body)

    def token(self, name: str, person: Person, *, audience: str, now: int) -> str:
        """Return a signed access token for `person` (RFC 9068 section 2)."""
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": audience,
            "sub": person.subject,
            "iat": now,
            "nbf": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "client_id": name if person.is_machine else "wardgate-demo-cli",
            "name": person.name,
            "groups": list(person.groups),
        }
        if person.email:
            claims["email"] = person.email
        header = {"alg": ALGORITHM, "typ": "at+jwt", "kid": self.key.kid}
        return jwt.encode(header, claims, self.key, algorithms=[ALGORITHM])

    def _person(self, name: str, password: str, *, is_machine: bool) -> Person | None:
        expected = self.passwords.get(name, "")
        is_right = hmac.compare_digest(expected.encode(), password.encode())
        person = PEOPLE.get(name)
        return person if person and expected and is_right and person.is_machine is is_machine else None


def load_key(path: Path) -> RSAKey:
    """Return the signing key kept at `path`, making it the first time (mode 0600)."""
    if path.exists():
        return RSAKey.import_key(json.loads(path.read_text()))
    key = RSAKey.generate_key(2048, {"kid": secrets.token_hex(8)}, private=True)
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(key.as_dict(private=True)))
    unfinished.replace(path)
    return key


@dataclass(frozen=True, slots=True)
class Application:
    """The issuer over HTTP."""

    issuer: Issuer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; nothing is ever cached (RFC 6749 section 5.1)."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        headers = [(b"cache-control", b"no-store")]
        if isinstance(answer, Shown):
            body = answer.html.encode()
            headers += [(b"content-type", b"text/html; charset=utf-8"), *_PAGE_HEADERS]
            headers += [(b"location", answer.location.encode())] if answer.location else []
        else:
            body = json.dumps(answer.body).encode()
            headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer | Shown:
        match scope["method"], scope["path"]:
            case "GET", "/authorize":
                query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
                return self.issuer.authorize(query, is_answer=False, now=int(time.time()))
            case "POST", "/authorize":
                form = await _form(receive)
                if form is None:
                    return Answer(413, {"error": "invalid_request"})
                return self.issuer.authorize(form, is_answer=True, now=int(time.time()))
            case "GET", "/.well-known/openid-configuration" | "/.well-known/oauth-authorization-server":
                return self.issuer.discovery()
            case "GET", "/jwks":
                return self.issuer.key_set()
            case "POST", "/token":
                form = await _form(receive)
                if form is None:
                    return Answer(413, {"error": "invalid_request"})
                authorization = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
                return self.issuer.grant(form, authorization=authorization, now=int(time.time()))
            case _:
                return Answer(404, {"error": "not_found"})


async def _form(receive: Receive) -> dict[str, str] | None:
    """Return the form of a request, None when it is longer than `FORM_BYTES`."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > FORM_BYTES:
            return None
        if not message.get("more_body"):
            return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _basic(authorization: str) -> tuple[str, str] | None:
    """Return client id and secret of a Basic header (RFC 6749 section 2.3.1)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return unquote_plus(name), unquote_plus(password)


def main() -> None:
    """Serve the issuer that the environment describes."""
    issuer = Issuer(
        issuer=required("WARDGATE_DEMO_ISSUER"),
        key=load_key(Path(required("WARDGATE_DEMO_KEY_FILE"))),
        passwords=json.loads(required("WARDGATE_DEMO_PASSWORDS")),
        logins=Logins(required("WARDGATE_DEMO_CONSOLE")),
    )
    serve(Application(issuer), file_descriptor=int(required("WARDGATE_DEMO_SOCKET")))


if __name__ == "__main__":
    main()

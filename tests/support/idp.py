"""An OpenID Connect issuer of our own, for tests and for the demo: it signs what it is asked to, and can misbehave.

Packaged mock issuers sign only honest tokens. This one writes any header and any claims, down to the raw bytes, and its
server can be slow, down, of another issuer, far too large, or a redirect. Its keys are made once in a process: an RSA
key takes a tenth of a second.

    issuer = Issuer("https://idp.example")
    verify(issuer.token(aud=RESOURCE).encode(), provider=issuer.provider(), keys=issuer.keys(), ...)

    with issuer.serving() as url: ...     # uvicorn in a thread, `issuer.issuer` becomes the URL
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from accounts.tokens import ALGORITHMS, KeySet, Provider, key_set

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
SigningKey = RSAKey | ECKey | OKPKey

ABSENT: Final = object()
"""As the value of a claim or a header: leave it out."""

_REGISTRY = JWSRegistry(algorithms=sorted(ALGORITHMS - {"EdDSA"}))


def signing_key(kind: str = "RS256", name: str = "1") -> SigningKey:
    """Return the key `name` for algorithm `kind`; the same one for the whole process. Its kid is `<kind>-<name>`."""
    return _generated(kind, name)


@cache
def _generated(kind: str, name: str) -> SigningKey:
    parameters: Any = {"kid": f"{kind}-{name}", "use": "sig", "alg": kind}
    if kind.startswith("ES"):
        curve = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[kind]
        return ECKey.generate_key(curve, parameters)
    if kind in {"EdDSA", "Ed25519"}:
        return OKPKey.generate_key("Ed25519", parameters)
    return RSAKey.generate_key(2048, parameters)


def encoded(value: bytes | Mapping[str, Any]) -> bytes:
    """Return `value`, bytes or something for JSON, as a segment of a token."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed(
    header: bytes | Mapping[str, Any], claims: bytes | Mapping[str, Any], key: SigningKey, algorithm: str
) -> str:
    """Return a token of exactly this header and these claims, whatever they say, with a genuine signature of `key`."""
    message = encoded(header) + b"." + encoded(claims)
    model = _REGISTRY.get_alg("Ed25519" if algorithm == "EdDSA" else algorithm)
    return (message + b"." + encoded(model.sign(message, key))).decode()


@dataclass
class Misbehaviour:
    """What the issuer does wrong. Everything off is an honest issuer."""

    claims: dict[str, Any] = field(default_factory=dict)
    """Override claims of every token."""
    header: dict[str, Any] = field(default_factory=dict)
    """Override header members of every token; `{"kid": ABSENT}` leaves the key id out."""
    id_claims: dict[str, Any] = field(default_factory=dict)
    """Override claims of ID tokens only."""
    id_header: dict[str, Any] = field(default_factory=dict)
    """Override header members of ID tokens only."""
    id_token: Callable[[str], Any] | None = None
    """Replace the ID token by what this makes of it."""
    grant: dict[str, Any] = field(default_factory=dict)
    """Override members of the token endpoint's answer."""
    back: dict[str, Any] = field(default_factory=dict)
    """Override parameters with which the browser is sent back, such as `iss`."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    """Override claims of the user info."""
    discovery: dict[str, Any] = field(default_factory=dict)
    """Override members of the discovery document, such as its issuer."""
    jwks: bytes | None = None
    """The body of /jwks instead of the keys."""
    status: int = 200
    """Answer every request with this status instead."""
    redirect_to: str = ""
    """Answer every request with a redirect to this URL."""
    delay_seconds: float = 0.0
    """Wait this long before every answer."""
    padding_bytes: int = 0
    """Add this many spaces to every body."""


@dataclass
class Person:
    """Somebody who can log in."""

    subject: str
    name: str = ""
    email: str = ""
    groups: tuple[str, ...] = ()


class Issuer:
    """Signs tokens, and serves discovery, keys, authorisation code with PKCE, client credentials and user info.

    Args:
        issuer: its URL, without a slash at the end.
        audience: the default `aud`.
        clock: seconds since 1970.
        lifetime_seconds: of every token.

    `requests` counts what was asked of the server, by path, and `granted` keeps the forms that the token endpoint got.
    With a `client_secret` that endpoint asks for it.
    """

    def __init__(
        self,
        issuer: str = "https://idp.example",
        *,
        audience: str = "https://gateway.example/mcp/orders",
        clock: Callable[[], float] = time.time,
        lifetime_seconds: int = 300,
        name: str = "1",
    ) -> None:
        self.issuer = issuer
        self.audience = audience
        self.clock = clock
        self.lifetime_seconds = lifetime_seconds
        self.signing: dict[str, SigningKey] = {kind: signing_key(kind, name) for kind in ("RS256", "ES256")}
        self.published: list[SigningKey] = list(self.signing.values())
        self.people = {
            "alice": Person("alice", "Alice Example", "alice@example.org", ("sre",)),
            "bob": Person("bob", "Bob Example", "bob@example.org", ("support",)),
        }
        self.misbehaviour = Misbehaviour()
        self.client_secret: str | None = None
        self.granted: list[dict[str, str]] = []
        self.requests: Counter[str] = Counter()
        self._codes: dict[str, dict[str, str]] = {}
        self._logins: dict[str, str] = {}

    def jwks(self) -> dict[str, Any]:
        """Return the key set that it publishes."""
        return {"keys": [key.as_dict(private=False) for key in self.published]}

    def keys(self, algorithms: frozenset[str] = ALGORITHMS) -> KeySet:
        """Return the same as the gateway's value."""
        return key_set(self.jwks(), algorithms=algorithms)

    def rotate(self, name: str, *, kind: str = "RS256", keep_old: bool = False) -> None:
        """Sign with the key `name` from now on; the old one is published no longer, or beside it."""
        old, new = self.signing[kind], signing_key(kind, name)
        self.signing[kind] = new
        self.published = [key for key in self.published if key is not old or keep_old] + [new]

    def provider(self, **changes: Any) -> Provider:
        """Return the gateway's configuration for this issuer."""
        values: dict[str, Any] = {
            "id": "provider-1",
            "name": "Test issuer",
            "issuer": self.issuer,
            "audiences": frozenset(),
            "algorithms": frozenset({"RS256", "ES256"}),
            "token_types": frozenset(),
            "groups_claim": "groups",
            "max_token_seconds": 3600,
            "leeway_seconds": 30,
            "jwks_url": "",
            "pinned_jwks": None,
            "allowed_networks": (),
        }
        return Provider(**(values | changes))

    def claims(self, **claims: Any) -> dict[str, Any]:
        """Return the claims of an honest access token for Alice, changed by `claims`; `ABSENT` removes one."""
        now = int(self.clock())
        honest = {
            "iss": self.issuer,
            "sub": "alice",
            "aud": self.audience,
            "iat": now,
            "nbf": now,
            "exp": now + self.lifetime_seconds,
            "jti": secrets.token_urlsafe(12),
            "client_id": "test-client",
            "groups": ["sre"],
        }
        return _merged(honest, self.misbehaviour.claims, claims)

    def token(
        self, *, header: Mapping[str, Any] | None = None, algorithm: str = "RS256", typ: Any = "at+jwt", **claims: Any
    ) -> str:
        """Return a signed token; `header` changes its header and `claims` its claims."""
        key = self.signing.get(algorithm) or signing_key(algorithm)
        honest = {"alg": algorithm, "typ": typ, "kid": key.kid}
        return signed(_merged(honest, self.misbehaviour.header, header or {}), self.claims(**claims), key, algorithm)

    def token_for(self, person: str, *, audience: str | None = None, client_id: str = "test-client") -> str:
        """Return an access token for somebody in `people`."""
        who = self.people[person]
        return self.token(
            sub=who.subject,
            name=who.name,
            email=who.email,
            groups=list(who.groups),
            aud=self.audience if audience is None else audience,
            client_id=client_id,
        )

    @property
    def app(self) -> Issuer:
        """The ASGI application, without lifespan. It is the issuer itself: servers look for a coroutine `__call__`."""
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.requests[scope["path"]] += 1
        wrong = self.misbehaviour
        if wrong.delay_seconds:
            await asyncio.sleep(wrong.delay_seconds)
        if wrong.redirect_to:
            await _answer(send, 302, b"", location=wrong.redirect_to)
        elif wrong.status != 200:
            await _answer(send, wrong.status, b"{}")
        else:
            status, answer, location = self._served(scope, _form(scope["query_string"]), _form(body))
            await _answer(send, status, answer + b" " * wrong.padding_bytes, location=location)

    @contextmanager
    def serving(self, *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
        """Run the server in a thread; `issuer` becomes its URL, which is also returned. Stops on leaving."""
        import socket

        import uvicorn

        listener = socket.create_server((host, port))
        self.issuer = f"http://{host}:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            # The socket listens already: a client that is faster than the server waits in its backlog.
            yield self.issuer
        finally:
            server.should_exit = True
            thread.join(5)
            listener.close()

    def _served(self, scope: Scope, query: dict[str, str], form: dict[str, str]) -> tuple[int, bytes, str]:
        path = scope["path"]
        if path == "/.well-known/openid-configuration":
            return 200, _json(self._discovery()), ""
        if path == "/jwks":
            return 200, self.misbehaviour.jwks if self.misbehaviour.jwks is not None else _json(self.jwks()), ""
        if path == "/oauth2/authorize":
            return self._authorized(query)
        if path == "/oauth2/token":
            self.granted.append(form | {"authorization": _header(scope, b"authorization")})
            return (*self._granted(form, _header(scope, b"authorization")), "")
        if path == "/userinfo":
            person = self._logins.get(_header(scope, b"authorization").removeprefix("Bearer "))
            if person is None:
                return 401, b"{}", ""
            return 200, _json(_merged(self._profile(person), self.misbehaviour.userinfo)), ""
        return 404, b"{}", ""

    def _discovery(self) -> dict[str, Any]:
        honest = {
            "issuer": self.issuer,
            "authorization_endpoint": self.issuer + "/oauth2/authorize",
            "token_endpoint": self.issuer + "/oauth2/token",
            "userinfo_endpoint": self.issuer + "/userinfo",
            "jwks_uri": self.issuer + "/jwks",
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return _merged(honest, self.misbehaviour.discovery)

    def _authorized(self, query: dict[str, str]) -> tuple[int, bytes, str]:
        """Log in whom `login_hint` names, without a page, and send the browser back with a code."""
        person = query.get("login_hint", "alice")
        if person not in self.people or "redirect_uri" not in query:
            return 400, _json({"error": "invalid_request"}), ""
        code = secrets.token_urlsafe(16)
        self._codes[code] = query | {"person": person}
        honest = {"code": code, "state": query.get("state", ""), "iss": self.issuer}
        back = _merged(honest, self.misbehaviour.back)
        joint = "&" if "?" in query["redirect_uri"] else "?"
        return 302, b"", query["redirect_uri"] + joint + urlencode(back)

    def _is_client(self, form: dict[str, str], authorization: str) -> bool:
        pair = f"{form.get('client_id', '')}:{self.client_secret}".encode()
        is_basic = authorization == "Basic " + base64.b64encode(pair).decode()
        return self.client_secret is None or is_basic or form.get("client_secret") == self.client_secret

    def _granted(self, form: dict[str, str], authorization: str = "") -> tuple[int, bytes]:
        audience = form.get("resource", self.audience)
        if form.get("grant_type") == "client_credentials":
            client = form.get("client_id", "")
            person = self.people.get(client)
            groups = list(person.groups) if person else []
            access = self.token(sub=client, client_id=client, aud=audience, groups=groups)
            return 200, _json(self._grant(access))
        asked = self._codes.pop(form.get("code", ""), None)
        challenge = encoded(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).decode()
        if not self._is_client(form, authorization):
            return 401, _json({"error": "invalid_client"})
        if asked is None or asked.get("code_challenge", challenge) != challenge:
            return 400, _json({"error": "invalid_grant"})
        client = asked.get("client_id", "")
        access = self.token_for(asked["person"], audience=asked.get("resource", audience), client_id=client)
        self._logins[access] = asked["person"]
        wrong = self.misbehaviour
        honest = {**self._profile(asked["person"]), "aud": client, "nonce": asked.get("nonce", ABSENT)}
        if "max_age" in asked:
            honest["auth_time"] = int(self.clock())
        identity = self.token(typ="JWT", header=wrong.id_header, **_layered(honest, wrong.id_claims))
        sent = identity if wrong.id_token is None else wrong.id_token(identity)
        return 200, _json(_merged(self._grant(access), {"id_token": sent}, wrong.grant))

    def _grant(self, access_token: str) -> dict[str, Any]:
        return {"access_token": access_token, "token_type": "Bearer", "expires_in": self.lifetime_seconds}

    def _profile(self, person: str) -> dict[str, Any]:
        who = self.people[person]
        return {"sub": who.subject, "name": who.name, "email": who.email, "groups": list(who.groups)}


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    return {name: value for name, value in merged.items() if value is not ABSENT}


def _layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge and leave what is absent for `Issuer.claims` to remove."""
    return {name: value for layer in layers for name, value in layer.items()}


def _header(scope: Scope, name: bytes) -> str:
    found: bytes = dict(scope["headers"]).get(name, b"")
    return found.decode()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _form(raw: bytes) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(raw.decode()).items()}


async def _answer(send: Send, status: int, body: bytes, *, location: str = "") -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if location:
        headers.append((b"location", location.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""Logging in to the console at an OpenID provider: mozilla-django-oidc, with everything that decides replaced.

From the library come the request for authorisation, with state, nonce and PKCE in the browser's session, and the order
of a login. Its own checks would log in a token of another issuer or client, would know people by their e-mail address,
and would fetch with its own HTTP client. So here:

- a state belongs to one provider, one purpose and one browser, is good once and for ten minutes;
- each provider has a redirect URI of its own, and `iss` in the answer is checked (RFC 9207): no mix-up;
- discovery, token and user info go through `accounts.outbound`, keys through `accounts.verifying`;
- the ID token is judged by `accounts.id_tokens`, and people are found by (issuer, subject) alone;
- no token is kept.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

from django.conf import settings
from django.urls import reverse
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from accounts import id_tokens, outbound, verifying
from accounts.claims import ClaimRefused
from accounts.exceptions import DomainError
from accounts.jwks import KeysUnavailable
from accounts.keys import load_object
from accounts.models import LoginClient
from accounts.services import login_clients
from accounts.token_values import Provider, Rejected
from accounts.tokens import peek
from accounts.values import provider_value

ANSWER_BYTES: Final = 256 * 1024
DISCOVERY_SECONDS: Final = 300
RETRY_SECONDS: Final = 10
MAX_TOKEN_CHARACTERS: Final = 16 * 1024


class LoginRefused(DomainError):
    """A login at a provider did not succeed. `code` says why, to the log; people are told no more than to try again."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider is asked for what, of its discovery document (OpenID Connect Discovery 1.0 section 3)."""

    authorization: str
    token: str
    userinfo: str
    names_itself: bool
    """The authorisation response carries `iss` (RFC 9207 section 3)."""
    takes_secret_in_body: bool


class Discovery:
    """The endpoints of each provider, asked for once in five minutes, and after a failure not for ten seconds."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], tuple[float, Endpoints | None]] = {}

    def endpoints(self, provider: Provider) -> Endpoints:
        """Return where `provider` is asked.

        Raises:
            LoginRefused: the document cannot be had, is of another issuer, or names an unacceptable place.
        """
        key = (provider.id, provider.issuer, *provider.allowed_networks)
        until, found = self._known.get(key, (0.0, None))
        if time.monotonic() >= until:
            try:
                found = _discovered(provider)
            finally:
                lasting = RETRY_SECONDS if found is None else DISCOVERY_SECONDS
                self._known[key] = (time.monotonic() + lasting, found)
        if found is None:
            raise LoginRefused("discovery_failed", "The identity provider cannot be reached.")
        return found

    def forget(self) -> None:
        """Ask every provider anew."""
        self._known.clear()


discovery = Discovery()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the browser's session holds of a request for authorisation."""

    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    asked_at: float
    proof_for: str
    """The console session that asks for a fresh proof; empty for a login."""


class ConsoleBackend(OIDCAuthenticationBackend):
    """One login at one provider. Made for each request, never through `AUTHENTICATION_BACKENDS`."""

    def __init__(self, client: LoginClient) -> None:
        # Not the library's: its settings are those of the one provider of a project.
        self.client = client
        self.provider = provider_value(client.provider)
        self.endpoints = discovery.endpoints(self.provider)

    def log_in(self, *, code: str, asked: Asked, now: float) -> id_tokens.Login:
        """Return whose login the authorisation `code` proves, with their groups.

        Raises:
            LoginRefused: the provider refuses the code, or what it answers proves no login.
        """
        answer = self.get_token(
            {
                "client_id": self.client.client_id,
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri(self.client),
                "code_verifier": asked.code_verifier,
            }
        )
        id_token, access_token = _text(answer, "id_token"), _text(answer, "access_token")
        login = self.verify_token(
            id_token,
            nonce=asked.nonce,
            access_token=access_token,
            now=now,
            authenticated_since=asked.asked_at if asked.proof_for else None,
        )
        if login.groups.is_told or not self.endpoints.userinfo or not access_token:
            return login
        return self._with_groups(login, access_token)

    def get_token(self, payload: dict[str, str]) -> dict[str, Any]:
        """Return the token endpoint's answer (RFC 6749 section 4.1.3 and 2.3.1).

        Raises:
            LoginRefused: it refuses, or does not answer with an object.
        """
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        secret = login_clients.secret_of(self.client)
        body = dict(payload)
        if secret is not None:
            revealed = secret.reveal().decode()
            if self.endpoints.takes_secret_in_body:
                body["client_secret"] = revealed
            else:
                pair = f"{quote_plus(self.client.client_id)}:{quote_plus(revealed)}"
                headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        answer = self._asked("POST", self.endpoints.token, headers, urlencode(body).encode())
        if str(answer.get("token_type", "")).lower() != "bearer":
            raise LoginRefused("token_response", "The identity provider's answer is not one to this login.")
        return answer

    def verify_token(self, token: str, **kwargs: Any) -> id_tokens.Login:
        """Return whose login the ID token proves.

        Raises:
            LoginRefused: it proves none; the code is that of the check that failed.
        """
        raw = token.encode()
        peeked = peek(raw)
        try:
            key_id = None if isinstance(peeked, Rejected) else peeked.key_id
            keys = verifying.keys_for(self.provider, key_id)
        except (KeysUnavailable, TimeoutError):
            raise LoginRefused("keys_unavailable", "The signing keys of the provider cannot be read.") from None
        login = id_tokens.verify(raw, provider=self.provider, keys=keys, client_id=self.client.client_id, **kwargs)
        if isinstance(login, Rejected):
            raise LoginRefused(login.code, login.detail)
        return login

    def get_userinfo(self, access_token: str, id_token: str = "", payload: Any = None) -> dict[str, Any]:
        """Return the provider's claims about the person (OpenID Connect Core 1.0 section 5.3).

        Raises:
            LoginRefused: they cannot be had, or are not plain JSON.
        """
        headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
        return self._asked("GET", self.endpoints.userinfo, headers, b"")

    def _with_groups(self, login: id_tokens.Login, access_token: str) -> id_tokens.Login:
        claims = self.get_userinfo(access_token)
        if claims.get("sub") != login.own_subject:
            raise LoginRefused("userinfo_subject", "The provider's claims are about somebody else.")
        try:
            groups = id_tokens.groups_in(claims, self.provider)
        except ClaimRefused as refusal:
            raise LoginRefused(refusal.code, refusal.detail) from None
        return id_tokens.with_groups(login, groups)

    def _asked(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        try:
            answer = outbound.request(
                method,
                url,
                allowed_networks=self.provider.allowed_networks,
                headers=headers,
                body=body,
                limit=ANSWER_BYTES,
                seconds=settings.WARDGATE_JWKS_FETCH_SECONDS,
            )
            if answer.status != 200:
                raise LoginRefused("provider_refuses", "The identity provider refuses this login.")
            return load_object(answer.body)
        except (outbound.OutboundFailed, ValueError):
            raise LoginRefused("provider_unreachable", "The identity provider's answer cannot be used.") from None


def redirect_uri(client: LoginClient) -> str:
    """Return where `client`'s provider sends the browser back: one place for each provider (RFC 9700 section 4.4.2)."""
    return settings.WARDGATE_PUBLIC_URL + reverse("console_oidc_callback", args=[client.pk])


def _discovered(provider: Provider) -> Endpoints:
    try:
        answer = outbound.request(
            "GET",
            provider.issuer.removesuffix("/") + "/.well-known/openid-configuration",
            allowed_networks=provider.allowed_networks,
            headers={"Accept": "application/json"},
            limit=settings.WARDGATE_JWKS_BYTES,
            seconds=settings.WARDGATE_JWKS_FETCH_SECONDS,
        )
        document = load_object(answer.body) if answer.status == 200 else {}
    except (outbound.OutboundFailed, ValueError):
        document = {}
    if document.get("issuer") != provider.issuer:
        raise LoginRefused("discovery_failed", "The identity provider's discovery document cannot be used.")
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    has_basic = isinstance(methods, list) and "client_secret_basic" in methods
    return Endpoints(
        authorization=_place(document, "authorization_endpoint", provider),
        token=_place(document, "token_endpoint", provider),
        userinfo=_place(document, "userinfo_endpoint", provider) if "userinfo_endpoint" in document else "",
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        takes_secret_in_body=not has_basic,
    )


def _place(document: Mapping[str, Any], name: str, provider: Provider) -> str:
    """Return the URL `name`. An https issuer may not send a browser, a code or a secret over plain http."""
    url = document.get(name)
    schemes = {"https"} if provider.issuer.startswith("https://") else {"https", "http"}
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        is_good = parts is not None and parts.scheme in schemes and bool(parts.hostname) and not parts.fragment
    except ValueError:
        is_good = False
    if not is_good:
        raise LoginRefused("discovery_failed", "The identity provider's discovery document names no usable place.")
    return str(url)


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name, "")
    if (
        not isinstance(value, str)
        or len(value) > MAX_TOKEN_CHARACTERS
        or not value.isascii()
        or not value.isprintable()
    ):
        raise LoginRefused("token_response", "The identity provider's answer is not one to this login.")
    return str(value)

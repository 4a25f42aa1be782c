"""The gateway as an issuer: `POST /oauth/token`, its public keys, and the metadata that names both (RFC 8414).

A workload brings what it has, a token of its own identity provider or a SAML assertion, and gets a token of minutes for
one connection. The subject token is the whole credential: there are no clients to authenticate, no sessions and no
cookies. Every refusal is one of RFC 6749 section 5.2, and repeats nothing of what was presented.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from accounts import issuing, tokens, verifying
from accounts.client_address import address_of
from accounts.exceptions import MasterKeysUnusable
from accounts.keys import decode_segment, load_object
from accounts.models import SigningKey
from accounts.receivers.bodies import BodyRefused, read_form
from accounts.saml.checks import AssertionRefused
from accounts.services.issued import ExchangeRefused, TooManyExchanges
from accounts.services.saml import assertion_identity
from accounts.services.signing import JWKS_CACHE_SECONDS, SigningKeyUnusable
from policies.token_exchange import token_exchange

TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 - a path, not a secret
JWKS_PATH: Final = "/oauth/jwks"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
SAML_BEARER: Final = "urn:ietf:params:oauth:grant-type:saml2-bearer"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name, not a secret
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
SAML2: Final = "urn:ietf:params:oauth:token-type:saml2"
BODY_BYTES: Final = 384 * 1024
"""An assertion of 256 KiB in base64url, and a form around it."""
TOOL_SCOPE: Final = "tool:"
MAX_TOOLS: Final = 50

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PUBLIC = {"Cache-Control": f"public, max-age={JWKS_CACHE_SECONDS}", "Access-Control-Allow-Origin": "*"}

logger = logging.getLogger(__name__)


@csrf_exempt
@require_POST
def token(request: HttpRequest) -> HttpResponse:
    """Exchange a token (RFC 8693) or an assertion (RFC 7522) for a token of minutes at one connection."""
    now = timezone.now()
    try:
        if request.headers.get("Authorization") is not None:
            raise ExchangeRefused("invalid_client", "The gateway knows no clients: leave the Authorization header out.")
        form = read_form(request, limit=BODY_BYTES)
        return _granted(form, address_of(request), now)
    except BodyRefused as refused:
        return _error(400, "invalid_request", str(refused))
    except TooManyExchanges as refused:
        return _error(429, refused.code, str(refused), {"Retry-After": "30"})
    except ExchangeRefused as refused:
        return _error(401 if refused.code == "invalid_client" else 400, refused.code, str(refused))
    except (MasterKeysUnusable, SigningKeyUnusable, DatabaseError) as error:
        logger.error("no token can be given out: %s", type(error).__name__)
        return _error(503, "temporarily_unavailable", "No token can be given out now.", {"Retry-After": "30"})


@require_safe
def jwks(request: HttpRequest) -> HttpResponse:
    """Return the public keys of the gateway's own tokens."""
    return JsonResponse(issuing.published(SigningKey.objects.all(), now=timezone.now()), headers=_PUBLIC)


@require_safe
def metadata(request: HttpRequest) -> HttpResponse:
    """Return what a client has to know of the token endpoint (RFC 8414, section 2)."""
    base = settings.WARDGATE_PUBLIC_URL
    body = {
        "issuer": base,
        "token_endpoint": base + TOKEN_PATH,
        "jwks_uri": base + JWKS_PATH,
        "revocation_endpoint": base + "/oauth/revoke",
        "grant_types_supported": [EXCHANGE, SAML_BEARER],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none"],
    }
    return JsonResponse(body, headers=_PUBLIC)


def _granted(form: Mapping[str, str], address: str, now: datetime) -> HttpResponse:
    match form.get("grant_type", ""):
        case "":
            raise ExchangeRefused("invalid_request", "The form has no grant_type.")
        case str(grant) if grant == EXCHANGE:
            subject, actor = _exchange_parties(form, now)
        case str(grant) if grant == SAML_BEARER:
            subject, actor = _asserted(form.get("assertion", ""), "invalid_grant", now), None
        case _:
            raise ExchangeRefused("unsupported_grant_type", f"The grant_type must be {EXCHANGE} or {SAML_BEARER}.")
    tools = _tools(form)
    row, raw = token_exchange(
        subject=subject,
        actor=actor,
        resource=_resource(form),
        tools=tools or issuing.EVERY_TOOL,
        grant_type=grant,
        seconds=_seconds(form),
        address=address,
        now=now,
    )
    body: dict[str, Any] = {
        "access_token": raw,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": int(row.expires_at.timestamp()) - int(now.timestamp()),
    }
    if tools:
        body["scope"] = " ".join(TOOL_SCOPE + glob for glob in tools)
    return JsonResponse(body, headers=_NO_STORE)


def _exchange_parties(form: Mapping[str, str], now: datetime) -> tuple[tokens.Identity, tokens.Identity | None]:
    """Return who the subject token and the actor token speak for (RFC 8693, section 2.1)."""
    if form.get("requested_token_type", ACCESS_TOKEN) not in {ACCESS_TOKEN, JWT}:
        raise ExchangeRefused("invalid_request", f"The requested_token_type must be {ACCESS_TOKEN}.")
    presented = form.get("subject_token", "")
    kind = form.get("subject_token_type", "")
    if kind == SAML2:
        return _asserted(presented, "invalid_request", now), _actor(form, None, now)
    if kind not in {ACCESS_TOKEN, JWT}:
        raise ExchangeRefused("invalid_request", f"The subject_token_type must be {ACCESS_TOKEN}, {JWT} or {SAML2}.")
    subject = _verified(presented, "subject_token", now)
    return subject, _actor(form, load_object(decode_segment(presented.split(".")[1].encode())), now)


def _actor(form: Mapping[str, str], subject_claims: Mapping[str, Any] | None, now: datetime) -> tokens.Identity | None:
    """Return who acts for the subject; one that the subject token does not let act is refused (section 4.4)."""
    presented = form.get("actor_token")
    if presented is None:
        if "actor_token_type" in form:
            raise ExchangeRefused("invalid_request", "There is an actor_token_type without an actor_token.")
        return None
    if form.get("actor_token_type", "") not in {ACCESS_TOKEN, JWT}:
        raise ExchangeRefused("invalid_request", f"The actor_token_type must be {ACCESS_TOKEN} or {JWT}.")
    actor = _verified(presented, "actor_token", now)
    if subject_claims is not None and "may_act" in subject_claims:
        allowed = subject_claims["may_act"]
        subject_issuer = subject_claims["iss"]
        is_allowed = (
            isinstance(allowed, dict)
            and allowed.get("sub") == actor.subject
            and allowed.get("iss", subject_issuer) == actor.issuer
        )
        if not is_allowed:
            raise ExchangeRefused("invalid_request", "The subject_token names another actor.")
    return actor


def _verified(presented: str, field: str, now: datetime) -> tokens.Identity:
    """Return who an access token made for this endpoint speaks for."""
    if not presented:
        raise ExchangeRefused("invalid_request", f"The form has no {field}.")
    if len(presented) > settings.WARDGATE_TOKEN_BYTES:
        raise ExchangeRefused("invalid_request", f"The {field} is too long.")
    audience = settings.WARDGATE_PUBLIC_URL + TOKEN_PATH
    found = verifying.verified(presented.encode(), audience=audience, now=now.timestamp())
    if isinstance(found, tokens.Rejected):
        raise ExchangeRefused("invalid_request", f"The {field} is refused ({found.code}): {found.detail}")
    return found


def _asserted(encoded: str, code: str, now: datetime) -> tokens.Identity:
    """Return who a SAML assertion speaks for; it is used up by this, whatever becomes of the request."""
    here = settings.WARDGATE_PUBLIC_URL + TOKEN_PATH
    if not encoded:
        raise ExchangeRefused("invalid_request", "The form has no assertion.")
    try:
        return assertion_identity(encoded=encoded.encode(), recipient=here, audience=here, now=now)
    except AssertionRefused as refused:
        raise ExchangeRefused(code, f"The assertion is refused ({refused.code}): {refused}") from None


def _resource(form: Mapping[str, str]) -> str:
    """Return the one connection; `resource` (RFC 8707) and `audience` (RFC 8693) may say the same."""
    named = {form[name] for name in ("resource", "audience") if name in form}
    if len(named) != 1:
        raise ExchangeRefused("invalid_target", "Name exactly one connection by its URL, as resource or audience.")
    return named.pop()


def _tools(form: Mapping[str, str]) -> tuple[str, ...]:
    """Return the globs of `tools`, or of the scopes `tool:<glob>`; none when the token is not narrowed."""
    if "tools" in form and "scope" in form:
        raise ExchangeRefused("invalid_scope", "Narrow the token with tools or with scope, not with both.")
    words = form.get("tools", form.get("scope", "")).split()
    if "scope" in form:
        if not all(word.startswith(TOOL_SCOPE) and word != TOOL_SCOPE for word in words):
            raise ExchangeRefused("invalid_scope", f"Each scope must be written {TOOL_SCOPE}<glob>.")
        words = [word.removeprefix(TOOL_SCOPE) for word in words]
    if len(words) > MAX_TOOLS:
        raise ExchangeRefused("invalid_scope", f"Name at most {MAX_TOOLS} tools.")
    if not words and {"tools", "scope"} & form.keys():
        raise ExchangeRefused("invalid_scope", "Name at least one tool, or leave the field out.")
    return tuple(dict.fromkeys(words))


def _seconds(form: Mapping[str, str]) -> int | None:
    """Return the wanted lifetime in seconds; a longer one than allowed is cut, as `expires_in` then tells."""
    wanted = form.get("lifetime")
    if wanted is None:
        return None
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) <= 6 and int(wanted) > 0):
        raise ExchangeRefused("invalid_request", "The lifetime must be a number of seconds.")
    return int(wanted)


def _error(status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
    challenge = {"WWW-Authenticate": 'Bearer realm="wardgate"'} if status == 401 else {}
    return JsonResponse(
        {"error": code, "error_description": sentence},
        status=status,
        headers={**_NO_STORE, **challenge, **(headers or {})},
    )

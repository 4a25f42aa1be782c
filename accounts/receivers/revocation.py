"""`POST /oauth/revoke`: OAuth 2.0 token revocation (RFC 7009).

Two may revoke: the bearer of a token that the gateway would accept revokes that very token by presenting it, and an API
token with the scope `revoke` revokes any. Whatever else is presented gets the same 200 (section 2.2): the answer tells
nobody whether a token is known.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts import api_tokens, issuing, services, tokens, verifying
from accounts.client_address import address_of
from accounts.models import SigningKey

from .bodies import BodyRefused, read_form

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@csrf_exempt
@require_POST
def revoke(request: HttpRequest) -> HttpResponse:
    """Revoke the token of the form; 200 with an empty body, also when there is nothing to revoke."""
    now = timezone.now()
    try:
        form = read_form(request)
    except BodyRefused as refused:
        return _error(400, "invalid_request", str(refused))
    presented = form.get("token", "")
    if not presented:
        return _error(400, "invalid_request", "The form has no token.")
    header = request.headers.get("Authorization")
    if header is not None:
        try:
            api_token = api_tokens.authenticate(header, scope="revoke", now=now, address=address_of(request))
        except api_tokens.ApiTokenRefused as refused:
            return _error(401, "invalid_client", str(refused))
        if not api_token.user.has_perm("accounts.add_revokedtoken"):
            return _error(401, "invalid_client", "The person of this API token may not revoke tokens.")
        reason = f"Revoked with the API token {api_token.name}."
    else:
        reason = "Revoked by its bearer."
    raw = presented.encode()
    identity = _verified(raw, now)
    if identity is not None or header is not None:
        services.presented_token_revoke(
            raw=raw, identity=identity, is_malleable=_is_malleable(raw), reason=reason[:500], now=now
        )
    return HttpResponse(status=200, headers=_NO_STORE)


def _verified(raw: bytes, now: datetime) -> tokens.Identity | None:
    """Return who the token speaks for if any connection of the gateway would accept it; `issuer` is who signed it."""
    peeked = tokens.peek(raw)
    if isinstance(peeked, tokens.Rejected):
        return None
    audience = _own_audience(peeked)
    found: tokens.Identity | tokens.Rejected
    if peeked.issuer == settings.WARDGATE_PUBLIC_URL:
        provider = issuing.signing_provider(SigningKey.objects.all(), now=now, public_url=peeked.issuer)
        keys = tokens.key_set(provider.pinned_jwks or {}, algorithms=provider.algorithms)
        found = tokens.verify(raw, provider=provider, keys=keys, now=now.timestamp(), audience=audience)
    else:
        found = verifying.verified(raw, audience=audience, now=now.timestamp())
    return found if isinstance(found, tokens.Identity) else None


def _own_audience(token: tokens.Unverified) -> str:
    """Return the connection's URL that the token says it is for; which connection does not matter here."""
    named = token._claims.get("aud")
    values = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    prefix = f"{settings.WARDGATE_PUBLIC_URL}/mcp/"
    return next((value for value in values if isinstance(value, str) and value.startswith(prefix)), prefix)


def _is_malleable(raw: bytes) -> bool:
    peeked = tokens.peek(raw)
    return isinstance(peeked, tokens.Unverified) and peeked.algorithm.startswith("ES")


def _error(status: int, code: str, sentence: str) -> HttpResponse:
    """Return an error as RFC 6749 section 5.2 writes it."""
    headers = {**_NO_STORE, **({"WWW-Authenticate": 'Bearer realm="wardgate"'} if status == 401 else {})}
    return JsonResponse({"error": code, "error_description": sentence}, status=status, headers=headers)

"""`POST /oidc/backchannel-logout`: OpenID Connect Back-Channel Logout 1.0.

The provider itself says that a session or a person logged out. The token proves who sent it; nothing else is asked for.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts import event_tokens, services, tokens, verifying
from accounts.exceptions import DomainError
from accounts.jwks import KeysUnavailable
from accounts.models import IdentityProvider, LoginClient
from accounts.values import provider_value

from .bodies import BodyRefused, read_form

logger = logging.getLogger(__name__)

_NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


@csrf_exempt
@require_POST
def backchannel_logout(request: HttpRequest) -> HttpResponse:
    """End what the logout token names; 200, or 400 when nothing was ended (section 2.8)."""
    try:
        raw = read_form(request).get("logout_token", "").encode()
    except BodyRefused as refused:
        return _refused("invalid_request", str(refused))
    now = timezone.now()
    found = _judged(raw, now)
    if isinstance(found, tokens.Rejected):
        logger.warning("logout token refused", extra={"code": found.code})
        return _refused("invalid_request", found.detail)
    try:
        services.logout_receive(token=found, now=now)
    except DomainError as error:
        return _refused("invalid_request", str(error))
    return HttpResponse(status=200, headers=_NO_STORE)


def _judged(raw: bytes, now: datetime) -> event_tokens.LogoutToken | tokens.Rejected:
    peeked = tokens.peek(raw)
    if isinstance(peeked, tokens.Rejected):
        return peeked
    row = IdentityProvider.objects.filter(issuer=peeked.issuer, is_active=True).first()
    if row is None:
        return tokens.Rejected("token_issuer", "The token's issuer is not an identity provider of this gateway.")
    provider = provider_value(row)
    try:
        keys = verifying.keys_for(provider, peeked.key_id)
    except KeysUnavailable:
        return tokens.Rejected("keys_unavailable", "The issuer's signing keys cannot be read.")
    clients = LoginClient.objects.filter(provider=row, is_active=True).values_list("client_id", flat=True)
    expected = event_tokens.Expected(
        issuer=provider.issuer,
        audiences=provider.audiences.union(clients),
        algorithms=provider.algorithms,
        leeway_seconds=provider.leeway_seconds,
    )
    return event_tokens.logout_token(raw, expected=expected, keys=keys, now=now.timestamp())


def _refused(code: str, sentence: str) -> HttpResponse:
    return JsonResponse({"error": code, "error_description": sentence}, status=400, headers=_NO_STORE)

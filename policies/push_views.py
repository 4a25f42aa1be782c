"""A browser says where it can be told, or that it no longer wants to be: for the notifications page of its person."""

from __future__ import annotations

import json
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.actors import person_of
from accounts.exceptions import DomainError, MasterKeysUnusable
from accounts.receivers.bodies import BodyRefused, read_body
from accounts.views.proof import needs_login

from . import services
from .services.push_keys import push_public_key

_BODY_BYTES: Final = 8 * 1024
_MEMBERS: Final = ("endpoint", "p256dh", "auth")


@needs_login
@never_cache
@require_http_methods(["GET", "POST", "DELETE"])
def browser(request: HttpRequest) -> HttpResponse:
    """GET the public key to subscribe with; POST a subscription; DELETE one, by its endpoint."""
    user, now = person_of(request), timezone.now()
    if request.method == "GET":
        try:
            return JsonResponse({"key": push_public_key(now=now)})
        except MasterKeysUnusable as error:
            return _refused(str(error), status=503)
    try:
        members = _members(request)
        if request.method == "DELETE":
            services.push_unsubscribe(user=user, endpoint=members["endpoint"])
            return HttpResponse(status=204)
        agent = request.headers.get("User-Agent", "")
        services.push_subscribe(user=user, **members, browser=agent, now=now)
    except BodyRefused as error:
        return _refused(str(error))
    except ValidationError as error:
        return _refused(" ".join(error.messages))
    except DomainError as error:
        return _refused(str(error), status=503)
    return HttpResponse(status=204)


def _members(request: HttpRequest) -> dict[str, str]:
    """Return the members of the body, which have to be texts.

    Raises:
        BodyRefused: it is something else.
    """
    try:
        given: Any = json.loads(read_body(request, "application/json", limit=_BODY_BYTES))
    except (ValueError, RecursionError):
        raise BodyRefused("The body is not JSON.") from None
    names = _MEMBERS if request.method == "POST" else _MEMBERS[:1]
    if (
        not isinstance(given, dict)
        or set(given) != set(names)
        or not all(isinstance(given[name], str) for name in names)
    ):
        raise BodyRefused(f"The body has the members {', '.join(names)}, all of them texts.")
    return {name: given[name] for name in names}


def _refused(sentence: str, status: int = 400) -> HttpResponse:
    return JsonResponse({"detail": sentence}, status=status)

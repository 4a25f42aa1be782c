"""Where browsers and identity providers reach the SAML login.

    /saml/<id>/login     -> identity provider   the request is stored, bound to a cookie of this browser
    /saml/<id>/acs       <- identity provider   a POST from another site: checked and kept, nobody is logged in by it
    /saml/<id>/continue  <- the same browser    with its cookie: now there is a login

The cookie is SameSite=Lax, so that it works without TLS too and needs no exception: a browser does not attach it to the
POST, and does attach it to the redirect after it. RelayState is not read: where to go next is in the stored request.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import services
from accounts.console_sessions import enter
from accounts.exceptions import DomainError
from accounts.login_ways import is_for_requesters
from accounts.models import SamlProvider
from accounts.receivers.bodies import BodyRefused, read_form
from accounts.services import saml

from . import messages
from .checks import MESSAGE_BYTES

logger = logging.getLogger(__name__)

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_STATUS = {"saml_provider": 404, "saml_too_large": 413, "saml_busy": 503, "bad_form": 400}
_SEE_OTHER = 303


def _refusing(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Decorate a view: what a service refuses becomes a page that says it, and a line of the log with its code."""

    @wraps(view)
    def guarded(request: HttpRequest, saml_provider_id: UUID) -> HttpResponse:
        try:
            return view(request, saml_provider_id)
        except DomainError as error:
            code, sentence = error.code, str(error)
        except BodyRefused as error:
            code, sentence = "bad_form", str(error)
        logger.info("saml refused", extra={"code": code, "saml_provider": str(saml_provider_id)})
        context = {
            **admin.site.each_context(request),
            "title": "Not logged in",
            "refusal": sentence,
            "code": code,
            "login_url": reverse("admin:login"),
        }
        return render(request, "console/saml_refused.html", context, status=_STATUS.get(code, 403))

    return guarded


@require_GET
def metadata(request: HttpRequest, saml_provider_id: UUID) -> HttpResponse:
    """Return who we are to this identity provider, for its administrator."""
    rows = SamlProvider.objects.filter(is_active=True, provider__is_active=True)
    if not rows.filter(pk=saml_provider_id).exists():
        return HttpResponse(status=404)
    body = messages.our_metadata(saml.saml_places(saml_provider_id))
    return HttpResponse(body, content_type="application/samlmetadata+xml")


@never_cache
@require_GET
@_refusing
def login(request: HttpRequest, saml_provider_id: UUID) -> HttpResponse:
    """Begin a login, and send the browser to the identity provider."""
    # A browser that began another login in another tab keeps its secret: both can be finished.
    secret = request.COOKIES.get(_cookie_name(), "")
    secret = secret if _SECRET.fullmatch(secret) else secrets.token_urlsafe(32)
    url = saml.login_begin(
        saml_provider_id=saml_provider_id,
        browser=secret,
        next_path=request.GET.get("next", ""),
        is_proof=request.GET.get("proof") == "1",
        now=timezone.now(),
    )
    response = HttpResponseRedirect(url)
    response.set_cookie(
        _cookie_name(),
        secret,
        max_age=saml.REQUEST_SECONDS,
        secure=settings.IS_SERVED_OVER_TLS,
        httponly=True,
        samesite="Lax",
    )
    return response


@csrf_exempt
@never_cache
@require_POST
@_refusing
def acs(request: HttpRequest, saml_provider_id: UUID) -> HttpResponse:
    """Take the identity provider's answer, and send the browser to where its cookie is looked at."""
    form = read_form(request, limit=MESSAGE_BYTES)
    request_id = saml.login_answer(
        saml_provider_id=saml_provider_id, encoded=form.get("SAMLResponse", ""), now=timezone.now()
    )
    place = reverse("saml-continue", args=[saml_provider_id])
    return HttpResponseRedirect(f"{place}?{urlencode({'request': request_id})}", status=_SEE_OTHER)


@never_cache
@require_GET
@_refusing
def finish(request: HttpRequest, saml_provider_id: UUID) -> HttpResponse:
    """Log in the browser that began, and go where its person wanted to go."""
    now = timezone.now()
    login = saml.login_finish(
        saml_provider_id=saml_provider_id,
        request_id=request.GET.get("request", ""),
        browser=request.COOKIES.get(_cookie_name(), ""),
        now=now,
    )
    who: dict[str, Any] = {"issuer": login.issuer, "subject": login.subject, "groups": login.groups}
    user = services.person_log_in(
        **who,
        display_name=login.display_name,
        email=login.email,
        is_requester=is_for_requesters(login.next_path),
        now=now,
    )
    row = enter(request, user, method="saml", provider_session=login.provider_session, **who, now=now)
    # A login by a session that was open at the provider is no new proof for dangerous actions.
    services.console_session_prove(session_id=row.pk, now=login.authenticated_at)
    response = HttpResponseRedirect(login.next_path or reverse("admin:index"))
    response.delete_cookie(_cookie_name(), samesite="Lax")
    return response


@csrf_exempt
@never_cache
@require_http_methods(["GET", "POST"])
@_refusing
def slo(request: HttpRequest, saml_provider_id: UUID) -> HttpResponse:
    """End the sessions that a signed logout request names, and go back to the identity provider."""
    now = timezone.now()
    if request.method == "GET":
        query = request.META.get("QUERY_STRING", "")
        done = saml.logout_by_redirect(saml_provider_id=saml_provider_id, query=query, now=now)
    else:
        form = read_form(request, limit=MESSAGE_BYTES)
        done = saml.logout_by_post(
            saml_provider_id=saml_provider_id,
            encoded=form.get("SAMLRequest", ""),
            relay_state=form.get("RelayState", ""),
            now=now,
        )
    if done.url:
        return HttpResponseRedirect(done.url, status=_SEE_OTHER)
    return HttpResponse("Logged out.\n", content_type="text/plain; charset=utf-8")


def _cookie_name() -> str:
    return "__Host-wardgate-saml" if settings.IS_SERVED_OVER_TLS else "wardgate-saml"

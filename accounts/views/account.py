"""My account: who one is here, where one is logged in, and with which second factors."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import proofs, services
from accounts.console_sessions import current
from accounts.models import ConsoleSession
from accounts.services import factors

from .forms import EnrolForm, KeyForm
from .login import codes_page, enrol_page, enrolled
from .proof import needs_login

SHOWN_LOGINS = 50


@needs_login
@never_cache
@require_GET
def account(request: HttpRequest) -> HttpResponse:
    """Show the account of whoever asks."""
    user: Any = request.user
    row = current(request)
    logins = ConsoleSession.objects.filter(user=user, ended_at=None).order_by("-began_at")[:SHOWN_LOGINS]
    roles = {*user.role_names, *user.roles.values_list("role", flat=True)}
    context = {
        **admin.site.each_context(request),
        "title": "My account",
        "roles": sorted(roles),
        "logins": logins,
        "this_login": row.pk if row else None,
        "is_local": user.has_usable_password(),
        "factors": factors.factors_of(user) if user.has_usable_password() else [],
        "is_factor_required": settings.WARDGATE_REQUIRE_SECOND_FACTOR,
        "tokens_url": _tokens_url(),
    }
    return render(request, "console/account.html", context)


@needs_login
@require_POST
def end_login(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """End one of one's own logins."""
    user: Any = request.user
    ended = services.console_session_end(session_id=session_id, user=user, now=timezone.now())
    if ended:
        messages.success(request, "The login is over.")
    return _account()


@needs_login
@require_POST
def end_all_logins(request: HttpRequest) -> HttpResponse:
    """End every login of one's own, this one too."""
    user: Any = request.user
    services.console_sessions_end(user=user, now=timezone.now())
    return HttpResponseRedirect(reverse("admin:login"))


@needs_login
@never_cache
@require_http_methods(["GET", "POST"])
@proofs.requires_recent_proof()
def add_application(request: HttpRequest) -> HttpResponse:
    """Add an authenticator application, in place of the one before."""
    user = _local(request)
    form = EnrolForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and enrolled(request, user, form):
        messages.success(request, "The authenticator application was added.")
        return _account()
    return enrol_page(request, user, form, "console/add_application.html")


@needs_login
@never_cache
@require_http_methods(["GET", "POST"])
@proofs.requires_recent_proof()
def add_key(request: HttpRequest) -> HttpResponse:
    """Add a security key."""
    user = _local(request)
    form = KeyForm(request.POST if request.method == "POST" else None, initial={"name": "Security key"})
    if request.method == "POST" and form.is_valid():
        try:
            response = json.loads(form.cleaned_data["credential"][: proofs.MAX_CREDENTIAL_CHARACTERS])
            factors.key_add(user=user, name=form.cleaned_data["name"], response=response, now=timezone.now())
        except (ValueError, factors.FactorRefused) as error:
            refusal = str(error) if isinstance(error, factors.FactorRefused) else "The security key did not answer."
            form.add_error(None, refusal)
        else:
            messages.success(request, "The security key was added.")
            return _account()
    context = {"title": "Add a security key", "form": form, "options": factors.key_options(user)}
    return render(request, "console/add_key.html", {**admin.site.each_context(request), **context})


@needs_login
@never_cache
@require_POST
@proofs.requires_recent_proof(back="console_account")
def make_codes(request: HttpRequest) -> HttpResponse:
    """Make new recovery codes and show them, once."""
    user = _local(request)
    if not factors.has_factor(user):
        messages.warning(request, "Add an authenticator application or a security key first.")
        return _account()
    codes = factors.recovery_codes_make(user=user, now=timezone.now())
    return codes_page(request, codes, reverse("console_account"), "console/new_codes.html")


@needs_login
@require_POST
@proofs.requires_recent_proof(back="console_account")
def remove_factor(request: HttpRequest, factor_id: int) -> HttpResponse:
    """Take one of one's own factors away."""
    try:
        factors.factor_remove(user=_local(request), factor_id=factor_id)
    except ObjectDoesNotExist:
        raise Http404 from None
    except factors.FactorRefused as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "The factor was removed.")
    return _account()


def _local(request: HttpRequest) -> Any:
    """Return the person, who must have a local account: the factors of everybody else are their provider's."""
    user: Any = request.user
    if not user.has_usable_password():
        raise Http404
    return user


def _account() -> HttpResponse:
    return HttpResponseRedirect(reverse("console_account"))


def _tokens_url() -> str:
    try:
        return reverse("admin:accounts_apitoken_changelist")
    except NoReverseMatch:
        return ""

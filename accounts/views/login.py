"""Logging in: a button for each identity provider, and below it the local accounts for emergencies.

A local account proves its password, then its second factor, and only then has a login. Without a factor it enrols one
in between, unless the settings of a local demonstration do without.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from axes.decorators import axes_dispatch
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts import proofs
from accounts.attempts import Busy, alone
from accounts.console_sessions import enter, leave
from accounts.login_ways import REQUESTERS_PATH, login_ways
from accounts.models import User
from accounts.services import factors

from . import pending
from .forms import EnrolForm, FactorForm, PasswordLoginForm

LOCKED_OUT = "Too many attempts failed. Wait 15 minutes, then try again."

_careful = [never_cache, sensitive_post_parameters()]


@method_decorator(_careful, name="dispatch")
class LoginView(View):
    """The login page."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show it; whoever is logged in and may enter goes on."""
        next_path = proofs.local_path(request.GET.get("next", ""))
        if request.user.is_authenticated and admin.site.has_permission(request):
            return HttpResponseRedirect(next_path)
        if request.user.is_authenticated:
            sentence = 'You are logged in without a role in this console. <a href="{}">What you have asked for</a>'
            messages.info(request, format_html(sentence, REQUESTERS_PATH))
        return _page(request, PasswordLoginForm(request), next_path)

    @method_decorator(axes_dispatch)
    def post(self, request: HttpRequest) -> HttpResponse:
        """Check user name and password, and go on to the second factor."""
        try:
            with alone(request, request.POST.get("username", "")):
                return self._judged(request)
        except Busy as error:
            return busy(request, error)

    @staticmethod
    def _judged(request: HttpRequest) -> HttpResponse:
        next_path = proofs.local_path(request.POST.get("next", ""))
        form = PasswordLoginForm(request, data=request.POST)
        if not form.is_valid():
            return _page(request, form, next_path)
        user: Any = form.get_user()
        now = timezone.now()
        if not factors.has_factor(user) and not settings.WARDGATE_REQUIRE_SECOND_FACTOR:
            return _entered(request, user, "password", next_path)
        leave(request, now=now)
        pending.begin(request, user, next_path, now)
        step = "console_login_factor" if factors.has_factor(user) else "console_login_enrol"
        return HttpResponseRedirect(reverse(step))


@method_decorator(_careful, name="dispatch")
class FactorView(View):
    """The second step of a local login."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask for the factor."""
        user = pending.person(request, timezone.now())
        return _back() if user is None else self._page(request, user, FactorForm())

    @method_decorator(axes_dispatch)
    def post(self, request: HttpRequest) -> HttpResponse:
        """Check it; then the person is logged in."""
        now = timezone.now()
        user = pending.person(request, now)
        if user is None:
            return _back()
        try:
            with alone(request, user.get_username()):
                return self._judged(request, user, now)
        except Busy as error:
            return busy(request, error)

    def _judged(self, request: HttpRequest, user: User, now: datetime) -> HttpResponse:
        if proofs.is_locked_out(request, user.get_username()):
            return locked_out(request)
        form = FactorForm(request.POST)
        values = form.cleaned_data if form.is_valid() else {"code": "", "credential": ""}
        method = proofs.second_factor(request, user, **values, now=now)
        if not method:
            form.add_error(None, "The code or the security key was not accepted.")
            return self._page(request, user, form)
        next_path = pending.next_path(request)
        pending.end(request)
        if method == "recovery":
            messages.warning(request, "You used a recovery code, which is void now. Make new ones if few are left.")
        return _entered(request, user, f"password+{method}", next_path)

    def _page(self, request: HttpRequest, user: User, form: FactorForm) -> HttpResponse:
        challenge = factors.key_challenge(user) if factors.has_key(user) else None
        context = {**admin.site.each_context(request), "title": "Second step", "form": form, "challenge": challenge}
        return render(request, "console/factor.html", context)


@method_decorator(_careful, name="dispatch")
class EnrolView(View):
    """The first login of a local account: it gets an authenticator application and recovery codes."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Show the secret of this enrolment."""
        user = pending.person(request, timezone.now())
        if user is None or factors.has_factor(user):
            return _back()
        return enrol_page(request, user, EnrolForm(), "console/enrol.html")

    @method_decorator(axes_dispatch)
    def post(self, request: HttpRequest) -> HttpResponse:
        """Take the factor over when the application shows the right code, and show the recovery codes, once."""
        now = timezone.now()
        user = pending.person(request, now)
        if user is None or factors.has_factor(user):
            return _back()
        form = EnrolForm(request.POST)
        if not enrolled(request, user, form):
            return enrol_page(request, user, form, "console/enrol.html")
        codes = factors.recovery_codes_make(user=user, now=now)
        next_path = pending.next_path(request)
        pending.end(request)
        proofs.forget_failures(user.get_username())
        enter(request, user, method="password+totp", now=now)
        return codes_page(request, codes, next_path, "console/codes.html")


def enrol_page(request: HttpRequest, user: User, form: EnrolForm, template: str) -> HttpResponse:
    """Show the secret that is to be enrolled, the same one until it is; it waits sealed in the session."""
    adapter = factors.SealedAdapter()
    sealed = request.session.get(pending.SECRET_KEY)
    if sealed is None:
        sealed = request.session[pending.SECRET_KEY] = adapter.encrypt(factors.totp_secret())
    secret = adapter.decrypt(sealed)
    url, image = factors.totp_image(user, secret)
    grouped = " ".join(secret[place : place + 4] for place in range(0, len(secret), 4))
    context = {"title": "Second factor", "form": form, "url": url, "image": image, "secret": grouped}
    return render(request, template, {**admin.site.each_context(request), **context})


def enrolled(request: HttpRequest, user: User, form: EnrolForm) -> bool:
    """Take over the factor whose secret was shown, or say in `form` why not."""
    sealed = request.session.get(pending.SECRET_KEY)
    if sealed is None or not form.is_valid():
        return False
    secret = factors.SealedAdapter().decrypt(sealed)
    try:
        factors.totp_add(user=user, secret=secret, code=form.cleaned_data["code"], now=timezone.now())
    except factors.WrongCode as error:
        form.add_error("code", str(error))
        return False
    request.session.pop(pending.SECRET_KEY, None)
    return True


def codes_page(request: HttpRequest, codes: list[str], next_path: str, template: str) -> HttpResponse:
    """Show new recovery codes; they are in this answer and nowhere else."""
    context = {"title": "Recovery codes", "codes": codes, "next": next_path}
    return render(request, template, {**admin.site.each_context(request), **context})


@never_cache
@require_POST
def log_out(request: HttpRequest) -> HttpResponse:
    """End this login, here and in the list of logins."""
    leave(request, now=timezone.now())
    messages.success(request, "You are logged out.")
    return _back()


def locked_out(request: HttpRequest, *_: object) -> HttpResponse:
    """Answer whoever failed too often; django-axes calls this too."""
    return _later(request, LOCKED_OUT, seconds=900)


def busy(request: HttpRequest, error: Busy) -> HttpResponse:
    """Answer an attempt that was not judged, because others are."""
    return _later(request, str(error), seconds=1)


def _later(request: HttpRequest, refusal: str, *, seconds: int) -> HttpResponse:
    response = _page(request, PasswordLoginForm(request), proofs.local_path(""), refusal=refusal)
    response.status_code = 429
    response["Retry-After"] = str(seconds)
    return response


def _entered(request: HttpRequest, user: User, method: str, next_path: str) -> HttpResponse:
    proofs.forget_failures(user.get_username())
    enter(request, user, method=method, now=timezone.now())
    return HttpResponseRedirect(proofs.local_path(next_path))


def _back() -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:login"))


def _page(request: HttpRequest, form: PasswordLoginForm, next_path: str, refusal: str = "") -> HttpResponse:
    ways = login_ways(next_path)
    context = {
        **admin.site.each_context(request),
        "title": "Log in",
        "form": form,
        "next": next_path,
        "ways": ways,
        "refusal": refusal,
        "is_local_open": not ways or bool(form.errors),
    }
    return render(request, "console/login.html", context)

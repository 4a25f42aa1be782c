"""The page that asks somebody who is logged in to prove again who they are."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from axes.decorators import axes_dispatch
from django.contrib import admin
from django.contrib.auth.hashers import check_password
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from accounts import proofs
from accounts.attempts import Busy, alone
from accounts.console_sessions import current
from accounts.login_ways import Way, login_ways
from accounts.models import ConsoleSession
from accounts.services import factors

from .forms import FactorForm, ProofForm
from .login import busy, locked_out


def needs_login(view: Any) -> Any:
    """Decorate a view: only for people of the console, in whose name it is then called."""
    return admin.site.admin_view(view)


@method_decorator([needs_login, never_cache, sensitive_post_parameters()], name="dispatch")
class ProofView(View):
    """The proof is the one of the login: password and factor, or a fresh login at the identity provider."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask for it."""
        return self._page(request, None, proofs.local_path(request.GET.get("next", "")))

    @method_decorator(axes_dispatch)
    def post(self, request: HttpRequest) -> HttpResponse:
        """Check password and factor of a local account."""
        user, row, now = self._user(request), current(request), timezone.now()
        next_path = proofs.local_path(request.POST.get("next", ""))
        if row is None or not user.has_usable_password():
            return self._page(request, None, next_path)
        try:
            with alone(request, user.get_username()):
                return self._judged(request, row, next_path, now)
        except Busy as error:
            return busy(request, error)

    def _judged(self, request: HttpRequest, row: ConsoleSession, next_path: str, now: datetime) -> HttpResponse:
        user = self._user(request)
        if proofs.is_locked_out(request, user.get_username()):
            return locked_out(request)
        form = self._form(request, data=request.POST)
        if not (form.is_valid() and self._is_proved(request, form.cleaned_data)):
            form.add_error(None, "This was not accepted. Check the password, and the code of this moment.")
            return self._page(request, form, next_path)
        proofs.forget_failures(user.get_username())
        proofs.note_proof(request, row, now)
        return HttpResponseRedirect(next_path)

    def _is_proved(self, request: HttpRequest, values: dict[str, Any]) -> bool:
        """Check both, in one go: which of the two was wrong is not told."""
        user = self._user(request)
        # Not `user.check_password`, which would hash anew and end every login of the person when the cost has changed.
        if not check_password(values["password"], user.password):
            proofs.note_failure(request, user.get_username())
            return False
        if not factors.has_factor(user):
            return True
        proof = {"code": values["code"], "credential": values["credential"]}
        return bool(proofs.second_factor(request, user, **proof, now=timezone.now()))

    def _form(self, request: HttpRequest, data: Any = None) -> ProofForm:
        form = ProofForm(data)
        if not factors.has_factor(self._user(request)):
            del form.fields["code"], form.fields["credential"]
        return form

    def _page(self, request: HttpRequest, form: FactorForm | None, next_path: str) -> HttpResponse:
        user, row = self._user(request), current(request)
        is_local = user.has_usable_password()
        context = {
            **admin.site.each_context(request),
            "title": "Confirm that it is you",
            "form": (form or self._form(request)) if is_local else None,
            "challenge": factors.key_challenge(user) if is_local and factors.has_key(user) else None,
            "next": next_path,
            "ways": [] if is_local or row is None else _ways(row.issuer, next_path),
        }
        return render(request, "console/proof.html", context)

    @staticmethod
    def _user(request: HttpRequest) -> Any:
        return request.user


def _ways(issuer: str, next_path: str) -> list[Way]:
    """Return where the person logged in: a proof from another provider would be one of somebody else."""
    return [way for way in login_ways(next_path, proof=True) if way.issuer == issuer]


@needs_login
@never_cache
def proof_done(request: HttpRequest) -> HttpResponse:
    """Tell somebody who confirmed in another tab to go back to their form."""
    context = {**admin.site.each_context(request), "title": "Confirmed"}
    if not proofs.is_recent(request, timezone.now()):
        return HttpResponseRedirect(proofs.proof_url(reverse("console_proof_done")))
    return render(request, "console/proof_done.html", context)

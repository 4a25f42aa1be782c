"""The two pages of a login at an OpenID provider: on the way there, and on the way back."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from mozilla_django_oidc.views import OIDCAuthenticationCallbackView, OIDCAuthenticationRequestView

from accounts import proofs, services
from accounts.console_sessions import current, enter
from accounts.exceptions import DomainError
from accounts.login_ways import is_for_requesters
from accounts.models import LoginClient
from accounts.oidc import Asked, ConsoleBackend, LoginRefused, discovery, redirect_uri
from accounts.values import provider_value

STATES_KEY = "oidc_states"
STATE_SECONDS = 600
MAX_STATES = 10

logger = logging.getLogger(__name__)


@method_decorator(never_cache, name="dispatch")
class BeginView(OIDCAuthenticationRequestView):
    """Sends the browser to the provider, with a state that only this browser can bring back."""

    def __init__(self, **kwargs: Any) -> None:
        # Not the library's, which reads the settings of the one provider of a project.
        super(OIDCAuthenticationRequestView, self).__init__(**kwargs)

    def get(self, request: HttpRequest, client_id: UUID) -> HttpResponse:
        """Begin a login, or with `proof` the fresh proof of somebody who is logged in."""
        client = _client(client_id)
        row = current(request) if request.GET.get("proof") == "1" else None
        if client is None or (request.GET.get("proof") == "1" and row is None):
            return _refused(request, "unknown_client")
        self.client, self.is_proof = client, row is not None
        try:
            self.OIDC_OP_AUTH_ENDPOINT = discovery.endpoints(provider_value(client.provider)).authorization
        except LoginRefused as refusal:
            return _refused(request, refusal.code)
        self.OIDC_RP_CLIENT_ID = client.client_id
        before = set(request.session.get(STATES_KEY, {}))
        self._make_room(request)
        response: HttpResponse = super().get(request)
        [state] = set(request.session[STATES_KEY]) - before
        request.session[STATES_KEY][state] |= {
            "client": str(client.pk),
            "next": proofs.local_path(request.GET.get("next", "")),
            "proof": str(row.pk) if row else "",
        }
        # The library's own place for it is one for the whole session, whichever login began last.
        request.session.pop("oidc_login_next", None)
        request.session.modified = True
        return response

    def get_settings(self, attr: str, *args: Any) -> Any:
        """Return what the library takes for settings of the project."""
        ours = {
            "OIDC_USE_NONCE": True,
            "OIDC_USE_PKCE": True,
            "OIDC_PKCE_CODE_CHALLENGE_METHOD": "S256",
            "OIDC_STATE_SIZE": 43,
            "OIDC_NONCE_SIZE": 43,
            "OIDC_RP_SCOPES": " ".join(dict.fromkeys(["openid", *self.client.scopes])),
            # Only so that it finds a route: `get_extra_params` has the redirect URI of this provider.
            "OIDC_AUTHENTICATION_CALLBACK_URL": "admin:login",
        }
        return ours[attr] if attr in ours else args[0]

    def get_extra_params(self, request: HttpRequest) -> dict[str, str]:
        """Return the redirect URI of this provider, and what asks for a fresh login."""
        fresh = {"prompt": "login", "max_age": "0"} if self.is_proof else {}
        return {"redirect_uri": redirect_uri(self.client), **fresh}

    @staticmethod
    def _make_room(request: HttpRequest) -> None:
        """Keep the states that are young enough to come back, and of those the latest few."""
        states = request.session.get(STATES_KEY, {})
        oldest = timezone.now().timestamp() - STATE_SECONDS
        young = {state: held for state, held in states.items() if held.get("added_on", 0) > oldest}
        latest = sorted(young, key=lambda state: young[state]["added_on"])[-(MAX_STATES - 1) :]
        request.session[STATES_KEY] = {state: young[state] for state in latest}


@method_decorator(never_cache, name="dispatch")
class CallbackView(OIDCAuthenticationCallbackView):
    """Takes the browser back: the state first, then the provider's name, then the code."""

    def get(self, request: HttpRequest, client_id: UUID) -> HttpResponse:
        """Log in whom the code proves, or say that it did not work."""
        try:
            return self._answered(request, client_id)
        except DomainError as refusal:
            is_told = isinstance(refusal, services.NotAllowed)
            return _refused(request, refusal.code, str(refusal) if is_told else "")

    def _answered(self, request: HttpRequest, client_id: UUID) -> HttpResponse:
        held = self._taken(request, client_id)
        client = _client(client_id)
        if client is None:
            raise LoginRefused("unknown_client", "This identity provider is not offered here any more.")
        backend = ConsoleBackend(client)
        issuer = request.GET.get("iss")
        if issuer is None and backend.endpoints.names_itself:
            raise LoginRefused("issuer_missing", "The answer does not say which provider it is from.")
        if issuer is not None and issuer != backend.provider.issuer:
            raise LoginRefused("issuer_mixed_up", "The answer is from another provider.")
        if "error" in request.GET or not request.GET.get("code"):
            raise LoginRefused("provider_refuses", "The identity provider refuses this login.")
        asked = Asked(held["nonce"], held["code_verifier"], held["added_on"], held["proof"])
        login = backend.log_in(code=request.GET["code"], asked=asked, now=timezone.now().timestamp())
        if asked.proof_for:
            return self._proved(request, login.issuer, login.subject, held)
        now = timezone.now()
        user = services.person_log_in(
            issuer=login.issuer,
            subject=login.subject,
            display_name=login.display_name,
            email=login.email,
            groups=login.groups.names,
            is_requester=is_for_requesters(held["next"]),
            now=now,
        )
        row = enter(
            request,
            user,
            method="oidc",
            issuer=login.issuer,
            subject=login.subject,
            groups=login.groups.names,
            provider_session=login.session_id,
            now=now,
        )
        # Whoever finds an open browser could log out and in again by the session that is open at the provider.
        services.console_session_prove(session_id=row.pk, now=_told(login.authenticated_at, now))
        return HttpResponseRedirect(proofs.local_path(held["next"]))

    @staticmethod
    def _taken(request: HttpRequest, client_id: UUID) -> dict[str, Any]:
        """Return what this browser asked with this state, which is used up with that, whatever comes of it."""
        given = request.GET.getlist("state")
        with transaction.atomic():
            # Under a lock, because an answer that comes twice at the same time must find its state only once.
            Session.objects.select_for_update().filter(session_key=request.session.session_key).first()
            stored = request.session.__class__(request.session.session_key)
            held: dict[str, Any] | None = stored.get(STATES_KEY, {}).pop(given[0], None) if len(given) == 1 else None
            if held is not None:
                stored.modified = True
                stored.save()
        request.session[STATES_KEY] = stored.get(STATES_KEY, {})
        if held is None or len(request.GET.getlist("code")) > 1 or len(request.GET.getlist("iss")) > 1:
            raise LoginRefused("state_unknown", "This login was not begun in this browser, or it was used already.")
        if not secrets.compare_digest(held.get("client", ""), str(client_id)):
            raise LoginRefused("state_of_another", "This login was begun at another identity provider.")
        if timezone.now().timestamp() - held["added_on"] > STATE_SECONDS:
            raise LoginRefused("state_expired", "This login took too long.")
        return held

    @staticmethod
    def _proved(request: HttpRequest, issuer: str, subject: str, held: dict[str, Any]) -> HttpResponse:
        """Note a fresh proof, which counts only for the login that asked for it and only by the same person."""
        row = current(request)
        if row is None or str(row.pk) != held["proof"] or (row.issuer, row.subject) != (issuer, subject):
            raise LoginRefused("proof_of_another", "The proof is of somebody else.")
        proofs.note_proof(request, row, timezone.now())
        return HttpResponseRedirect(proofs.local_path(held["next"]))


def _told(authenticated_at: int | None, now: datetime) -> datetime:
    """Return when the person proved to the provider who they are; never, when it does not say."""
    if authenticated_at is None:
        return services.NEVER_PROVED
    return datetime.fromtimestamp(max(0, min(authenticated_at, int(now.timestamp()))), UTC)


def _client(client_id: UUID) -> LoginClient | None:
    active = LoginClient.objects.filter(is_active=True, provider__is_active=True).select_related("provider")
    return active.filter(pk=client_id).first()


def _refused(request: HttpRequest, code: str, sentence: str = "") -> HttpResponse:
    """Go back to the login page, or for somebody who is logged in to their account; what failed goes to the log."""
    logger.warning("a login at an identity provider was refused", extra={"code": code})
    messages.error(request, sentence or f"The login did not work ({code}). Try again from here.")
    return HttpResponseRedirect(reverse("console_account" if current(request) else "admin:login"))

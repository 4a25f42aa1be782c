"""How somebody proves who they are again: the second factor, and the recent proof that dangerous actions ask for.

Whoever finds an open browser, or rides on a stolen session, has a login but cannot prove it anew. So a dangerous action
asks for a proof that is at most `WARDGATE_CONSOLE_PROOF_SECONDS` old: a credential, a provider, a role, a lock
that is lifted, a signing key. API tokens are exempt: they were made with a scope for what they do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from axes.utils import reset
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.safestring import SafeString

from accounts import services
from accounts.console_sessions import current
from accounts.exceptions import DomainError
from accounts.models import ConsoleSession, User
from accounts.services import factors

MAX_CREDENTIAL_CHARACTERS = 16_384
_AGAIN_KEY = "wardgate_again"
"""In Django's session: the proof was asked for instead of doing what a form asked."""


class ProofNeeded(DomainError):
    """The action asks for a recent proof of who one is."""

    code = "proof_needed"

    def __init__(self) -> None:
        super().__init__("Confirm at the console that it is you (Confirm that it is you), then do this again.")


def local_path(text: str) -> str:
    """Return `text` if it is a path of this site, and the first page of the console if it is anything else."""
    is_path = text.startswith("/") and url_has_allowed_host_and_scheme(text, allowed_hosts=None)
    return text if is_path else reverse("admin:index")


def is_recent(request: HttpRequest, now: datetime, seconds: int | None = None) -> bool:
    """Tell whether the person of this request proved who they are within the last `seconds`."""
    row = current(request)
    allowed = settings.WARDGATE_CONSOLE_PROOF_SECONDS if seconds is None else seconds
    return row is not None and (now - row.authenticated_at).total_seconds() <= allowed


def require_recent(request: Any, seconds: int | None = None) -> None:
    """Let a REST request pass that comes with an API token, or from a login with a recent proof.

    Raises:
        ProofNeeded: it does not.
    """
    if getattr(request, "auth", None) is None and not is_recent(request, timezone.now(), seconds):
        raise ProofNeeded


def requires_recent_proof(
    seconds: int | None = None, *, back: str = ""
) -> Callable[[Callable[..., HttpResponse]], Any]:
    """Decorate a view: without a recent proof the person is asked for one and comes back.

    A form is not sent again for them: nothing that was entered is kept on the way. `back` names the route to come back
    to where the view itself takes forms only.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not is_recent(request, timezone.now(), seconds):
                return ask(request, reverse(back) if back else "")
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def ask(request: HttpRequest, back: str = "") -> HttpResponse:
    """Send the browser to the page that asks for a proof, and from there to `back`, or else to this page again."""
    if request.method == "POST":
        request.session[_AGAIN_KEY] = True
    else:
        request.session.pop(_AGAIN_KEY, None)
    return HttpResponseRedirect(proof_url(back or request.get_full_path()))


def note_proof(request: HttpRequest, row: ConsoleSession, at: datetime) -> None:
    """Note that the person of the login `row` proved at `at` who they are; tell them what is still to be done."""
    services.console_session_prove(session_id=row.pk, now=at)
    if request.session.pop(_AGAIN_KEY, False):
        messages.info(request, "Confirmed. What you chose was not done yet: choose it again.")


def proof_url(next_path: str) -> str:
    """Return the page that asks for a proof and then goes to `next_path`."""
    return f"{reverse('console_proof')}?{urlencode({'next': next_path})}"


def sentence_for_forms() -> SafeString:
    """Return what a form says that was entered without a recent proof; what was entered stays in it."""
    return format_html(
        'This needs a recent proof that it is you. <a href="{}" target="_blank" rel="opener">Confirm that it is '
        "you</a> in another tab, then save here again; secrets have to be entered again.",
        proof_url(reverse("console_proof_done")),
    )


def is_locked_out(request: HttpRequest, username: str) -> bool:
    """Tell whether too many proofs failed for this account or from this address."""
    return not AxesProxyHandler.is_allowed(request, {"username": username})


def note_failure(request: HttpRequest, username: str) -> None:
    """Count a failed factor like a failed password: five of either lock the account and the address out."""
    AxesProxyHandler.user_login_failed(sender=note_failure, credentials={"username": username}, request=request)


def forget_failures(username: str) -> None:
    """Forget the failures of an account that has proved itself, and of no other account from its address."""
    reset(username=username)


def second_factor(request: HttpRequest, user: User, *, code: str, credential: str, now: datetime) -> str:
    """Return how it was proved (`totp`, `recovery`, `webauthn`), empty when it was not, and then count the failure."""
    found = ""
    if credential:
        found = "webauthn" if factors.key_check(user=user, response=_object(credential), now=now) else ""
    elif code:
        found = factors.code_check(user=user, code=code[:20], now=now)
    if not found:
        note_failure(request, user.get_username())
    return found


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text[:MAX_CREDENTIAL_CHARACTERS])
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

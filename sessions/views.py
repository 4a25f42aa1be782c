"""The replay of a session: its calls in order, as the record has them. Read only, and readable without scripts."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import selectors
from .calls import CallView
from .models import Session

STRICT = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF],
    "font-src": [SELF],
    "connect-src": [NONE],
    "form-action": [SELF],
}
"""The page shows what strangers wrote, so it runs one script of ours and nothing that is written into it."""

VERDICTS = ("allow", "hold", "deny")


@never_cache
@require_safe
@csp_replace(STRICT)  # type: ignore[arg-type]
def replay(request: HttpRequest, session_id: UUID, call_id: UUID | None = None) -> HttpResponse:
    """Show a page of the calls of a session, or one of its calls with everything that is recorded of it.

    Raises:
        PermissionDenied: the user may not see sessions.
        Http404: there is no such session, or no such call in it.
    """
    user: Any = request.user
    if not user.has_perm("gateway_sessions.view_session"):
        raise PermissionDenied
    session = get_object_or_404(selectors.sessions_visible_to(user=user), pk=session_id)
    if call_id is None:
        context = _page(request, session)
    else:
        call = selectors.call_of(session=session, call_id=call_id)
        if call is None:
            raise Http404
        context = {"calls": [call], "is_single": True}
    calls: list[CallView] = context["calls"]
    longest = max((call.total_us or 0 for call in calls), default=0)
    return render(request, "console/replay.html", {"session": session, "longest_us": longest, **context})


def _page(request: HttpRequest, session: Session) -> dict[str, Any]:
    verdict = request.GET.get("verdict", "")
    wanted = selectors.CallFilter(
        verdict=verdict if verdict in VERDICTS else "", text=request.GET.get("text", "").strip()[:200]
    )
    after = request.GET.get("after", "")
    page = selectors.calls_of(
        session=session,
        wanted=wanted,
        after=int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0,
    )
    return {
        "calls": page.calls,
        "after": page.after,
        "is_later_page": bool(after),
        "shortened": page.shortened,
        "wanted": wanted,
        "verdicts": VERDICTS,
        "is_filtered": bool(wanted.verdict or wanted.text),
    }

"""The replay of a session: its calls on a timeline, one at a time with everything that is recorded of it.

The pages work without scripts: the list leads to a page for each call. With them it is a player, which fetches the same
pieces of HTML. Whoever reads is recorded before anything is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from uuid import UUID

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from accounts.proofs import requires_recent_proof

from . import reading, selectors, timeline
from .calls import CallView
from .models import ReadEvent, Session, SessionStop
from .panels import panel_of
from .recordings import RecordingUnreadable
from .search_query import Query, QueryRefused, parse
from .session_exports import FORMATS

STRICT = {
    "default-src": [NONE],
    "script-src": [SELF],
    "style-src": [SELF],
    "img-src": [SELF],
    "font-src": [SELF],
    "connect-src": [SELF],
    "form-action": [SELF],
    "base-uri": [NONE],
    "frame-ancestors": [NONE],
}
"""The pages show what strangers wrote, so they run our own script files and nothing that is written into them."""

DOWNLOAD = {"default-src": [NONE], "sandbox": True}
"""A recorded message that is saved must not run in any viewer of ours."""

_LONGEST_SECONDS = 10**9


def strict(view: Callable[..., HttpResponse]) -> Any:
    """Decorate a page that shows what strangers wrote, from wherever it is kept."""

    @wraps(view)
    def readable(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except RecordingUnreadable as error:
            return render(request, "console/replay_unreadable.html", {"problem": str(error)}, status=503)

    return never_cache(csp_replace(STRICT)(readable))


@strict
@require_safe
def replay(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Show a page of the calls of a session, the first of them with everything that is recorded of it.

    `q` filters (`sessions.search_query`), `after` is the place of the page, `at` a moment in seconds since the begin,
    and `live` the newest calls of an open session.

    Raises:
        PermissionDenied: the user may not see sessions.
        Http404: there is no such session that they may see.
    """
    session, may_read = _session(request, session_id)
    is_live = "live" in request.GET and session.ended_at is None
    _read(request, ReadEvent.Kind.TAIL if is_live else ReadEvent.Kind.SESSION, session)
    context = _page(request, session, is_live=is_live)
    calls: list[CallView] = context["calls"]
    if calls:
        chosen = _chosen(request, session, calls, is_live=is_live)
        context["panel"] = panel_of(
            selectors.call_of(session=session, call_id=chosen.id, payloads=may_read) or chosen,
            session,
            may_read=may_read,
        )
    return render(request, "console/replay.html", {**_common(request, session, may_read=may_read), **context})


@strict
@require_safe
def call_page(request: HttpRequest, session_id: UUID, call_id: UUID) -> HttpResponse:
    """Show one call by itself: its permanent place."""
    session, may_read = _session(request, session_id)
    _read(request, ReadEvent.Kind.CALL, session, call_id=call_id)
    call = _call(session, call_id, payloads=may_read)
    context = {"panel": panel_of(call, session, may_read=may_read), "moment": _seconds_into(session, call)}
    return render(request, "console/replay_single.html", {**_common(request, session, may_read=may_read), **context})


@strict
@require_safe
def panel(request: HttpRequest, session_id: UUID, call_id: UUID) -> HttpResponse:
    """Return the piece of the page that shows one call."""
    session, may_read = _session(request, session_id)
    _read(request, ReadEvent.Kind.CALL, session, call_id=call_id)
    call = _call(session, call_id, payloads=may_read)
    context = {"panel": panel_of(call, session, may_read=may_read), "session": session}
    return render(request, "console/replay_call.html", context)


@strict
@require_safe
def tail(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Return list and timeline of the page again when anything happened since the position `seen`; else 204.

    Without news this is one look into an index, however long the session is. There are no contents in it.
    """
    session, _ = _session(request, session_id)
    newest = selectors.newest_position_of(session=session)
    if newest <= _number(request.GET.get("seen", "")) and session.ended_at is None:
        return HttpResponse(status=204)
    return render(request, "console/replay_calls.html", {**_page(request, session, is_live=False), "session": session})


@never_cache
@require_safe
@csp_replace(DOWNLOAD)  # type: ignore[arg-type]
def message(request: HttpRequest, session_id: UUID, call_id: UUID, number: int) -> HttpResponse:
    """Hand out a recorded message as a file: 0 is the request, 1 the first answer. Never shown by the browser."""
    session, may_read = _session(request, session_id)
    if not may_read:
        raise PermissionDenied
    _read(request, ReadEvent.Kind.CALL, session, call_id=call_id, detail=f"saved message {number}")
    text = selectors.message_of(session=session, call_id=call_id, number=number)
    if text is None:
        raise Http404
    answer = HttpResponse(text.encode("utf-8", "surrogatepass"), content_type="application/octet-stream")
    answer["Content-Disposition"] = f'attachment; filename="{call_id}-{number}.txt"'
    return answer


@strict
@require_http_methods(["GET", "HEAD", "POST"])
@requires_recent_proof()
def end(request: HttpRequest, session_id: UUID) -> HttpResponse:
    """Ask why, and end the session on every gateway process."""
    session, _ = _session(request, session_id)
    if not request.user.has_perm("gateway_sessions.end_session"):
        raise PermissionDenied
    problem = ""
    if request.method == "POST":
        try:
            reading.session_stop(
                session_id=session.pk,
                reason=request.POST.get("reason", ""),
                reader=reading.reader_of(request),
                now=timezone.now(),
            )
        except reading.AlreadyEnded as error:
            messages.warning(request, str(error))
            return HttpResponseRedirect(_replay_url(session))
        except ValidationError:
            problem = "Say why, in at most 500 characters: it is kept in the record."
        else:
            messages.success(request, "The session is ended. What it had under way is being cut off now.")
            return HttpResponseRedirect(_replay_url(session))
    return render(request, "console/replay_end.html", {**_common(request, session), "problem": problem})


def _session(request: HttpRequest, session_id: UUID) -> tuple[Session, bool]:
    """Return the session, and whether the user may read what was asked and answered in it."""
    user: Any = request.user
    if not user.has_perm("gateway_sessions.view_session"):
        raise PermissionDenied
    session = get_object_or_404(selectors.sessions_visible_to(user=user), pk=session_id)
    return session, selectors.contents_visible_to(user=user, session=session)


def _call(session: Session, call_id: UUID, *, payloads: bool = True) -> CallView:
    call = selectors.call_of(session=session, call_id=call_id, payloads=payloads)
    if call is None:
        raise Http404
    return call


def _read(request: HttpRequest, kind: str, session: Session, *, call_id: UUID | None = None, detail: str = "") -> None:
    reading.reading_add(
        reader=reading.reader_of(request),
        kind=kind,
        session_id=session.pk,
        call_id=call_id,
        detail=detail or request.GET.get("q", ""),
        now=timezone.now(),
    )


def _common(request: HttpRequest, session: Session, *, may_read: bool = False) -> dict[str, Any]:
    return {
        "session": session,
        "files": list(FORMATS) if may_read else [],
        "stop": SessionStop.objects.filter(session=session).first(),
        "may_end": request.user.has_perm("gateway_sessions.end_session"),
        "messages": messages.get_messages(request),
    }


def _page(request: HttpRequest, session: Session, *, is_live: bool) -> dict[str, Any]:
    text = request.GET.get("q", "").strip()
    query, problem = Query(), ""
    try:
        query = parse(text, now=timezone.now())
    except QueryRefused as error:
        problem = str(error)
    if query.outside_a_session:
        problem = f'Within one session there is no "{query.outside_a_session[0]}:". Use the search of all sessions.'
    after = _number(request.GET.get("after", ""))
    if is_live:
        after = selectors.last_page_of(session=session)
    elif "at" in request.GET:
        at = session.started_at + timedelta(seconds=_seconds(request.GET["at"]))
        after = selectors.page_before(session=session, at=at)
    seen = selectors.newest_position_of(session=session) if session.ended_at is None else 0
    page = selectors.outline_of(session=session, wanted=selectors.CallFilter(query=query), after=after)
    drawn = timeline.drawn(page.calls, session.started_at)
    return {
        "calls": page.calls,
        "timeline": drawn,
        "markers": [(kind, count) for kind, count in drawn.counts.items() if count],
        "page": after,
        "after": page.after,
        "is_later_page": after > 0,
        "is_live": is_live,
        "is_filtered": not query.is_empty,
        "seen": seen,
        "q": text,
        "problem": problem,
    }


def _chosen(request: HttpRequest, session: Session, calls: list[CallView], *, is_live: bool) -> CallView:
    """Return the call that the page opens with."""
    if is_live:
        return calls[-1]
    if "at" in request.GET:
        moment = session.started_at + timedelta(seconds=_seconds(request.GET["at"]))
        return next((call for call in reversed(calls) if call.begins_at <= moment), calls[0])
    return calls[0]


def _replay_url(session: Session) -> str:
    return reverse("admin:gateway_sessions_session_replay", args=[session.pk])


def _seconds_into(session: Session, call: CallView) -> str:
    return f"{max(0.0, (call.begins_at - session.started_at).total_seconds()):.6f}"


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= _LONGEST_SECONDS else 0.0

"""The search of all sessions, as a page: one line to type into, what it found, and views that people keep."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from . import reading, search, search_index, selectors
from .models import ReadEvent
from .search_query import MOST_CHARACTERS, QueryRefused, parse
from .views import strict

CATCH_UP_SECONDS, CATCH_UP_EVENTS = 0.25, 500
"""How long a search takes in what is new before it looks, and in what steps; the task does the rest."""

TERMS = (
    ("who:ada", "subject, name or e-mail has it"),
    ("tool:get_*", "tool, prompt or resource"),
    ("connection:orders", "by its slug"),
    ("verdict:deny", "allow, deny, hold"),
    ("rule:no-deletes", "the rule that decided"),
    ("value:order_id=1042", "an argument; value:1042 under any name"),
    ("state:outcome_unknown", "how it ended"),
    ("is:masked", "denied, held, masked, error, slow"),
    ("duration:>2s", "how long it took"),
    ("since:7d until:2026-03-01", "when it began"),
    ("method:tools/list", "the MCP method"),
    ("session: call:", "by id"),
    ('refund "exact words" -not', "words of the messages as recorded, masked"),
)


@strict
@require_http_methods(["GET", "HEAD", "POST"])
def search_page(request: HttpRequest) -> HttpResponse:
    """Search, or keep or drop a saved view.

    Raises:
        PermissionDenied: the user may not see sessions.
    """
    user: Any = request.user
    if not user.has_perm("gateway_sessions.view_session"):
        raise PermissionDenied
    if request.method == "POST":
        return _change_views(request, user)
    text = request.GET.get("q", "").strip()
    context: dict[str, Any] = {"q": text, "terms": TERMS, "most": MOST_CHARACTERS, "is_asked": "q" in request.GET}
    try:
        query = parse(text, now=timezone.now())
        if context["is_asked"]:
            reading.reading_add(
                reader=reading.reader_of(request), kind=ReadEvent.Kind.SEARCH, detail=text, now=timezone.now()
            )
        search_index.catch_up(seconds=CATCH_UP_SECONDS, batch_events=CATCH_UP_EVENTS)
        context["found"] = search.calls_found(user=user, query=query, following=request.GET.get("following", ""))
    except (QueryRefused, search.SearchTooWide) as error:
        context["problem"] = str(error)
    views = list(selectors.saved_views_visible_to(user=user))
    context["own_views"] = [view for view in views if view.owner_id == user.pk]
    context["shared_views"] = [view for view in views if view.owner_id != user.pk]
    context["may_keep"] = user.has_perm("gateway_sessions.add_savedview")
    return render(request, "console/search.html", context)


def _change_views(request: HttpRequest, user: Any) -> HttpResponse:
    query = request.POST.get("query", "")
    dropped = request.POST.get("drop", "")
    if dropped:
        if not user.has_perm("gateway_sessions.delete_savedview"):
            raise PermissionDenied
        try:
            reading.saved_view_delete(view_id=UUID(dropped), owner=user)
        except ValueError:
            messages.error(request, "There is no such view.")
    else:
        if not user.has_perm("gateway_sessions.add_savedview"):
            raise PermissionDenied
        try:
            reading.saved_view_save(
                owner=user,
                name=request.POST.get("name", ""),
                query=query,
                is_shared="is_shared" in request.POST,
                now=timezone.now(),
            )
        except ValidationError as error:
            messages.error(request, " ".join(error.messages))
        else:
            messages.success(request, "The view is saved.")
    place = reverse("admin:gateway_sessions_session_search")
    return HttpResponseRedirect(f"{place}?{urlencode({'q': query})}")

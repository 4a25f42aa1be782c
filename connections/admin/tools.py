"""The catalogue of tools, in the console: what upstreams say of their tools, and a person who looks at it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from unfold.decorators import display

from accounts import proofs
from accounts.console import ServiceAdmin, ServiceForm
from accounts.exceptions import DomainError
from connections import catalogue, definitions, selectors
from connections.models import Connection, Tool

STATE_LABELS = {"accepted": "success", "quarantined": "warning", "rejected": "danger"}
MAX_REVIEWED = 100
"""How many tools one page of review shows; the others come when these are done."""


class ToolForm(ServiceForm):
    """What a person says of a tool; all else is its upstream's."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> Tool:
        """Save labels and taints."""
        return catalogue.tool_label(tool_id=self.instance.pk, **values, now=now)


class FlaggedFilter(admin.SimpleListFilter):
    """With something to look at, or without."""

    title = "flags"
    parameter_name = "flagged"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices."""
        return [("yes", "with something to look at"), ("no", "without")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Tool]) -> QuerySet[Tool]:
        """Return the tools that were chosen."""
        if self.value() == "yes":
            return queryset.exclude(flags=[])
        return queryset.filter(flags=[]) if self.value() == "no" else queryset


class Looked:
    """A tool as a reviewer sees it: what is new in it, and all that it says."""

    def __init__(self, tool: Tool) -> None:
        self.tool = tool
        self.is_new = tool.definition is None
        self.is_waiting = tool.state == Tool.State.QUARANTINED
        self.may_be_accepted = tool.state != Tool.State.ACCEPTED or tool.seen_digest != tool.digest
        self.changes = [] if self.is_new else definitions.changes(tool.definition, tool.seen_definition)
        self.whole = json.dumps(tool.seen_definition, ensure_ascii=False, indent=2, sort_keys=True)

    @property
    def lines(self) -> list[tuple[str, str]]:
        """All that a new tool says: place and value."""
        return [(place, after) for place, _, after in definitions.changes(None, self.tool.seen_definition)]


@admin.register(Tool)
class ToolAdmin(ServiceAdmin):
    """Tools as they were listed: added by the gateway, reviewed and labelled by people."""

    form = ToolForm
    entries = ["labels", "taints"]
    list_display = ["name", "connection", "shown_state", "shown_flags", "changed_at", "reviewed_by"]
    list_filter = ["state", FlaggedFilter, "connection"]
    list_select_related = ["connection", "reviewed_by"]
    search_fields = ["name", "connection__name", "connection__slug"]
    actions = ["review_selected", "reject_selected"]
    fields = ["labels", "taints"]
    change_form_outer_before_template = "admin/connections/tool/before.html"
    change_list_template = "admin/connections/tool/change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: upstreams say which tools there are."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never one by one: a tool is rejected, or the whole catalogue of a connection is forgotten."""
        return False

    def has_forget_permission(self, request: HttpRequest) -> bool:
        """Tell whether the person may forget a catalogue."""
        return request.user.has_perm("connections.delete_tool")

    @display(description="State", ordering="state", label=STATE_LABELS)
    def shown_state(self, tool: Tool) -> str:
        """Return whether the tool may be called."""
        return str(tool.state)

    @display(description="To look at")
    def shown_flags(self, tool: Tool) -> str:
        """Say how much of the definition a reviewer has to look at."""
        return "; ".join(flag.partition(": ")[2] or flag for flag in tool.flags[:3]) or "-"

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of review, and the one that forgets."""
        view = self.admin_site.admin_view
        return [
            path("review/", view(self.review_view), name="connections_tool_review"),
            path("forget/<uuid:connection_id>/", view(self.forget_view), name="connections_tool_forget"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Say how many tools wait for a reviewer."""
        waiting = selectors.tools_to_review().count()
        answer: HttpResponse = super().changelist_view(request, {"waiting": waiting, **(extra_context or {})})
        return answer

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what the upstream says beside what was accepted."""
        context = {"may_review": self.has_change_permission(request), **(extra_context or {})}
        tool = self.get_object(request, object_id)
        if tool is not None:
            context["looked"] = Looked(tool)
        answer: HttpResponse = super().change_view(request, object_id, form_url, context)
        return answer

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "POST"]))
    def review_view(self, request: HttpRequest) -> HttpResponse:
        """Show the tools that wait, all or of one connection; on POST accept or reject those that were looked at."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            self._decide(request)
            return HttpResponseRedirect(request.get_full_path())
        user: Any = request.user
        visible = selectors.tools_visible_to(user=user)
        waiting = visible.filter(pk__in=selectors.tools_to_review().values("pk"))
        connection = _uuid(request.GET.get("connection", ""))
        if connection is not None:
            waiting = waiting.filter(connection=connection)
        return self._reviewed(request, waiting.order_by("connection__name", "name"))

    def _reviewed(self, request: HttpRequest, tools: QuerySet[Tool]) -> HttpResponse:
        """Return the page that shows `tools` with what each one says."""
        shown = [Looked(tool) for tool in tools[:MAX_REVIEWED]]
        context = {
            **self.admin_site.each_context(request),
            "title": "Review tools",
            "opts": self.opts,
            "looked_at": shown,
            "more": max(0, tools.count() - len(shown)),
        }
        return TemplateResponse(request, "admin/connections/tool/review.html", context)

    def _decide(self, request: HttpRequest) -> None:
        """Accept or reject the chosen tools, and say which could not be."""
        reviewer: Any = request.user
        now = timezone.now()
        is_rejected = "reject" in request.POST
        one = request.POST.get("accept") or request.POST.get("reject") or ""
        chosen = request.POST.getlist("chosen") if one in {"", "chosen"} else [one]
        done, refused = 0, []
        for identifier in chosen:
            tool_id = _uuid(identifier)
            if tool_id is None:
                continue
            try:
                if is_rejected:
                    catalogue.tool_reject(tool_id=tool_id, by=reviewer, now=now)
                else:
                    digest = request.POST.get(f"seen-{tool_id}", "")
                    catalogue.tool_accept(tool_id=tool_id, seen_digest=digest, by=reviewer, now=now)
                done += 1
            except (DomainError, Tool.DoesNotExist) as error:
                refused.append(str(error))
        for sentence in dict.fromkeys(refused):
            self.message_user(request, sentence, messages.WARNING)
        if done:
            what = "rejected" if is_rejected else "accepted"
            self.message_user(request, f"{done} {'tool' if done == 1 else 'tools'} {what}.", messages.SUCCESS)
        elif not refused:
            self.message_user(request, "No tool was chosen.", messages.WARNING)

    @admin.action(description="Review", permissions=["change"])
    def review_selected(self, request: HttpRequest, queryset: QuerySet[Tool]) -> HttpResponse:
        """Lead to the page on which the chosen tools are looked at; nothing is accepted unseen."""
        return self._reviewed(request, queryset.select_related("connection"))

    @admin.action(description="Reject", permissions=["change"])
    def reject_selected(self, request: HttpRequest, queryset: QuerySet[Tool]) -> None:
        """Keep the chosen tools hidden, whatever their upstreams say."""
        reviewer: Any = request.user
        for tool in queryset:
            catalogue.tool_reject(tool_id=tool.pk, by=reviewer, now=timezone.now())
        self.message_user(request, f"{len(queryset)} rejected.", messages.SUCCESS)

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "POST"]))
    def forget_view(self, request: HttpRequest, connection_id: UUID) -> HttpResponse:
        """Ask, and on POST, after a proof, forget every tool of a connection."""
        if not self.has_forget_permission(request):
            raise PermissionDenied
        user: Any = request.user
        connection: Connection = get_object_or_404(selectors.connections_visible_to(user=user), pk=connection_id)
        if request.method == "POST":
            if not proofs.is_recent(request, timezone.now()):
                return proofs.ask(request)
            forgotten = catalogue.catalogue_forget(connection=connection)
            self.message_user(request, f"{forgotten} tools of {connection} forgotten.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:connections_tool_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Forget the catalogue",
            "opts": self.opts,
            "connection": connection,
            "states": _counted(connection),
        }
        return TemplateResponse(request, "admin/connections/tool/forget.html", context)


def _counted(connection: Connection) -> Iterable[tuple[str, int]]:
    """Return how many tools of the connection there are, by state."""
    tools = Tool.objects.filter(connection=connection)
    return [(state.label, count) for state in Tool.State if (count := tools.filter(state=state).count())]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None

"""The report of what is granted and not used, in the console."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from unfold.decorators import action

from policies import differences, least_privilege
from policies.least_privilege import Holder

SPANS = (7, 30, 90)
_SHOWN_NAMES = 12


class LeastPrivilegePages:
    """Adds the report to the pages of grants."""

    actions_list = ["unused_link"]

    @action(description="Unused access", url_path="to-unused")
    def unused_link(self, request: HttpRequest) -> HttpResponse:
        """Lead from the list to the report."""
        return HttpResponseRedirect(reverse("admin:policies_accessgrant_unused"))

    def get_urls(self) -> list[URLPattern]:
        """Add the report and its table as CSV."""
        this: Any = self
        view = this.admin_site.admin_view
        return [
            path("unused/", view(this.unused_view), name="policies_accessgrant_unused"),
            path("unused/csv/", view(this.unused_csv_view), name="policies_accessgrant_unused_csv"),
            *super().get_urls(),  # type: ignore[misc]
        ]

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "HEAD", "POST"]))
    def unused_view(self, request: HttpRequest) -> HttpResponse:
        """Show what is granted and not used; on POST make a draft that fits what one holder used."""
        this: Any = self
        _require(request, "policies.view_accessgrant", "gateway_sessions.view_session")
        days, now = _days(request), timezone.now()
        if request.method == "POST":
            _require(request, "policies.add_policydraft")
            return self._drafted(request, days)
        found = least_privilege.report(days=days, now=now)
        context = {
            **this.admin_site.each_context(request),
            "title": "Unused access",
            "opts": this.opts,
            "report": found,
            "lines": [(line, line.unused[:_SHOWN_NAMES], len(line.unused[_SHOWN_NAMES:])) for line in found.lines],
            "days": days,
            "spans": SPANS,
            "may_draft": request.user.has_perm("policies.add_policydraft"),
        }
        return TemplateResponse(request, "admin/policies/accessgrant/unused.html", context)

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "HEAD"]))
    def unused_csv_view(self, request: HttpRequest) -> HttpResponse:
        """Return the report as CSV."""
        _require(request, "policies.view_accessgrant", "gateway_sessions.view_session")
        lines = least_privilege.report(days=_days(request), now=timezone.now()).lines
        return differences.unused_csv(lines)

    def _drafted(self, request: HttpRequest, days: int) -> HttpResponse:
        this: Any = self
        given = tuple(request.POST.get(name, "") for name in ("kind", "issuer", "name"))
        holder: Holder = (given[0], given[1], given[2])
        try:
            draft = least_privilege.fitted_draft(holder=holder, days=days, author=request.user, now=timezone.now())
        except ValidationError as error:
            this.message_user(request, " ".join(error.messages), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:policies_accessgrant_unused"))
        return HttpResponseRedirect(reverse("admin:policies_policydraft_change", args=[draft.pk]))


def _require(request: HttpRequest, *permissions: str) -> None:
    user: Any = request.user
    if not user.has_perms(permissions):
        raise PermissionDenied


def _days(request: HttpRequest) -> int:
    given = request.GET.get("days", "")
    return int(given) if given in {str(days) for days in SPANS} else SPANS[1]

"""Versions of policy, in the console: who changed what, when and why, and back to an earlier one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from unfold.decorators import display

from accounts.console import EvidenceAdmin
from policies import documents, selectors, services
from policies.documents import DocumentRefused
from policies.models import PolicyState, PolicyVersion

from .pages import CommentForm, may_publish, needs_proof, page, publisher
from .simulator import SimulatorPages

COMPARED_WITH = 50


@admin.register(PolicyVersion)
class PolicyVersionAdmin(EvidenceAdmin):
    """All policy as it was after each change. Nothing is edited: a roll-back is a new version."""

    list_display = ["shown_number", "created_at", "shown_author", "source", "shown_comment"]
    list_filter = ["source", "created_at"]
    search_fields = ["number", "author_name", "comment"]
    fields = readonly_fields = ["number", "created_at", "shown_author", "source", "comment"]
    change_form_outer_before_template = "admin/policies/policyversion/tools.html"
    change_form_outer_after_template = "admin/policies/policyversion/detail.html"

    @display(description="Version", ordering="number")
    def shown_number(self, version: PolicyVersion) -> str:
        """Name the version."""
        return f"Version {version.number}"

    @display(description="Author", ordering="author_name")
    def shown_author(self, version: PolicyVersion) -> str:
        """Return who made it."""
        return version.author_name or "the gateway"

    @display(description="Comment")
    def shown_comment(self, version: PolicyVersion) -> str:
        """Return why it was made."""
        return version.comment or "-"

    def get_queryset(self, request: HttpRequest) -> Any:
        """Leave the documents, which may be large, where only one is shown."""
        return super().get_queryset(request).defer("document")

    def get_urls(self) -> list[URLPattern]:
        """Add the page that asks before a roll-back."""
        view = self.admin_site.admin_view
        back = path("<int:number>/roll-back/", view(self.roll_back_view), name="policies_policyversion_roll_back")
        return [back, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a version beside another one: the one before it, unless one is chosen."""
        user: Any = request.user
        visible = selectors.versions_visible_to(user=user)
        version = visible.filter(pk=object_id).first() if object_id.isdecimal() and len(object_id) < 19 else None
        context = extra_context or {}
        if version is not None:
            before = selectors.version_before(version)
            chosen = request.GET.get("against", "")
            against = visible.filter(pk=chosen).first() if chosen.isdecimal() and len(chosen) < 19 else before
            later = visible.filter(number__gt=version.number).order_by("number").defer("document")
            context = {
                **context,
                "before": before,
                "next": later.first(),
                "is_newest": not later.exists(),
                "may_publish": may_publish(request),
                "against": against,
                "others": visible.exclude(pk=version.pk).defer("document")[:COMPARED_WITH],
                "changes": documents.diff({} if against is None else against.document, version.document),
                "text": documents.write(version.document),
            }
        answer: HttpResponse = super().change_view(request, object_id, form_url, context)
        return answer

    @method_decorator(never_cache)
    @method_decorator(require_http_methods(["GET", "POST"]))
    def roll_back_view(self, request: HttpRequest, number: int) -> HttpResponse:
        """Show what would change; on POST, after a proof, make policy say what the version said."""
        if not may_publish(request):
            raise PermissionDenied
        user: Any = request.user
        version = get_object_or_404(selectors.versions_visible_to(user=user), pk=number)
        form = CommentForm(request.POST or None)
        if request.method == "POST" and not needs_proof(request, form) and form.is_valid():
            comment = form.cleaned_data["comment"] or f"Back to version {version.number}"
            by = publisher(request, comment, PolicyVersion.Source.ROLLBACK)
            try:
                services.version_roll_back(number=version.number, by=by, now=timezone.now())
            except (DocumentRefused, ValidationError) as error:
                form.add_error(None, ValidationError(getattr(error, "messages", None) or f"{error}."))
            else:
                self.message_user(request, f"Policy is what it was in version {version.number}.", messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:policies_policyversion_changelist"))
        checked = services.document_check(document=version.document, now=timezone.now())
        way = [
            ("Policy versions", reverse("admin:policies_policyversion_changelist")),
            (str(version), reverse("admin:policies_policyversion_change", args=[version.pk])),
        ]
        context = {"version": version, "checked": checked, "form": form}
        return page(self, request, "policyversion/roll_back", title="Roll back", way=way, **context)


@admin.register(PolicyState)
class PolicyStateAdmin(SimulatorPages, EvidenceAdmin):
    """The version of the policy in force; the database moves it with every change."""

    list_display = ["version", "changed_at"]
    fields = readonly_fields = ["version", "changed_at"]

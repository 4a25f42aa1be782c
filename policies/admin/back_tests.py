"""Back-tests, in the console: asked for with a form, followed and read on a page."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from unfold.decorators import display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminTextareaWidget

from accounts.console import ServiceAdmin, ServiceForm
from policies import differences, documents, selectors, services, tasks
from policies.documents import DocumentRefused
from policies.models import BackTest
from policies.services.back_tests import MAX_DAYS

DAYS = 7
SHOWN_ROWS = 200


class BackTestForm(ServiceForm):
    """What to test, and how far back."""

    days = forms.IntegerField(
        min_value=1,
        max_value=MAX_DAYS,
        initial=DAYS,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="How many days back, until now.",
    )
    text = forms.CharField(
        label="Document",
        required=False,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8, "spellcheck": "false", "class": "font-mono"}),
        help_text="Policy as YAML. With no draft, version or document, policy in force is tested.",
    )

    class Meta:
        model = BackTest
        fields = ["draft", "version_number"]

    def clean_text(self) -> dict[str, Any] | None:
        """Return the document that is written, if one is."""
        text: str = self.cleaned_data["text"]
        if not text.strip():
            return None
        try:
            return documents.read(text)
        except DocumentRefused as error:
            raise ValidationError(f"{error}.", code="document_refused") from None

    def save_by_service(self, values: dict[str, Any], now: datetime) -> BackTest:
        """Ask for the back-test."""
        return services.back_test_start(
            draft=values["draft"],
            version_number=values["version_number"],
            document=values["text"],
            since=now - timedelta(days=values["days"]),
            author=self.actor,
            now=now,
        )

    def _post_clean(self) -> None:
        # The row's own fields are written by the service; the form has no others to construct it from.
        super()._post_clean()
        if "document" in self.errors:
            self.errors["text"] = self.errors.pop("document")


@admin.register(BackTest)
class BackTestAdmin(ServiceAdmin):
    """Recorded calls decided again by policy that is not in force."""

    form = BackTestForm
    fields = ["draft", "version_number", "text", "days"]
    autocomplete_fields: tuple[str, ...] = ()
    list_display = ["shown_title", "since", "until", "shown_state", "calls_done", "differences_total", "created_at"]
    list_filter = ["state"]
    search_fields = ["title"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[BackTest]:
        """Return the back-tests without what their pages alone show."""
        found: QuerySet[BackTest] = super().get_queryset(request)
        return found.defer("document", "differences", "summary")

    def get_urls(self) -> list[URLPattern]:
        """Add the page, its part that changes, the way to cancel, and the table as CSV."""
        view = self.admin_site.admin_view
        return [
            path("<uuid:back_test_id>/change/", view(self.result_view), name="policies_backtest_change"),
            path("<uuid:back_test_id>/found/", view(self.found_view), name="policies_backtest_found"),
            path("<uuid:back_test_id>/cancel/", view(self.cancel_view), name="policies_backtest_cancel"),
            path("<uuid:back_test_id>/csv/", view(self.csv_view), name="policies_backtest_csv"),
            *super().get_urls(),
        ]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Ask for the back-test, and send it to a worker."""
        super().save_model(request, obj, form, change)
        tasks.send_back_test(obj.pk)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show its page."""
        return HttpResponseRedirect(_page(obj))

    def delete_by_service(self, row: BackTest) -> None:
        """Delete the back-test."""
        services.back_test_delete(back_test_id=row.pk)

    @method_decorator(never_cache)
    @method_decorator(require_safe)
    def result_view(self, request: HttpRequest, back_test_id: UUID) -> HttpResponse:
        """Show how far a back-test is, and what it has found."""
        test = self._visible(request, back_test_id)
        context = {
            **self.admin_site.each_context(request),
            **self._found(request, test),
            "title": "Back-test",
            "opts": self.opts,
            "may_see_draft": request.user.has_perm("policies.view_policydraft"),
        }
        return TemplateResponse(request, "admin/policies/backtest/result.html", context)

    @method_decorator(never_cache)
    @method_decorator(require_safe)
    def found_view(self, request: HttpRequest, back_test_id: UUID) -> HttpResponse:
        """Return the part of the page that changes while it runs."""
        test = self._visible(request, back_test_id)
        return TemplateResponse(request, "admin/policies/backtest/found.html", self._found(request, test))

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, back_test_id: UUID) -> HttpResponse:
        """Stop a back-test."""
        test = self._visible(request, back_test_id)
        if not self.has_change_permission(request, test):
            raise PermissionDenied
        try:
            services.back_test_cancel(back_test_id=test.pk, now=timezone.now())
        except services.BackTestEnded as error:
            self.message_user(request, str(error), messages.WARNING)
        return HttpResponseRedirect(_page(test))

    @method_decorator(never_cache)
    @method_decorator(require_safe)
    def csv_view(self, request: HttpRequest, back_test_id: UUID) -> HttpResponse:
        """Return the whole table as CSV."""
        return differences.as_csv(self._visible(request, back_test_id))

    def _visible(self, request: HttpRequest, back_test_id: UUID) -> BackTest:
        if not self.has_view_permission(request):
            raise PermissionDenied
        user: Any = request.user
        return get_object_or_404(selectors.back_tests_visible_to(user=user), pk=back_test_id)

    def _found(self, request: HttpRequest, test: BackTest) -> dict[str, Any]:
        verdicts = differences.changed_verdicts(test)
        change = request.GET.get("change", "")
        if change not in {f"{before} {after}" for before, after, _ in verdicts}:
            change = ""
        rows = differences.rows_of(test, change=change)
        url = reverse("admin:policies_backtest_found", args=[test.pk])
        return {
            "test": test,
            "is_open": test.state in {BackTest.State.WAITING, BackTest.State.RUNNING},
            "may_cancel": self.has_change_permission(request, test),
            "may_see_calls": request.user.has_perm("gateway_sessions.view_session"),
            "reasons": differences.reasons(test),
            "observed": differences.observed(test),
            "verdicts": verdicts,
            "change": change,
            "rows": [_shown(row) for row in rows[:SHOWN_ROWS]],
            "left": max(0, len(rows) - SHOWN_ROWS),
            "page_url": _page(test),
            "fragment_url": f"{url}?change={change.replace(' ', '+')}" if change else url,
            "cancel_url": reverse("admin:policies_backtest_cancel", args=[test.pk]),
            "csv_url": reverse("admin:policies_backtest_csv", args=[test.pk]),
        }

    @display(description="Of", ordering="title")
    def shown_title(self, test: BackTest) -> SafeString:
        """Name what is tested, and link to what was found."""
        return format_html('<span class="font-medium">{}</span>', test.title or "a document")

    @display(description="State", ordering="state", label={"done": "success", "failed": "danger", "running": "info"})
    def shown_state(self, test: BackTest) -> str:
        """Return the state as a label."""
        return test.state


def _page(test: BackTest) -> str:
    return reverse("admin:policies_backtest_change", args=[test.pk])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "examples": [{**one, "when": differences.when(one["at"])} for one in row["examples"]]}

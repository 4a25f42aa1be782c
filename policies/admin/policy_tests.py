"""Policy tests, in the console: stored calls, the verdict that each must get, and what they get now."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from unfold.decorators import display

from policies import reading, services
from policies.models import PolicyTest

from .fields import JsonField, code_area
from .pages import page
from .shared import PolicyForm, PolicyServiceAdmin

EFFECT_LABELS = {"deny": "danger", "hold": "warning", "allow": "success"}
_EXAMPLE = """\
{
  "identity": {"issuer": "https://login.example.com", "subject": "ada", "groups": ["support"]},
  "connection": "orders",
  "name": "delete_order",
  "arguments": {"order_id": "1042"}
}"""


class PolicyTestForm(PolicyForm):
    """Values of a policy test."""

    given = JsonField(
        of=dict,
        required=True,
        widget=code_area(12, _EXAMPLE),
        help_text="A JSON object: identity, connection, method, name, arguments, time, address, client, history. "
        "The simulator writes one for you.",
    )

    def save_by_service(self, values: dict[str, Any], now: datetime) -> PolicyTest:
        """Save the test."""
        return services.policy_test_save(test_id=self.row_id, **values, by=self.publisher, now=now)


@admin.register(PolicyTest)
class PolicyTestAdmin(PolicyServiceAdmin):
    """Calls and the verdicts that policy must give them; run before any policy comes into force."""

    form = PolicyTestForm
    list_display = ["name", "shown_call", "shown_expected", "rule", "is_active"]
    list_filter = ["expected", "is_active"]
    search_fields = ["name", "rule"]
    fields = ["name", "given", "expected", "rule", "is_active"]
    change_list_template = "admin/policies/policytest/change_list.html"
    change_form_outer_before_template = "admin/policies/policytest/before.html"

    @display(description="Call")
    def shown_call(self, test: PolicyTest) -> str:
        """Name what is called, and by whom."""
        given = test.given
        who = given.get("identity", {}).get("subject", "")
        return f"{given.get('name', given.get('method', ''))} on {given.get('connection', '')}, by {who}"

    @display(
        description="Expected", ordering="expected", label={"deny": "danger", "hold": "warning", "allow": "success"}
    )
    def shown_expected(self, test: PolicyTest) -> str:
        """Return the verdict that it must get."""
        return test.expected

    def get_urls(self) -> list[URLPattern]:
        """Add the page with the results."""
        view = self.admin_site.admin_view
        return [path("results/", view(self.results_view), name="policies_policytest_results"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show what the test gets now beside its form."""
        test = PolicyTest.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
        outcome = None
        if test is not None and self.has_view_permission(request, test):
            asked, now = reading.rehearsal_now(), timezone.now()
            outcome = reading.outcome_of(test.name, test.given, test.expected, test.rule, asked, now)
        context = {"outcome": outcome, "in_force": True, **(extra_context or {})}
        answer: HttpResponse = super().change_view(request, object_id, form_url, context)
        return answer

    @method_decorator(never_cache)
    @method_decorator(require_safe)
    def results_view(self, request: HttpRequest) -> HttpResponse:
        """Run every active test against policy in force; those that fail come first."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        outcomes = sorted(reading.outcomes_of_tests(now=timezone.now()), key=lambda outcome: outcome.is_met)
        failing = sum(1 for outcome in outcomes if not outcome.is_met)
        way = [("Policy tests", reverse("admin:policies_policytest_changelist"))]
        context = {"outcomes": outcomes, "failing": failing, "in_force": True}
        return page(self, request, "policytest/results", title="Results", way=way, **context)

    def delete_published(self, row: PolicyTest, by: services.Publisher, now: datetime) -> None:
        """Delete the test."""
        services.policy_test_delete(test_id=row.pk, by=by, now=now)

"""WHO SAYS YES, in the console: for how long kinds of clients are held, and what was learned of single ones."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from accounts.console import ServiceAdmin, ServiceForm
from policies import services
from policies.engine.client_kinds import SECONDS, advice
from policies.models import ClientBudget, ClientPatience


class ClientBudgetForm(ServiceForm):
    """How long a kind of client is held."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> ClientBudget:
        """Save the number."""
        return services.client_budget_save(budget_id=self.row_id, **values, now=now)


@admin.register(ClientBudget)
class ClientBudgetAdmin(ServiceAdmin):
    """How long kinds of clients are held, on one connection or on all, where Wardgate would do otherwise."""

    form = ClientBudgetForm
    list_display = ["kind", "connection", "seconds", "shown_usual", "changed_at"]
    list_filter = ["kind", "connection"]
    list_select_related = ["connection"]
    search_fields = ["kind", "connection__name"]
    autocomplete_fields = ["connection"]
    fields = ["kind", "connection", "seconds"]

    @display(description="Without it (seconds)")
    def shown_usual(self, budget: ClientBudget) -> str:
        """Say for how long Wardgate holds such a client by itself."""
        return f"{SECONDS[budget.kind]:.0f}"

    def delete_by_service(self, row: ClientBudget) -> None:
        """Delete the number."""
        services.client_budget_delete(budget_id=row.pk)


class ClientPatienceForm(ServiceForm):
    """For how long one client is held, in the place of what was learned of it."""

    def save_by_service(self, values: dict[str, Any], now: datetime) -> ClientPatience:
        """Set the number, or let it be learned again."""
        return services.patience_set(patience_id=self.row_id, budget_seconds=values["budget_seconds"], now=now)


@admin.register(ClientPatience)
class ClientPatienceAdmin(ServiceAdmin):
    """How long single clients wait before they give up: learned, or set here."""

    form = ClientPatienceForm
    list_display = ["client_name", "user_agent", "connection", "gave_up_seconds", "budget_seconds", "is_fixed"]
    list_filter = ["connection", "is_fixed"]
    list_select_related = ["connection"]
    search_fields = ["client_name", "user_agent"]
    fields = ["connection", "principal", "client_name", "user_agent", "shown_advice", "budget_seconds", "changed_at"]
    readonly_fields = ["connection", "principal", "client_name", "user_agent", "shown_advice", "changed_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: a client is known once it has given up."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: without a number it is learned anew."""
        return False

    @display(description="What to change at the client")
    def shown_advice(self, patience: ClientPatience) -> str:
        """Say when it gives up, and which setting makes it wait longer."""
        if patience.gave_up_seconds is None:
            return "It has not given up since."
        return advice(patience.user_agent, patience.client_name, patience.gave_up_seconds)

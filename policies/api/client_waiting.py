"""WHO SAYS YES, over REST: for how long clients are held."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest import ReadViewSet, ServiceViewSet, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method
from policies import selectors, services
from policies.engine.client_kinds import advice
from policies.models import ClientBudget, ClientPatience


class ClientBudgetSerializer(StrictModelSerializer):
    """How long a kind of client is held, on one connection or on all (null)."""

    class Meta:
        model = ClientBudget
        fields = ["id", "kind", "connection", "seconds", "changed_at"]
        read_only_fields = ["changed_at"]


class ClientBudgetViewSet(ServiceViewSet):
    """How long kinds of clients are held, where Wardgate would do otherwise."""

    queryset = ClientBudget.objects.none()
    serializer_class = ClientBudgetSerializer
    filterset_fields = ["kind", "connection"]
    page_ordering = ("id",)

    def visible(self, user: Any) -> QuerySet[ClientBudget]:
        """Return the numbers that `user` may see."""
        return selectors.client_budgets_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> ClientBudget:
        """Save the number."""
        return services.client_budget_save(budget_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the number."""
        services.client_budget_delete(budget_id=row_id)


class ClientPatienceSerializer(StrictModelSerializer):
    """One client: when it gave up, and how long it is held; `budget_seconds` null lets that be learned again."""

    budget_seconds = serializers.FloatField(allow_null=True)
    advice = serializers.SerializerMethodField()

    class Meta:
        model = ClientPatience
        fields = [
            "id",
            "principal",
            "connection",
            "client_name",
            "user_agent",
            "gave_up_seconds",
            "budget_seconds",
            "is_fixed",
            "advice",
            "changed_at",
        ]
        read_only_fields = [name for name in fields if name != "budget_seconds"]

    def get_advice(self, patience: ClientPatience) -> str:
        """Say which setting of the client makes it wait longer; empty while it has not given up."""
        if patience.gave_up_seconds is None:
            return ""
        return advice(patience.user_agent, patience.client_name, patience.gave_up_seconds)


class ClientPatienceViewSet(ReadViewSet):
    """How long single clients wait before they give up; PATCH sets how long one is held."""

    queryset = ClientPatience.objects.none()
    serializer_class = ClientPatienceSerializer
    required_scopes = scopes_by_method(read="read", write="write")
    filterset_fields = ["connection", "principal", "is_fixed"]
    page_ordering = ("id",)

    def visible(self, user: Any) -> QuerySet[ClientPatience]:
        """Return the clients that `user` may see."""
        return selectors.patiences_visible_to(user=user)

    def partial_update(self, request: Request, pk: str | None = None) -> Response:
        """Set for how long this client is held."""
        row = self.get_object()
        serializer = self.get_serializer(row, data=request.data)
        serializer.is_valid(raise_exception=True)
        seconds = serializer.validated_data["budget_seconds"]
        saved = services.patience_set(patience_id=row.pk, budget_seconds=seconds, now=timezone.now())
        return Response(self.get_serializer(saved).data)

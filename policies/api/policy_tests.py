"""Policy tests, over REST."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest import ServiceViewSet, StrictModelSerializer
from policies import reading, selectors, services
from policies.models import PolicyTest

from .shared import publisher_of


class OutcomeSerializer(serializers.Serializer):
    """What a policy test got."""

    name = serializers.CharField()
    expected = serializers.CharField()
    wanted_rule = serializers.CharField(source="wanted")
    got = serializers.CharField()
    rule = serializers.CharField()
    is_met = serializers.BooleanField()
    sentence = serializers.CharField(source="__str__")


class PolicyTestSerializer(StrictModelSerializer):
    """A call, and the verdict that policy must give it."""

    given = serializers.DictField()

    class Meta:
        model = PolicyTest
        fields = ["id", "name", "given", "expected", "rule", "is_active", "created_at"]
        read_only_fields = ["created_at"]


class PolicyTestViewSet(ServiceViewSet):
    """Tests that policy has to pass before it comes into force."""

    queryset = PolicyTest.objects.none()
    serializer_class = PolicyTestSerializer
    filterset_fields = ["expected", "is_active"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[PolicyTest]:
        """Return the tests that `user` may see."""
        return selectors.policy_tests_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> PolicyTest:
        """Save the test."""
        return services.policy_test_save(test_id=row_id, **values, by=publisher_of(self.request), now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the test."""
        services.policy_test_delete(test_id=row_id, by=publisher_of(self.request), now=timezone.now())

    @extend_schema(responses=OutcomeSerializer(many=True), filters=False)
    @action(detail=False, methods=["get"], pagination_class=None, filter_backends=[])
    def results(self, request: Request) -> Response:
        """Run the active tests against policy in force; each with what it got."""
        return Response(OutcomeSerializer(reading.outcomes_of_tests(now=timezone.now()), many=True).data)

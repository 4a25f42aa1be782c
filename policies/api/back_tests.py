"""Back-tests, over REST: policy that is not in force, run against recorded calls."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest import ServiceViewSet, StrictModelSerializer
from policies import differences, documents, selectors, services, tasks
from policies.models import BackTest
from policies.services.back_tests import MAX_DAYS

from .shared import ChangePermission, EmptySerializer, refusals_at


class BackTestSerializer(StrictModelSerializer):
    """Of a draft, an earlier version, or a document (as an object or as YAML); without any, of policy in force.

    Give `since` and perhaps `until`, or `days` back from now.
    """

    days = serializers.IntegerField(min_value=1, max_value=MAX_DAYS, required=False, write_only=True)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    document = serializers.DictField(required=False, write_only=True)
    text = serializers.CharField(required=False, write_only=True, trim_whitespace=False, max_length=documents.MAX_BYTES)

    class Meta:
        model = BackTest
        fields = [
            "id",
            "title",
            "draft",
            "version_number",
            "document",
            "text",
            "days",
            "since",
            "until",
            "state",
            "calls_total",
            "calls_done",
            "differences_total",
            "differences",
            "not_replayable",
            "summary",
            "failure",
            "author",
            "created_at",
            "ended_at",
        ]
        read_only_fields = [
            "title",
            "state",
            "calls_total",
            "calls_done",
            "differences_total",
            "differences",
            "not_replayable",
            "summary",
            "failure",
            "author",
            "created_at",
            "ended_at",
        ]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Read the text, and want the time in one of its two ways."""
        if "document" in attrs and "text" in attrs:
            raise serializers.ValidationError("Give document or text.", code="one_document")
        if "text" in attrs:
            with refusals_at("text"):
                attrs["document"] = documents.read(attrs.pop("text"))
        if ("days" in attrs) == ("since" in attrs):
            raise serializers.ValidationError({"since": "Give either since or days."}, code="one_begin")
        return attrs


class BackTestViewSet(ServiceViewSet):
    """Asked for with POST, and run by a worker; look at `state` and `calls_done` until it has ended."""

    http_method_names = ["get", "head", "options", "post", "delete"]
    queryset = BackTest.objects.none()
    serializer_class = BackTestSerializer
    filterset_fields = ["draft", "state"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[BackTest]:
        """Return the back-tests that `user` may see."""
        return selectors.back_tests_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> BackTest:
        """Ask for it."""
        author: Any = self.request.user
        days = values.pop("days", None)
        if days is not None:
            values["since"] = now - timedelta(days=days)
        test = services.back_test_start(**values, author=author, now=now)
        tasks.send_back_test(test.pk)
        return test

    def delete_by_service(self, row_id: Any) -> None:
        """Delete it with its result."""
        services.back_test_delete(back_test_id=row_id)

    @extend_schema(request=EmptySerializer, responses=BackTestSerializer)
    @action(detail=True, methods=["post"], permission_classes=[IsAuthenticated, ChangePermission])
    def cancel(self, request: Request, pk: str | None = None) -> Response:
        """Stop it; what it has found so far stays. 409 when it has ended."""
        EmptySerializer(data=request.data or {}).is_valid(raise_exception=True)
        test = services.back_test_cancel(back_test_id=self.get_object().pk, now=timezone.now())
        return Response(self.get_serializer(test).data)

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"], url_path="csv", url_name="csv")
    def csv_table(self, request: Request, pk: str | None = None) -> HttpResponse:
        """Return the table of differences as CSV."""
        return differences.as_csv(self.get_object())

"""Export sinks over REST: where the record is streamed to, and how far each place has it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs
from accounts.proof_pages import ProofViewSet
from accounts.rest import ModelPermissions, ServiceViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method

from . import exports
from .models import ExportSink


class ExportSinkSerializer(StrictModelSerializer):
    """A sink; `secret` is written and never read, `from_the_beginning` counts for a new one."""

    allowed_networks = Texts(required=False)
    secret = serializers.CharField(write_only=True, required=False, allow_blank=True, trim_whitespace=False)
    from_the_beginning = serializers.BooleanField(write_only=True, required=False)

    class Meta:
        model = ExportSink
        fields = [
            "id",
            "name",
            "kind",
            "target",
            "dataset",
            "user",
            "secret",
            "from_the_beginning",
            "includes_contents",
            "includes_every_event",
            "has_tls",
            "ca_certificate",
            "allowed_networks",
            "batch",
            "is_active",
            "delivered",
            "refused",
            "delivered_at",
            "failures",
            "last_error",
            "retry_at",
            "created_at",
        ]
        read_only_fields = [
            "delivered",
            "refused",
            "delivered_at",
            "failures",
            "last_error",
            "retry_at",
            "created_at",
        ]


class TestSerializer(StrictFields):
    """A body without members."""


class TestPermission(ModelPermissions):
    """Testing takes the right to change."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["%(app_label)s.change_%(model_name)s"]}


class ExportSinkViewSet(ProofViewSet, ServiceViewSet):
    """Systems that get the record as it grows."""

    queryset = ExportSink.objects.none()
    serializer_class = ExportSinkSerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    filterset_fields = ["name", "kind", "is_active"]
    page_ordering = ("name",)

    def visible(self, user: Any) -> QuerySet[ExportSink]:
        """Return the sinks that `user` may see."""
        return exports.sinks_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> ExportSink:
        """Save the sink."""
        return exports.export_sink_save(sink_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the sink."""
        exports.export_sink_delete(sink_id=row_id)

    @action(
        detail=True,
        methods=["post"],
        permission_classes=[IsAuthenticated, TestPermission],
        serializer_class=TestSerializer,
    )
    def test(self, request: Request, pk: str | None = None) -> Response:
        """Send one event that is none of the record; 204 when it was taken."""
        self.get_serializer(data=request.data or {}).is_valid(raise_exception=True)
        proofs.require_recent(request)
        exports.export_sink_test(sink_id=self.get_object().pk, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)

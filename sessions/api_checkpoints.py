"""What proves the record, over REST: its state, checkpoints, keys, releases, and the sinks of copies."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs
from accounts.proof_pages import ProofViewSet
from accounts.rest import ReadViewSet, ServiceViewSet, StrictFields, StrictModelSerializer, Texts
from accounts.rest_authentication import scopes_by_method

from . import checkpoint_keys, checkpoint_state, shipping
from .models import Checkpoint, CheckpointKey, CheckpointSink, EventRelease


class SinkStateSerializer(serializers.Serializer):
    """How far behind a sink is."""

    name = serializers.CharField()
    kind = serializers.CharField()
    behind = serializers.IntegerField()
    lag_seconds = serializers.FloatField()
    last_error = serializers.CharField()


class RecordStateSerializer(serializers.Serializer):
    """How well the record is proved; `problems` is empty when everything is as it should be."""

    number = serializers.IntegerField()
    at = serializers.DateTimeField(allow_null=True)
    events = serializers.IntegerField()
    uncovered = serializers.IntegerField()
    uncovered_seconds = serializers.FloatField()
    releases = serializers.IntegerField()
    kid = serializers.CharField()
    is_append_only = serializers.BooleanField()
    sinks = SinkStateSerializer(many=True)
    problems = serializers.ListField(child=serializers.CharField())


class RecordStateViewSet(viewsets.ViewSet):
    """How well the record is proved right now."""

    permission_classes = [IsAuthenticated]
    required_scopes = scopes_by_method(read="audit")

    @extend_schema(operation_id="record_state", responses=RecordStateSerializer)
    def list(self, request: Request) -> Response:
        """Show it; this takes the permission to view checkpoints."""
        if not request.user.has_perm("gateway_sessions.view_checkpoint"):
            raise PermissionDenied
        return Response(RecordStateSerializer(checkpoint_state.record_state(now=timezone.now())).data)


class _StatementSerializer(serializers.ModelSerializer):
    """A statement as it was signed; hashes are hexadecimal, the signature is base64."""

    prev_hash = serializers.SerializerMethodField()
    hash = serializers.SerializerMethodField()
    signature = serializers.SerializerMethodField()

    def get_prev_hash(self, row: Any) -> str:
        """Return the hash of the one before."""
        return bytes(row.prev_hash).hex()

    def get_hash(self, row: Any) -> str:
        """Return the hash."""
        return bytes(row.hash).hex()

    def get_signature(self, row: Any) -> str:
        """Return the signature."""
        return base64.b64encode(bytes(row.signature)).decode()


class CheckpointSerializer(_StatementSerializer):
    """How far all chains of events had come, signed."""

    class Meta:
        model = Checkpoint
        fields = ["number", "at", "events", "body", "prev_hash", "hash", "kid", "signature"]
        read_only_fields = fields


class EventReleaseSerializer(_StatementSerializer):
    """A month of events that left the database, signed."""

    class Meta:
        model = EventRelease
        fields = ["number", "at", "partition", "events", "body", "prev_hash", "hash", "kid", "signature"]
        read_only_fields = fields


class CheckpointViewSet(ReadViewSet):
    """Checkpoints, newest first."""

    queryset = Checkpoint.objects.none()
    serializer_class = CheckpointSerializer
    required_scopes = scopes_by_method(read="audit")
    page_ordering = ("-number",)

    def visible(self, user: Any) -> QuerySet[Checkpoint]:
        """Return the checkpoints that `user` may see."""
        return checkpoint_state.checkpoints_visible_to(user=user)


class EventReleaseViewSet(ReadViewSet):
    """Months of events that left the database, newest first."""

    queryset = EventRelease.objects.none()
    serializer_class = EventReleaseSerializer
    required_scopes = scopes_by_method(read="audit")
    page_ordering = ("-number",)

    def visible(self, user: Any) -> QuerySet[EventRelease]:
        """Return the releases that `user` may see."""
        return checkpoint_state.releases_visible_to(user=user)


class CheckpointKeySerializer(serializers.ModelSerializer):
    """A public key of the record; bytes are base64."""

    public_key = serializers.SerializerMethodField()
    endorsement = serializers.SerializerMethodField()

    class Meta:
        model = CheckpointKey
        fields = ["kid", "public_key", "created_at", "signs_until", "endorsed_by", "endorsement"]
        read_only_fields = fields

    def get_public_key(self, row: CheckpointKey) -> str:
        """Return the 32 bytes."""
        return base64.b64encode(bytes(row.public_key)).decode()

    def get_endorsement(self, row: CheckpointKey) -> str:
        """Return the word of the key before."""
        return base64.b64encode(bytes(row.endorsement)).decode()


class RotationSerializer(StrictFields):
    """Whether the present key signs the next one; not when somebody else may have it."""

    is_vouched_for = serializers.BooleanField(default=True)


class CheckpointKeyViewSet(ReadViewSet):
    """Public keys of the record; to change to a new one takes the permission to change them."""

    queryset = CheckpointKey.objects.none()
    serializer_class = CheckpointKeySerializer
    required_scopes = scopes_by_method(read="audit", write="admin")
    page_ordering = ("-created_at", "kid")

    def visible(self, user: Any) -> QuerySet[CheckpointKey]:
        """Return the keys that `user` may see."""
        return checkpoint_state.checkpoint_keys_visible_to(user=user)

    @extend_schema(request=RotationSerializer)
    @action(detail=False, methods=["post"])
    def rotate(self, request: Request) -> Response:
        """Sign with a new key from the next checkpoint on; answers with it."""
        if not request.user.has_perm("gateway_sessions.change_checkpointkey"):
            raise PermissionDenied
        body = RotationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        proofs.require_recent(request)
        key = checkpoint_keys.checkpoint_key_rotate(now=timezone.now(), **body.validated_data)
        return Response(self.get_serializer(key).data)


class CheckpointSinkSerializer(StrictModelSerializer):
    """A place that gets every checkpoint; the secret goes in and never comes out."""

    allowed_networks = Texts(default=list)
    secret = serializers.CharField(
        write_only=True, default="", allow_blank=True, trim_whitespace=False, max_length=4096
    )

    class Meta:
        model = CheckpointSink
        fields = [
            "id",
            "name",
            "kind",
            "target",
            "bucket",
            "prefix",
            "region",
            "access_key",
            "has_tls",
            "ca_certificate",
            "allowed_networks",
            "secret",
            "is_active",
            "delivered",
            "delivered_at",
            "failures",
            "last_error",
        ]
        read_only_fields = ["id", "delivered", "delivered_at", "failures", "last_error"]


class EmptySerializer(StrictFields):
    """A body without members."""


class CheckpointSinkViewSet(ProofViewSet, ServiceViewSet):
    """Places that get every checkpoint, in order and at least once."""

    queryset = CheckpointSink.objects.none()
    serializer_class = CheckpointSinkSerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    filterset_fields = ["kind", "is_active"]
    page_ordering = ("name", "id")

    def visible(self, user: Any) -> QuerySet[CheckpointSink]:
        """Return the sinks that `user` may see."""
        return checkpoint_state.checkpoint_sinks_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> CheckpointSink:
        """Save the sink."""
        return shipping.checkpoint_sink_save(sink_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the sink."""
        shipping.checkpoint_sink_delete(sink_id=row_id)

    @extend_schema(request=EmptySerializer, responses={204: None})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str | None = None) -> Response:
        """Send one line that is no checkpoint, now; 409 with the reason when the sink does not take it."""
        if not request.user.has_perm("gateway_sessions.change_checkpointsink"):
            raise PermissionDenied
        EmptySerializer(data=request.data).is_valid(raise_exception=True)
        proofs.require_recent(request)
        shipping.checkpoint_sink_test(sink_id=self.get_object().pk, now=timezone.now())
        return Response(status=204)

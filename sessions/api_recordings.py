"""Recordings over REST: what is sealed, how long it is kept, what is held, and what was deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404, HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs
from accounts.actors import person_of
from accounts.proof_pages import ProofViewSet
from accounts.rest import ModelPermissions, ReadViewSet, ServiceViewSet, StrictFields, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method

from . import downloads, recordings, retention, session_exports
from .models import LegalHold, Recording, RetentionRule, Session, Tombstone
from .recording import Unsound


class RecordingSerializer(serializers.ModelSerializer):
    """A sealed file and what proves it; never its key."""

    class Meta:
        model = Recording
        fields = [
            "id",
            "session",
            "month",
            "part",
            "state",
            "storage",
            "name",
            "events",
            "calls",
            "suspect",
            "months",
            "chains",
            "first_at",
            "last_at",
            "raw_bytes",
            "size",
            "content_sha256",
            "chain",
            "kid",
            "is_encrypted",
            "created_at",
            "sealed_at",
            "deleted_at",
            "tombstone",
        ]
        read_only_fields = fields


class ProofSerializer(serializers.Serializer):
    """What reading a recording back has shown; `event` is the place of the first event concerned."""

    is_sound = serializers.BooleanField()
    code = serializers.CharField()
    message = serializers.CharField()
    event = serializers.IntegerField(allow_null=True)
    events = serializers.IntegerField(allow_null=True)
    suspect = serializers.ListField(child=serializers.IntegerField())


class RecordingViewSet(ReadViewSet):
    """Sealed recordings; their contents are read through their sessions, or taken away as a file."""

    queryset = Recording.objects.none()
    serializer_class = RecordingSerializer
    required_scopes = scopes_by_method(read="audit")
    filterset_fields = ["session", "state", "is_encrypted"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[Recording]:
        """Return the recordings that `user` may see."""
        return retention.recordings_visible_to(user=user)

    @extend_schema(responses=ProofSerializer)
    @action(detail=True, pagination_class=None, filterset_fields=None)
    def proof(self, request: Request, pk: str | None = None) -> Response:
        """Read the file back and prove every byte of it."""
        verdict = recordings.recording_verify(recording=self.get_object())
        if isinstance(verdict, Unsound):
            body: dict[str, Any] = {
                "is_sound": False,
                "code": verdict.code,
                "message": verdict.message,
                "event": verdict.event,
                "events": None,
                "suspect": [],
            }
        else:
            body = {
                "is_sound": True,
                "code": "",
                "message": "",
                "event": None,
                "events": verdict.events,
                "suspect": list(verdict.suspect[:1000]),
            }
        return Response(ProofSerializer(body).data)

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, pagination_class=None, filterset_fields=None)
    def file(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """Send the file as it is kept; this also takes the right to read the session's contents, and is noted."""
        return downloads.recording_file(request, recording_id=self.get_object().pk, now=timezone.now())


class ExportQuery(serializers.Serializer):
    """What a session is taken away as: events as JSON lines, calls as CSV, exchanges as an HTTP archive."""

    kind = serializers.ChoiceField(choices=sorted(session_exports.FORMATS), default="jsonl")


class SessionExportViewSet(viewsets.GenericViewSet):
    """A session as a file; this takes the right to read its contents, and is noted."""

    queryset = Session.objects.none()
    serializer_class = ExportQuery
    required_scopes = scopes_by_method(read="audit")
    permission_classes = [ModelPermissions]
    pagination_class = None

    @extend_schema(
        operation_id="session_exports_retrieve",
        parameters=[ExportQuery],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    def retrieve(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """Send the session as `?kind=` says."""
        query = ExportQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        try:
            session_id = UUID(str(pk))
        except ValueError:
            raise Http404 from None
        kind = query.validated_data["kind"]
        return downloads.session_export(request, session_id=session_id, kind=kind, now=timezone.now())


class RetentionRuleSerializer(StrictModelSerializer):
    """How long the recordings of a connection are kept; without a connection, those of all that have no rule."""

    class Meta:
        model = RetentionRule
        fields = ["id", "connection", "days", "is_encrypted", "created_at", "updated_at"]
        read_only_fields = ["created_at", "updated_at"]
        # The service says which rule is in the way.
        validators: list[Any] = []
        extra_kwargs = {"connection": {"validators": [], "default": None}, "days": {"default": None}}


class RetentionRuleViewSet(ProofViewSet, ServiceViewSet):
    """Retention rules."""

    queryset = RetentionRule.objects.none()
    serializer_class = RetentionRuleSerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    filterset_fields = ["connection"]
    page_ordering = ("created_at", "id")

    def visible(self, user: Any) -> QuerySet[RetentionRule]:
        """Return the rules that `user` may see."""
        return retention.rules_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> RetentionRule:
        """Save the rule."""
        return retention.rule_save(rule_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the rule."""
        retention.rule_delete(rule_id=row_id)


class LegalHoldSerializer(StrictModelSerializer):
    """What must not be deleted, why, and until when."""

    class Meta:
        model = LegalHold
        fields = [
            "id",
            "kind",
            "session",
            "principal",
            "connection",
            "reason",
            "actor",
            "created_at",
            "ends_at",
            "lifted_at",
            "lifted_by",
        ]
        read_only_fields = ["actor", "created_at", "lifted_at", "lifted_by"]


class LiftSerializer(StrictFields):
    """A body without members."""


class LiftPermission(ModelPermissions):
    """Lifting changes a hold."""

    perms_map = {**ModelPermissions.perms_map, "POST": ["%(app_label)s.change_%(model_name)s"]}


class LegalHoldViewSet(ReadViewSet):
    """Legal holds: placed and lifted, never edited nor deleted."""

    queryset = LegalHold.objects.none()
    serializer_class = LegalHoldSerializer
    required_scopes = scopes_by_method(read="read", write="admin")
    filterset_fields = ["kind", "session", "principal", "connection"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[LegalHold]:
        """Return the holds that `user` may see."""
        return retention.holds_visible_to(user=user)

    def create(self, request: Request) -> Response:
        """Place one; 201."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        hold = retention.hold_place(**serializer.validated_data, actor=person_of(request), now=timezone.now())
        return Response(self.get_serializer(hold).data, status=status.HTTP_201_CREATED)

    @action(
        detail=True,
        methods=["post"],
        permission_classes=[IsAuthenticated, LiftPermission],
        serializer_class=LiftSerializer,
    )
    def lift(self, request: Request, pk: str | None = None) -> Response:
        """Lift one; a hold that is over stays as it was."""
        self.get_serializer(data=request.data or {}).is_valid(raise_exception=True)
        proofs.require_recent(request)
        hold = retention.hold_lift(hold_id=self.get_object().pk, actor=person_of(request), now=timezone.now())
        return Response(LegalHoldSerializer(hold, context=self.get_serializer_context()).data)


class TombstoneSerializer(serializers.ModelSerializer):
    """What was deleted; hashes and signature are hexadecimal, `body` is text as it was signed."""

    prev_hash = serializers.SerializerMethodField()
    hash = serializers.SerializerMethodField()
    signature = serializers.SerializerMethodField()

    class Meta:
        model = Tombstone
        fields = [
            "number",
            "at",
            "session",
            "connection_slug",
            "events",
            "rule",
            "body",
            "prev_hash",
            "hash",
            "kid",
            "signature",
        ]
        read_only_fields = fields

    def get_prev_hash(self, row: Tombstone) -> str:
        """Return the hash of the tombstone before."""
        return bytes(row.prev_hash).hex()

    def get_hash(self, row: Tombstone) -> str:
        """Return the hash."""
        return bytes(row.hash).hex()

    def get_signature(self, row: Tombstone) -> str:
        """Return the signature."""
        return bytes(row.signature).hex()


class TombstoneViewSet(ReadViewSet):
    """What was deleted, and the signed proof of it."""

    queryset = Tombstone.objects.none()
    serializer_class = TombstoneSerializer
    required_scopes = scopes_by_method(read="audit")
    filterset_fields = ["session", "connection_slug"]
    page_ordering = ("-number",)

    def visible(self, user: Any) -> QuerySet[Tombstone]:
        """Return the tombstones that `user` may see."""
        return retention.tombstones_visible_to(user=user)

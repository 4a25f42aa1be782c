"""WHAT HAPPENED, over REST: sessions with their calls and events. Read only: evidence is written by the gateway."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest import ReadViewSet
from accounts.rest_authentication import scopes_by_method

from . import selectors
from .calls import payload_text
from .models import Event, Session


class SessionSerializer(serializers.ModelSerializer):
    """A span of one principal's activity on one connection."""

    class Meta:
        model = Session
        fields = [
            "id",
            "principal",
            "connection",
            "era",
            "protocol_version",
            "client_name",
            "client_version",
            "user_agent",
            "remote_address",
            "started_at",
            "ended_at",
            "end_reason",
        ]
        read_only_fields = fields


class MessageSerializer(serializers.Serializer):
    """A message that went to the client, masked as it was sent; `text` is null when it was withheld or is too long."""

    at = serializers.DateTimeField()
    kind = serializers.CharField()
    text = serializers.CharField(allow_null=True)
    hits = serializers.DictField(child=serializers.IntegerField())
    reason = serializers.CharField()


class CallSerializer(serializers.Serializer):
    """Everything the record says about one call. Times ending in `_us` are microseconds."""

    id = serializers.UUIDField()
    at = serializers.DateTimeField()
    received_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    method = serializers.CharField()
    name = serializers.CharField()
    request_id = serializers.CharField()
    verdict = serializers.CharField()
    rule = serializers.CharField()
    reason = serializers.CharField()
    state = serializers.CharField()
    outcome_reason = serializers.CharField()
    status = serializers.IntegerField(allow_null=True)
    request = serializers.CharField(allow_null=True)
    messages = MessageSerializer(many=True)
    hits = serializers.DictField(child=serializers.IntegerField())
    dropped = serializers.IntegerField()
    policy_version = serializers.IntegerField(allow_null=True)
    credential_version = serializers.IntegerField(allow_null=True)
    outbound_sha256 = serializers.CharField()
    outbound_bytes = serializers.IntegerField(allow_null=True)
    waiting_us = serializers.IntegerField(allow_null=True)
    upstream_us = serializers.IntegerField(allow_null=True)
    total_us = serializers.IntegerField(allow_null=True)


class CallPageSerializer(serializers.Serializer):
    """A page of calls; `after` is the parameter of the next one, null on the last. `shortened` lack their messages."""

    results = CallSerializer(many=True)
    after = serializers.IntegerField(allow_null=True)
    shortened = serializers.ListField(child=serializers.UUIDField())


class CallQuery(serializers.Serializer):
    """Which calls to list."""

    verdict = serializers.ChoiceField(choices=["", "allow", "hold", "deny"], default="")
    text = serializers.CharField(default="", allow_blank=True, max_length=200, help_text="Part of the tool or method.")
    after = serializers.IntegerField(default=0, min_value=0, max_value=2**63 - 1)


class EventSerializer(serializers.ModelSerializer):
    """One entry of the record; hashes are hexadecimal, `body` is text as it was hashed."""

    payload = serializers.SerializerMethodField(help_text="The masked message; null when the event has none.")
    prev_hash = serializers.SerializerMethodField()
    hash = serializers.SerializerMethodField()

    class Meta:
        model = Event
        fields = ["id", "instance", "seq", "at", "session", "call_id", "name", "body", "payload", "prev_hash", "hash"]
        read_only_fields = fields

    def get_payload(self, event: Event) -> str | None:
        """Return the message as text."""
        return payload_text(None if event.payload is None else bytes(event.payload))

    def get_prev_hash(self, event: Event) -> str:
        """Return the hash of the event before."""
        return bytes(event.prev_hash).hex()

    def get_hash(self, event: Event) -> str:
        """Return the hash."""
        return bytes(event.hash).hex()


class SessionViewSet(ReadViewSet):
    """Sessions, their calls and their events."""

    queryset = Session.objects.none()
    required_scopes = scopes_by_method(read="audit")
    serializer_class = SessionSerializer
    filterset_fields = ["principal", "connection", "era"]
    page_ordering = ("-started_at", "id")

    def visible(self, user: Any) -> QuerySet[Session]:
        """Return the sessions that `user` may see."""
        return selectors.sessions_visible_to(user=user)

    @extend_schema(parameters=[CallQuery], responses=CallPageSerializer)
    @action(detail=True, pagination_class=None, filterset_fields=None)
    def calls(self, request: Request, pk: str | None = None) -> Response:
        """List the calls of a session, in the order in which they began."""
        query = CallQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        page = selectors.calls_of(
            session=self.get_object(),
            wanted=selectors.CallFilter(verdict=asked["verdict"], text=asked["text"]),
            after=asked["after"],
        )
        body = {"results": page.calls, "after": page.after, "shortened": sorted(page.shortened)}
        return Response(CallPageSerializer(body).data)

    @extend_schema(
        parameters=[OpenApiParameter("cursor", str), OpenApiParameter("limit", int)],
        responses=EventSerializer(many=True),
    )
    @action(detail=True, page_ordering=("id",), filterset_fields=None)
    def events(self, request: Request, pk: str | None = None) -> Response:
        """List the events of a session, in order; this also takes the permission to view events."""
        if not request.user.has_perm("gateway_sessions.view_event"):
            raise PermissionDenied
        events = selectors.events_visible_to(user=request.user).filter(session=self.get_object())  # type: ignore[arg-type]
        page = self.paginate_queryset(events) or []
        return self.get_paginated_response(EventSerializer(page, many=True).data)

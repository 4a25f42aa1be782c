"""WHAT HAPPENED, over REST: sessions with their calls and events, and the end of a session.

Evidence is written by the gateway alone. Who reads it here is recorded, as at the console.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.fields import empty
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import proofs
from accounts.rest import ReadViewSet, StrictFields
from accounts.rest_authentication import scopes_by_method

from . import reading, selectors
from .calls import payload_text
from .models import Event, ReadEvent, Session, SessionStop
from .search_query import MOST_CHARACTERS, Query, QueryRefused, parse

MOST_TAIL = 500


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


class QueryField(serializers.CharField):
    """A search as it is typed at the console."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("help_text", "A search such as `tool:get_* verdict:deny`; see docs/replay.md.")
        super().__init__(default="", allow_blank=True, max_length=MOST_CHARACTERS, **options)

    def run_validation(self, data: Any = empty) -> Query:
        """Return the query.

        Raises:
            ValidationError: it cannot be understood.
        """
        try:
            return parse(super().run_validation(data), now=timezone.now())
        except QueryRefused as error:
            raise serializers.ValidationError(str(error), code="not_understood") from None


class CallQuery(serializers.Serializer):
    """Which calls to list."""

    q = QueryField()
    verdict = serializers.ChoiceField(choices=["", "allow", "hold", "deny"], default="")
    text = serializers.CharField(default="", allow_blank=True, max_length=200, help_text="Part of the tool or method.")
    after = serializers.IntegerField(default=0, min_value=0, max_value=2**63 - 1)


class TailQuery(serializers.Serializer):
    """From where on to read."""

    after = serializers.IntegerField(default=0, min_value=0, max_value=2**63 - 1, help_text="That of the last answer.")
    limit = serializers.IntegerField(default=200, min_value=1, max_value=MOST_TAIL)


class TailEventSerializer(serializers.Serializer):
    """One event without its message; `body` is text as it was hashed."""

    position = serializers.IntegerField()
    seq = serializers.IntegerField()
    at = serializers.DateTimeField()
    call_id = serializers.UUIDField(allow_null=True)
    name = serializers.CharField()
    body = serializers.CharField()
    payload_bytes = serializers.IntegerField()


class TailSerializer(serializers.Serializer):
    """What happened since; ask again with `after`. `is_open` tells whether more can come."""

    results = TailEventSerializer(many=True)
    after = serializers.IntegerField()
    is_open = serializers.BooleanField()


class EndSerializer(StrictFields):
    """Why a session is ended."""

    reason = serializers.CharField(max_length=500)


class SessionStopSerializer(serializers.ModelSerializer):
    """A session that a person has ended."""

    class Meta:
        model = SessionStop
        fields = ["id", "session", "reason", "username", "at"]
        read_only_fields = fields


class EndPermission(IsAuthenticated):
    """Ending a session has a permission of its own."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the user may."""
        return super().has_permission(request, view) and request.user.has_perm("gateway_sessions.end_session")


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
    required_scopes = scopes_by_method(read="audit", write="locks")
    serializer_class = SessionSerializer
    filterset_fields = ["principal", "connection", "era"]
    page_ordering = ("-started_at", "id")

    def visible(self, user: Any) -> QuerySet[Session]:
        """Return the sessions that `user` may see."""
        return selectors.sessions_visible_to(user=user)

    @extend_schema(parameters=[CallQuery], responses=CallPageSerializer)
    @action(detail=True, pagination_class=None, filterset_fields=None)
    def calls(self, request: Request, pk: str | None = None) -> Response:
        """List the calls of a session, in the order in which they began.

        Without the permission to read contents they come without messages, like those in `shortened`.
        """
        query = CallQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        session = self.get_object()
        self._read(request, ReadEvent.Kind.SESSION, session, request.query_params.get("q", ""))
        wanted = selectors.CallFilter(verdict=asked["verdict"], text=asked["text"], query=asked["q"])
        may_read = selectors.contents_visible_to(user=request.user, session=session)  # type: ignore[arg-type]
        look = selectors.calls_of if may_read else selectors.outline_of
        page = look(session=session, wanted=wanted, after=asked["after"])
        shortened = page.shortened if may_read else frozenset(call.id for call in page.calls)
        body = {"results": page.calls, "after": page.after, "shortened": sorted(shortened)}
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
        session = self.get_object()
        self._read(request, ReadEvent.Kind.EVENT, session)
        events = selectors.events_visible_to(user=request.user).filter(session=session)  # type: ignore[arg-type]
        page = self.paginate_queryset(events) or []
        return self.get_paginated_response(EventSerializer(page, many=True).data)

    @extend_schema(parameters=[TailQuery], responses=TailSerializer)
    @action(detail=True, pagination_class=None, filterset_fields=None)
    def tail(self, request: Request, pk: str | None = None) -> Response:
        """Follow a session: its events after a position, without messages. No news is one look into an index."""
        query = TailQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        after, limit = query.validated_data["after"], query.validated_data["limit"]
        session = self.get_object()
        events = selectors.events_of(session, after=after, payloads=False, chunk=limit)
        found = list(islice(events, limit))
        if found:
            self._read(request, ReadEvent.Kind.TAIL, session, f"after {after}")
        body = {
            "results": found,
            "after": found[-1].position if found else after,
            "is_open": session.ended_at is None or len(found) == limit,
        }
        return Response(TailSerializer(body).data)

    @extend_schema(request=EndSerializer, responses={201: SessionStopSerializer})
    @action(detail=True, methods=["post"], permission_classes=[EndPermission], filterset_fields=None)
    def end(self, request: Request, pk: str | None = None) -> Response:
        """End a session for good on every gateway process; 409 when somebody did so before."""
        body = EndSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        proofs.require_recent(request)
        stop = reading.session_stop(
            session_id=self.get_object().pk,
            reason=body.validated_data["reason"],
            reader=reading.reader_of(request),
            now=timezone.now(),
        )
        return Response(SessionStopSerializer(stop).data, status=status.HTTP_201_CREATED)

    @staticmethod
    def _read(request: Request, kind: str, session: Session, detail: str = "") -> None:
        reading.reading_add(
            reader=reading.reader_of(request), kind=kind, session_id=session.pk, detail=detail, now=timezone.now()
        )

"""WHAT HAPPENED, over REST: the search of all sessions, saved views, who read the record, and who may."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.proof_pages import ProofViewSet
from accounts.rest import ModelPermissions, ReadViewSet, ServiceViewSet, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method

from . import reading, search, search_index, selectors
from .api import QueryField
from .models import CallIndex, ReadEvent, RecordAccess, SavedView
from .search_views import CATCH_UP_EVENTS, CATCH_UP_SECONDS


class FoundCallSerializer(serializers.ModelSerializer):
    """A call as it is found; `/sessions/{session}/calls/` has its messages."""

    id = serializers.UUIDField(source="call_id")

    class Meta:
        model = CallIndex
        fields = [
            "id",
            "session",
            "principal",
            "connection",
            "at",
            "method",
            "name",
            "verdict",
            "rule",
            "state",
            "hits",
            "total_us",
        ]
        read_only_fields = fields


class SearchQuery(serializers.Serializer):
    """What to look for, and where the page begins."""

    q = QueryField()
    following = serializers.CharField(default="", allow_blank=True, max_length=64, help_text="`following` of a page.")
    limit = serializers.IntegerField(default=search.PAGE_CALLS, min_value=1, max_value=200)


class FoundPageSerializer(serializers.Serializer):
    """A page of calls, newest first; `following` is the parameter of the next one, null on the last."""

    results = FoundCallSerializer(many=True)
    following = serializers.CharField(allow_null=True)


class CallSearchViewSet(GenericViewSet):
    """Searches over all sessions that the user may see."""

    queryset = CallIndex.objects.none()
    serializer_class = FoundCallSerializer
    permission_classes = [ModelPermissions]
    required_scopes = scopes_by_method(read="audit")

    @extend_schema(parameters=[SearchQuery], responses=FoundPageSerializer)
    def list(self, request: Request) -> Response:
        """Search; who searched for what is recorded. 409 when it takes too long."""
        query = SearchQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        reading.reading_add(
            reader=reading.reader_of(request),
            kind=ReadEvent.Kind.SEARCH,
            detail=request.query_params.get("q", ""),
            now=timezone.now(),
        )
        search_index.catch_up(seconds=CATCH_UP_SECONDS, batch_events=CATCH_UP_EVENTS)
        page = search.calls_found(
            user=request.user,  # type: ignore[arg-type]
            query=asked["q"],
            following=asked["following"],
            limit=asked["limit"],
        )
        return Response(FoundPageSerializer({"results": page.calls, "following": page.following}).data)


class SavedViewSerializer(StrictModelSerializer):
    """A search that is kept."""

    class Meta:
        model = SavedView
        fields = ["id", "owner", "name", "query", "is_shared", "created_at", "updated_at"]
        read_only_fields = ["owner", "created_at", "updated_at"]


class SavedViewViewSet(ServiceViewSet):
    """One's own saved views, and those that others share; only one's own are changed."""

    queryset = SavedView.objects.none()
    serializer_class = SavedViewSerializer
    required_scopes = scopes_by_method(read="audit", write="audit")
    filterset_fields = ["owner", "is_shared"]
    page_ordering = ("name", "id")

    def visible(self, user: Any) -> QuerySet[SavedView]:
        """Return the views that `user` may see; of those the own ones, when they are to be changed."""
        views = selectors.saved_views_visible_to(user=user)
        return views if self.request.method in {"GET", "HEAD", "OPTIONS"} else views.filter(owner=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> SavedView:
        """Save the view of the user."""
        return reading.saved_view_save(view_id=row_id, owner=self.request.user, **values, now=now)  # type: ignore[arg-type]

    def delete_by_service(self, row_id: Any) -> None:
        """Delete the view."""
        reading.saved_view_delete(view_id=row_id, owner=self.request.user)  # type: ignore[arg-type]


class ReadEventSerializer(serializers.ModelSerializer):
    """Who looked at the record; hashes are hexadecimal."""

    prev_hash = serializers.SerializerMethodField()
    hash = serializers.SerializerMethodField()

    class Meta:
        model = ReadEvent
        fields = [
            "seq",
            "at",
            "kind",
            "user_id",
            "username",
            "via",
            "address",
            "session",
            "call_id",
            "detail",
            "prev_hash",
            "hash",
        ]
        read_only_fields = fields

    def get_prev_hash(self, row: ReadEvent) -> str:
        """Return the hash of the reading before."""
        return bytes(row.prev_hash).hex()

    def get_hash(self, row: ReadEvent) -> str:
        """Return the hash."""
        return bytes(row.hash).hex()


class ReadEventViewSet(ReadViewSet):
    """Who read the record, newest first."""

    queryset = ReadEvent.objects.none()
    serializer_class = ReadEventSerializer
    required_scopes = scopes_by_method(read="audit")
    filterset_fields = ["kind", "user_id", "username", "session", "call_id"]
    page_ordering = ("-seq",)

    def visible(self, user: Any) -> QuerySet[ReadEvent]:
        """Return the readings that `user` may see."""
        return selectors.readings_visible_to(user=user)


class RecordAccessSerializer(StrictModelSerializer):
    """A person sees the sessions of a connection."""

    class Meta:
        model = RecordAccess
        fields = ["id", "user", "connection", "sees_contents", "created_at"]
        read_only_fields = ["created_at"]


class RecordAccessViewSet(ProofViewSet, ServiceViewSet):
    """Who sees the sessions of which connection."""

    queryset = RecordAccess.objects.none()
    serializer_class = RecordAccessSerializer
    required_scopes = scopes_by_method(read="audit", write="admin")
    filterset_fields = ["user", "connection"]
    page_ordering = ("id",)

    def visible(self, user: Any) -> QuerySet[RecordAccess]:
        """Return the rows that `user` may see."""
        return selectors.record_access_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> RecordAccess:
        """Save the access."""
        return reading.record_access_save(access_id=row_id, **values, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Take the access away."""
        reading.record_access_delete(access_id=row_id)

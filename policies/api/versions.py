"""Versions of policy, over REST."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest import ReadViewSet, StrictModelSerializer
from accounts.rest_authentication import scopes_by_method
from policies import documents, selectors, services
from policies.models import PolicyVersion

from .shared import (
    ChangeSerializer,
    CommentSerializer,
    PublishPermission,
    comment_of,
    publisher_of,
    refusals_at,
    written,
)


class PolicyVersionSerializer(StrictModelSerializer):
    """A version of policy, without its document."""

    class Meta:
        model = PolicyVersion
        fields = ["number", "digest", "source", "author", "author_name", "comment", "created_at"]
        read_only_fields = fields


class WholeVersionSerializer(StrictModelSerializer):
    """A version of policy with its document, and what it changed of the one before it."""

    document = serializers.DictField(read_only=True)
    changes = serializers.SerializerMethodField()

    class Meta:
        model = PolicyVersion
        fields = [*PolicyVersionSerializer.Meta.fields, "document", "changes"]
        read_only_fields = fields

    @extend_schema_field(ChangeSerializer(many=True))
    def get_changes(self, version: PolicyVersion) -> list[dict[str, Any]]:
        """Return what the version changed."""
        before = selectors.version_before(version)
        found = documents.diff({} if before is None else before.document, version.document)
        return written(found)


class PolicyVersionViewSet(ReadViewSet):
    """All policy as it was after each change: read, and rolled back to, but never changed or deleted."""

    queryset = PolicyVersion.objects.none()
    serializer_class = PolicyVersionSerializer
    required_scopes = scopes_by_method(read="read", write="write")
    filterset_fields = ["source", "author"]
    page_ordering = ("-number",)

    def visible(self, user: Any) -> QuerySet[PolicyVersion]:
        """Return the versions that `user` may see."""
        return selectors.versions_visible_to(user=user)

    @extend_schema(responses=WholeVersionSerializer)
    def retrieve(self, request: Request, pk: str | None = None) -> Response:
        """Show one with its document and what it changed."""
        return Response(WholeVersionSerializer(self.get_object()).data)

    @extend_schema(request=CommentSerializer, responses=ChangeSerializer(many=True), filters=False)
    @action(
        detail=True,
        methods=["post"],
        url_path="roll-back",
        permission_classes=[IsAuthenticated, PublishPermission],
        pagination_class=None,
        filter_backends=[],
    )
    def roll_back(self, request: Request, pk: str | None = None) -> Response:
        """Make policy say what this version said; that is a new version. Answers with what changed."""
        comment = comment_of(request)
        version = self.get_object()
        by = publisher_of(request, comment or f"Back to version {version.number}", PolicyVersion.Source.ROLLBACK)
        with refusals_at("document"):
            changes = services.version_roll_back(number=version.number, by=by, now=timezone.now())
        return Response(written(changes))

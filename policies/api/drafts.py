"""Drafts of policy, over REST: written, tried out, brought up to date, published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.rest import ServiceViewSet, StrictModelSerializer
from policies import documents, reading, selectors, services
from policies.models import PolicyDraft
from policies.places import line_of
from policies.services import Checked, Problem

from .policy_tests import OutcomeSerializer
from .shared import (
    ChangePermission,
    ChangeSerializer,
    CommentSerializer,
    EmptySerializer,
    PublishPermission,
    comment_of,
    publisher_of,
    refusals_at,
    written,
)


class PolicyDraftSerializer(StrictModelSerializer):
    """A draft: `document` as an object, or `text` as YAML. Without either a new one begins as policy is now."""

    document = serializers.DictField(required=False)
    text = serializers.CharField(required=False, trim_whitespace=False, max_length=documents.MAX_BYTES)
    is_outdated = serializers.SerializerMethodField(help_text="Policy has changed since the draft was made.")

    class Meta:
        model = PolicyDraft
        fields = [
            "id",
            "name",
            "comment",
            "document",
            "text",
            "base_number",
            "is_outdated",
            "author",
            "created_at",
            "changed_at",
            "published_number",
        ]
        read_only_fields = ["base_number", "author", "created_at", "changed_at", "published_number"]

    def get_is_outdated(self, draft: PolicyDraft) -> bool:
        """Tell whether something else was published since."""
        context: Any = self.context
        if "newest_number" not in context:
            context["newest_number"] = reading.newest_number()
        return draft.published_number is None and draft.base_number != context["newest_number"]

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Read the text, and refuse a document that is given in both ways."""
        if "document" in attrs and "text" in attrs:
            raise serializers.ValidationError("Give document or text.", code="one_document")
        if "text" in attrs:
            with refusals_at("text"):
                attrs["document"] = documents.read(attrs.pop("text"))
        return attrs

    def to_representation(self, draft: PolicyDraft) -> dict[str, Any]:
        """Return the draft with its document in both ways."""
        found = super().to_representation(_WithText(draft))
        return dict(found)


class _WithText:
    """A draft, and its document as text."""

    def __init__(self, draft: PolicyDraft) -> None:
        self._draft = draft

    def __getattr__(self, name: str) -> Any:
        return getattr(self._draft, name)

    @property
    def text(self) -> str:
        """The document as YAML."""
        return documents.write(self._draft.document)


class ProblemSerializer(serializers.Serializer):
    """Why a document cannot be published: where, and what to write instead."""

    place = serializers.CharField()
    line = serializers.IntegerField(allow_null=True)
    hint = serializers.CharField()


class CheckedSerializer(serializers.Serializer):
    """What publishing a draft would do."""

    is_publishable = serializers.BooleanField()
    is_outdated = serializers.BooleanField()
    problem = ProblemSerializer(allow_null=True)
    changes = ChangeSerializer(many=True)
    tests = OutcomeSerializer(many=True)


class RebasedSerializer(serializers.Serializer):
    """A draft that was brought up to date, and the entries that somebody else had changed as well."""

    draft = PolicyDraftSerializer()
    conflicts = ChangeSerializer(many=True)


class PolicyDraftViewSet(ServiceViewSet):
    """Policy that is not in force yet. Somebody with the permission to publish brings it into force."""

    queryset = PolicyDraft.objects.none()
    serializer_class = PolicyDraftSerializer
    filterset_fields = ["name", "author", "published_number"]
    page_ordering = ("-created_at", "id")

    def visible(self, user: Any) -> QuerySet[PolicyDraft]:
        """Return the drafts that `user` may see."""
        return selectors.drafts_visible_to(user=user)

    def save_by_service(self, row_id: Any, values: dict[str, Any], now: datetime) -> PolicyDraft:
        """Save the draft."""
        author: Any = self.request.user
        return services.draft_save(draft_id=row_id, **values, author=author, now=now)

    def delete_by_service(self, row_id: Any) -> None:
        """Discard the draft."""
        services.draft_delete(draft_id=row_id)

    def _current(self, serializer: Any, row: Any) -> dict[str, Any]:
        return {"name": row.name, "comment": row.comment}

    @extend_schema(request=EmptySerializer, responses=CheckedSerializer)
    @action(detail=True, methods=["post"], permission_classes=[IsAuthenticated, ChangePermission])
    def check(self, request: Request, pk: str | None = None) -> Response:
        """Try the draft out: what publishing it would change, and what its policy tests get. Nothing is kept."""
        EmptySerializer(data=request.data or {}).is_valid(raise_exception=True)
        draft = self.get_object()
        checked = services.document_check(document=draft.document, now=timezone.now())
        return Response(_told(draft, checked))

    @extend_schema(request=EmptySerializer, responses=RebasedSerializer)
    @action(detail=True, methods=["post"], permission_classes=[IsAuthenticated, ChangePermission])
    def rebase(self, request: Request, pk: str | None = None) -> Response:
        """Put what the draft changes on top of policy as it is now; where both changed an entry, the draft's stands."""
        EmptySerializer(data=request.data or {}).is_valid(raise_exception=True)
        draft, conflicts = services.draft_rebase(draft_id=self.get_object().pk, now=timezone.now())
        return Response({"draft": self.get_serializer(draft).data, "conflicts": written(conflicts)})

    @extend_schema(request=CommentSerializer, responses=ChangeSerializer(many=True), filters=False)
    @action(
        detail=True,
        methods=["post"],
        permission_classes=[IsAuthenticated, PublishPermission],
        pagination_class=None,
        filter_backends=[],
    )
    def publish(self, request: Request, pk: str | None = None) -> Response:
        """Bring the draft into force, after its policy tests. Answers with what changed."""
        comment = comment_of(request)
        draft = self.get_object()
        by = publisher_of(request, comment or draft.comment)
        with refusals_at("document"):
            changes = services.draft_publish(draft_id=draft.pk, by=by, now=timezone.now())
        return Response(written(changes))


def _told(draft: PolicyDraft, checked: Checked) -> Mapping[str, Any]:
    is_outdated = draft.base_number != reading.newest_number()
    return {
        "is_publishable": checked.is_publishable and not is_outdated,
        "is_outdated": is_outdated,
        "problem": _problem(draft, checked.problem),
        "changes": written(checked.changes),
        "tests": OutcomeSerializer(checked.outcomes, many=True).data,
    }


def _problem(draft: PolicyDraft, problem: Problem | None) -> dict[str, Any] | None:
    if problem is None:
        return None
    line = line_of(documents.write(draft.document), problem.place)
    return {"place": problem.place, "line": line, "hint": problem.hint}
